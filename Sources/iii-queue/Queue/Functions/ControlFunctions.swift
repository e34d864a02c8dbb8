import IIIProtocol
import IIISettings
import IIIWorker

/// What changes queues: redrive, discard, pause, purge, definitions (docs/reference/queue.md#mending).
extension Queue {
    func registerControl(on link: WorkerLink) {
        func add(
            _ id: String, _ description: String, request: JSONValue? = nil, response: JSONValue? = nil,
            _ body: @escaping (IncomingCall, FunctionInput) throws(InvocationError) -> Void
        ) {
            link.registerFunction(id, description: description, requestFormat: request, responseFormat: response) { [self] call in
                answer(call) { () throws(InvocationError) in try body(call, try FunctionInput(call.payload, function: id)) }
            }
        }
        add("iii::queue::redrive", "Dead messages wait again", request: QueueSchemas.redrive, response: QueueSchemas.redriven) {
            [self] call, input throws(InvocationError) in try redrive(call, input)
        }
        add(
            "iii::queue::redrive_message", "One dead message waits again", request: QueueSchemas.message,
            response: QueueSchemas.messageRedriven
        ) { [self] call, input throws(InvocationError) in try one(call, input, isRedrive: true) }
        add(
            "iii::queue::discard_message", "Takes one dead message out", request: QueueSchemas.message,
            response: QueueSchemas.messageRedriven
        ) { [self] call, input throws(InvocationError) in try one(call, input, isRedrive: false) }
        add("iii::queue::discard", "Takes dead messages out") { [self] call, input throws(InvocationError) in try discard(call, input) }
        add("iii::queue::pause", "Nothing starts until it is resumed") { [self] call, input throws(InvocationError) in
            try pause(call, input, true)
        }
        add("iii::queue::resume", "Ends a pause") { [self] call, input throws(InvocationError) in try pause(call, input, false) }
        add("iii::queue::purge", "Takes messages out, whatever they are") { [self] call, input throws(InvocationError) in
            try purge(call, input)
        }
        add("iii::queue::drain", "Waits until a queue is empty") { [self] call, input throws(InvocationError) in try drainQueue(call, input)
        }
        add("iii::queue::cancel", "Takes a message out before it is delivered") { [self] call, input throws(InvocationError) in
            guard let id = try input.optionalText("message_id"), !id.isEmpty else {
                throw InvocationError(.messageIDNotSet, "Message ID is required")
            }
            store?.cancel(id) { result in
                Self.reply(call, result) { ["message_id": .string(id), "cancelled": .bool($0)] }
            }
        }
        add("queue::define", "Makes or changes a named queue") { [self] call, input throws(InvocationError) in try define(call, input) }
    }

    private func queueName(_ input: FunctionInput) throws(InvocationError) -> String {
        guard let name = try input.optionalText("queue", "topic") else {
            throw input.invalid("missing field `queue`")
        }
        guard !name.isEmpty else { throw InvocationError(.queueNotSet, "Queue name is required") }
        return name
    }

    private static func reply<Value>(
        _ call: IncomingCall, _ result: Result<Value, QueueStoreError>, code: ErrorCode = .queueFailed, _ prefix: String = "",
        _ value: (Value) -> JSONValue
    ) {
        switch result {
        case .success(let found): call.reply(value(found))
        case .failure(let error): call.fail(InvocationError(code, prefix + error.message))
        }
    }

    // MARK: Dead letters

    private func selection(_ input: FunctionInput) throws(InvocationError) -> DeadLetterSelection {
        var selection = DeadLetterSelection()
        selection.limit = try input.integer("limit", in: 0...Int64(Int32.max))
        guard let filter = input.raw("filter"), input["filter"] != nil else { return selection }
        let members = try FunctionInput(filter, function: input.function)
        try members.allow(only: ["function_id", "error_contains", "before", "after"])
        selection.function = try members.optionalText("function_id")
        selection.errorContains = try members.optionalText("error_contains")
        // Seconds, as `failed_at` has them.
        selection.before = try members.integer("before", in: 0...9_999_999_999).map { $0 * 1000 }
        selection.after = try members.integer("after", in: 0...9_999_999_999).map { $0 * 1000 + 999 }
        return selection
    }

    /// One queue after the other, adding up.
    private func each(
        _ keys: ArraySlice<QueueKey>, _ sum: Int, limit: Int?, _ completion: @escaping (Result<Int, QueueStoreError>) -> Void,
        _ step: @escaping (QueueKey, Int?, @escaping (Result<Int, QueueStoreError>) -> Void) -> Void
    ) {
        guard let key = keys.first, limit.map({ sum < $0 }) ?? true else { return completion(.success(sum)) }
        step(key, limit.map { $0 - sum }) { [self] result in
            switch result {
            case .success(let count): each(keys.dropFirst(), sum + count, limit: limit, completion, step)
            case .failure: completion(result)
            }
        }
    }

    private func redrive(_ call: IncomingCall, _ input: FunctionInput) throws(InvocationError) {
        let name = try queueName(input)
        let selection = try selection(input)
        let perSecond = try input.integer("rate_per_s", in: 1...1_000_000)
        each(keys(name)[...], 0, limit: selection.limit) { result in
            Self.reply(call, result, code: .redriveFailed, "Failed to redrive DLQ for queue '\(name)': ") {
                ["queue": .string(name), "redriven": JSONValue($0)]
            }
        } _: { [self] key, limit, done in
            var part = selection
            part.limit = limit
            redrive(key, part, perSecond: perSecond, done)
        }
    }

    private func redrive(
        _ key: QueueKey, _ selection: DeadLetterSelection, perSecond: Int? = nil,
        _ done: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        makeRunner(key)
        store?.redrive(key, selection, perSecond: perSecond, completion: done)
    }

    private func discard(_ call: IncomingCall, _ input: FunctionInput) throws(InvocationError) {
        let name = try queueName(input)
        let selection = try selection(input)
        each(keys(name)[...], 0, limit: selection.limit) { result in
            Self.reply(call, result, code: .discardMessageFailed, "Failed to discard DLQ messages: ") {
                ["queue": .string(name), "discarded": JSONValue($0)]
            }
        } _: { [self] key, limit, done in
            var part = selection
            part.limit = limit
            store?.discard(key, part, completion: done)
        }
    }

    private func one(_ call: IncomingCall, _ input: FunctionInput, isRedrive: Bool) throws(InvocationError) {
        let name = try queueName(input)
        let id = try input.text("message_id")
        guard !id.isEmpty else { throw InvocationError(.messageIDNotSet, "Message ID is required") }
        var selection = DeadLetterSelection()
        selection.id = id
        selection.limit = 1
        let prefix =
            isRedrive ? "Failed to redrive DLQ message '\(id)' for queue '\(name)': " : "Failed to discard DLQ message: "
        each(keys(name)[...], 0, limit: 1) { result in
            Self.reply(call, result, code: isRedrive ? .redriveMessageFailed : .discardMessageFailed, prefix) {
                ["queue": .string(name), "message_id": .string(id), "redriven": JSONValue($0)]
            }
        } _: { [self] key, _, done in
            if isRedrive { redrive(key, selection, done) } else { store?.discard(key, selection, completion: done) }
        }
    }

    // MARK: Whole queues

    /// Throws `NOT_FOUND` for a name that stands for nothing.
    private func existing(_ name: String) throws(InvocationError) -> [QueueKey] {
        let found = keys(name)
        guard !found.isEmpty else { throw InvocationError(.notFound, "there is no queue or topic '\(name)'") }
        return found
    }

    private func pause(_ call: IncomingCall, _ input: FunctionInput, _ isPaused: Bool) throws(InvocationError) {
        let name = try queueName(input)
        each(try existing(name)[...], 0, limit: nil) { result in
            Self.reply(call, result) { _ in ["queue": .string(name), "paused": .bool(isPaused)] }
        } _: { [self] key, _, done in
            makeRunner(key)
            var record = records[key] ?? QueueRecord()
            record.isPaused = isPaused
            // At once; it is stored before it is answered.
            runners[key]?.update { $0.isPaused = isPaused }
            store?.configure(key, record) { [self] error in
                if let error {
                    refresh(key)
                    return done(.failure(error))
                }
                records[key] = record
                refresh(key)
                done(.success(1))
            }
        }
    }

    private func purge(_ call: IncomingCall, _ input: FunctionInput) throws(InvocationError) {
        let name = try queueName(input)
        let states: Set<MessageState>
        switch try input.text("state") {
        case "waiting": states = [.ready, .behind]
        case "delayed": states = [.delayed]
        case "held": states = [.held]
        case "dead": states = [.dead]
        case "all": states = Set(MessageState.allCases)
        default: throw input.invalid("`state` must be one of `waiting`, `delayed`, `held`, `dead`, `all`")
        }
        each(try existing(name)[...], 0, limit: nil) { result in
            Self.reply(call, result) { ["queue": .string(name), "purged": JSONValue($0)] }
        } _: { [self] key, _, done in
            store?.purge(key, states, completion: done)
        }
    }

    private static let drainInterval = 20

    /// Answers when nothing of the queue waits or runs, or with what is left when the time is over.
    private func drainQueue(_ call: IncomingCall, _ input: FunctionInput) throws(InvocationError) {
        let name = try queueName(input)
        let keys = try existing(name)
        let timeout = try input.integer("timeout_ms", in: 0...3_600_000) ?? 30_000
        lookWhetherEmpty(keys, name, call, until: clock.now + timeout)
    }

    private func lookWhetherEmpty(_ keys: [QueueKey], _ name: String, _ call: IncomingCall, until deadline: Int) {
        counts(keys, call, .queueFailed) { [self] counts in
            let left = Self.sum(keys, counts).live
            guard left > 0, clock.now < deadline else {
                return call.reply(["queue": .string(name), "drained": .bool(left == 0), "left": JSONValue(left)])
            }
            _ = clock.schedule(at: min(deadline, clock.now + Self.drainInterval)) { [weak self] in
                self?.lookWhetherEmpty(keys, name, call, until: deadline)
            }
        }
    }

    private func define(_ call: IncomingCall, _ input: FunctionInput) throws(InvocationError) {
        let name = try queueName(input)
        let text = input["config"] == nil ? Array("{}".utf8) : input.raw("config") ?? Array("{}".utf8)
        let options = try QueueOptions(definition: text, countsRetries: settings.countsRetries)
        guard settings.queues[name] == nil || name == QueueConfiguration.defaultQueue || settings.queues[name] == options else {
            throw input.invalid("the queue '\(name)' is in the configuration, which wins")
        }
        guard self.options(ofNamed: name) != options else { return call.reply(["queue": .string(name), "changed": false]) }
        guard definitions[name] != nil || definitions.count < Self.maximumDefinitions else {
            throw InvocationError(.queueFailed, "\(Self.maximumDefinitions) queues are defined already")
        }
        let key = QueueKey.named(name)
        var record = records[key] ?? QueueRecord()
        record.definition = text
        store?.configure(key, record) { [self] error in
            if let error { return call.fail(InvocationError(.queueFailed, error.message)) }
            records[key] = record
            definitions[name] = options
            makeRunner(key)
            refresh(key)
            call.reply(["queue": .string(name), "changed": true])
        }
    }

    private static let maximumDefinitions = 1000
}

extension QueueOptions {
    /// From the `config` of `queue::define`; throws what is wrong with it.
    init(definition: [UInt8], countsRetries: Bool) throws(InvocationError) {
        guard let json = try? JSONValue(parsing: definition) else { throw InvocationError(.invalidArguments, "config is not JSON") }
        let values: SettingValues
        do throws(InvalidSettings) { values = try QueueSettings.queue.read(json) } catch {
            throw InvocationError(.invalidArguments, error.description)
        }
        self.init(values, countsRetries: countsRetries)
        guard concurrency > 0 else { throw InvocationError(.invalidArguments, "'concurrency' 0; it must be at least 1") }
        guard values[QueueSettings.type] == .standard || groupField != nil else {
            throw InvocationError(.invalidArguments, "a fifo queue needs 'message_group_field'")
        }
    }
}
