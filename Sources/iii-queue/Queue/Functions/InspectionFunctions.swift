import IIIProtocol
import IIIWorker

/// What shows people what waits, what failed and why (docs/reference/queue.md#looking).
extension Queue {
    func registerInspection(on link: WorkerLink) {
        link.registerFunction("engine::queue::list_topics", description: "Topics with subscribers, and named queues") { [self] call in
            call.reply(listTopics())
        }
        link.registerFunction("engine::queue::topic_stats", description: "Depth and consumers of a queue or topic") { [self] call in
            answer(call) { () throws(InvocationError) in try topicStats(call) }
        }
        link.registerFunction("engine::queue::dlq_topics", description: "Queues and topics with their dead messages") { [self] call in
            let names = allNames
            counts(names.flatMap(keys), call, .deadLetterCountsFailed, "Failed to list DLQ topics: ") { [self] counts in
                call.reply(
                    .array(
                        names.map { name in
                            let dead = Self.sum(keys(name), counts)[.dead]
                            return ["topic": .string(name), "broker_type": .string(brokerType(name)), "message_count": JSONValue(dead)]
                        }))
            }
        }
        link.registerFunction("engine::queue::dlq_messages", description: "Dead messages, newest failure first") { [self] call in
            answer(call) { () throws(InvocationError) in try deadLetters(call) }
        }
        link.registerFunction("iii::queue::dlq_export", description: "Pages of dead messages, for keeping them elsewhere") { [self] call in
            answer(call) { () throws(InvocationError) in try export(call) }
        }
        link.registerFunction("iii::queue::status", description: "State of one queue or of all") { [self] call in
            answer(call) { () throws(InvocationError) in try queueStatus(call) }
        }
        link.registerFunction("iii::queue::get", description: "What has become of a message") { [self] call in
            answer(call) { () throws(InvocationError) in try get(call) }
        }
        link.registerFunction("iii::queue::wait", description: "Waits until a message is done or dead") { [self] call in
            answer(call) { () throws(InvocationError) in try wait(call) }
        }
    }

    // MARK: Names

    private static let prefix = "__fn_queue::"

    var namedQueues: [String] { Set(settings.queues.keys).union(definitions.keys).sorted() }

    static func name(_ key: QueueKey) -> String {
        switch key {
        case .named(let name): name
        case .subscription(let subscription): subscription.topic
        }
    }

    /// The queues a client means by a name: the named queue, which hides a topic of that name, else every subscription of the topic,
    /// also those that have ended and left messages.
    func keys(_ name: String) -> [QueueKey] {
        let plain = name.hasPrefix(Self.prefix) ? String(name.dropFirst(Self.prefix.count)) : name
        let stored = store?.queues ?? []
        if options(ofNamed: plain) != nil || stored.contains(.named(plain)) { return [.named(plain)] }
        var keys = Set(subscribers.subscriptions(to: name).map(QueueKey.subscription))
        for key in stored {
            if case .subscription(let subscription) = key, subscription.topic == name { keys.insert(key) }
        }
        return keys.sorted { $0.description < $1.description }
    }

    private func brokerType(_ name: String) -> String {
        options(ofNamed: name) != nil ? "function_queue" : settings.adapter.name
    }

    /// Every queue and topic there is anything of, in order.
    private var allNames: [String] {
        var names = Set(namedQueues)
        for key in store?.queues ?? [] { names.insert(Self.name(key)) }
        names.formUnion(subscribers.topicNames)
        return names.sorted()
    }

    /// Fails the call when the store cannot say.
    func counts(
        _ keys: [QueueKey], _ call: IncomingCall, _ code: ErrorCode, _ prefix: String = "",
        _ body: @escaping ([QueueKey: QueueCounts]) -> Void
    ) {
        guard let store else { return call.fail(InvocationError(code, prefix + "iii-queue is starting")) }
        store.counts(keys) { result in
            switch result {
            case .success(let counts): body(counts)
            case .failure(let error): call.fail(InvocationError(code, prefix + error.message))
            }
        }
    }

    static func sum(_ keys: [QueueKey], _ counts: [QueueKey: QueueCounts]) -> QueueCounts {
        keys.reduce(QueueCounts()) { $0 + (counts[$1] ?? QueueCounts()) }
    }

    private func listTopics() -> JSONValue {
        var rows = namedQueues.map { name in (name, "function_queue", options(ofNamed: name)?.concurrency ?? 0) }
        rows += subscribers.topicNames.filter { options(ofNamed: $0) == nil }.map { topic in
            (topic, settings.adapter.name, subscribers.triggerCount(of: topic))
        }
        return .array(
            rows.sorted { $0.0 < $1.0 }.map { name, type, count in
                ["name": .string(name), "broker_type": .string(type), "subscriber_count": JSONValue(count)]
            })
    }

    /// The name under `topic` or `queue`; the baseline's error where it is missing, empty or no text.
    private func topicName(_ input: FunctionInput) throws(InvocationError) -> String {
        guard let name = (input["topic"] ?? input["queue"])?.string, !name.isEmpty else {
            throw InvocationError(.topicRequired, "topic is required")
        }
        return name
    }

    private func topicStats(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "engine::queue::topic_stats")
        let name = try topicName(input)
        let keys = keys(name)
        counts(keys, call, .topicStatsFailed, "Failed to get topic stats: ") { [self] counts in
            var stats = self.stats(keys, counts)
            stats["consumer_count"] = JSONValue(options(ofNamed: name)?.concurrency ?? subscribers.triggerCount(of: name))
            call.reply(.object(stats))
        }
    }

    private func stats(_ keys: [QueueKey], _ all: [QueueKey: QueueCounts]) -> [String: JSONValue] {
        let counts = Self.sum(keys, all)
        let runners = keys.compactMap { self.runners[$0] }
        let running = counts.active ?? runners.reduce(0) { $0 + $1.machine.running.count }
        let now = clock.now
        let causes = runners.compactMap { runner -> String? in
            guard let counts = all[runner.key], counts.depth > runner.machine.running.count else { return nil }
            return StallDetector.cause(runner.machine, counts, blocking: runner.blocking, now: now)
        }
        return [
            "depth": JSONValue(counts.depth), "dlq_depth": JSONValue(counts[.dead]), "config": keys.first.map(config) ?? .null,
            "waiting": JSONValue(max(0, counts[.ready] - running) + counts[.behind]), "active": JSONValue(running),
            "delayed": JSONValue(counts[.delayed]), "held": JSONValue(counts[.held]), "dead": JSONValue(counts[.dead]),
            "oldest_age_ms": JSONValue(counts.oldest.map { max(0, now - $0) } ?? 0),
            "delivered": JSONValue(runners.reduce(0) { $0 + $1.numbers.completed }),
            "failed": JSONValue(runners.reduce(0) { $0 + $1.numbers.failed }),
            "paused": .bool(runners.contains { $0.machine.isPaused }), "obstacle": JSONValue(causes.first),
        ]
    }

    private func config(_ key: QueueKey) -> JSONValue {
        guard let options = runners[key]?.machine.options else { return .null }
        return [
            "type": options.groupField != nil || options.isSerial ? "fifo" : "standard", "concurrency": JSONValue(options.concurrency),
            "max_attempts": JSONValue(options.maxAttempts), "backoff_ms": JSONValue(options.backoffMilliseconds),
            "backoff_type": .string(options.backoff.rawValue), "timeout_ms": JSONValue(options.timeout),
            "message_group_field": JSONValue(options.groupField), "max_depth": JSONValue(options.maxDepth),
        ]
    }

    private func queueStatus(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "iii::queue::status")
        func row(_ name: String, _ counts: [QueueKey: QueueCounts]) -> JSONValue {
            var members = stats(keys(name), counts)
            members["queue"] = .string(name)
            members["consumers"] = JSONValue(options(ofNamed: name)?.concurrency ?? subscribers.triggerCount(of: name))
            return .object(members)
        }
        if let name = try input.optionalText("queue", "topic") {
            return counts(keys(name), call, .queueFailed) { call.reply(row(name, $0)) }
        }
        let names = allNames.prefix(1000)
        counts(names.flatMap(keys), call, .queueFailed) { [self] counts in
            call.reply(["queues": .array(names.map { row($0, counts) }), "unheard": JSONValue(unheard)])
        }
    }

    // MARK: Dead letters

    private func deadLetters(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "engine::queue::dlq_messages")
        let name = try topicName(input)
        func number(_ key: String, _ fallback: Int, _ limit: Int) -> Int {
            input[key]?.integer.flatMap { $0 >= 0 ? min(Int(clamping: $0), limit) : nil } ?? fallback
        }
        store?.deadLetters(keys(name), offset: number("offset", 0, 1_000_000), limit: number("limit", 50, 1000)) { result in
            switch result {
            case .failure(let error):
                call.fail(InvocationError(.deadLettersFailed, "Failed to browse DLQ messages: \(error.message)"))
            case .success(let letters):
                var text: [UInt8] = [UInt8(ascii: "[")]
                for (index, letter) in letters.enumerated() {
                    if index > 0 { text.append(UInt8(ascii: ",")) }
                    text += Self.row(letter)
                }
                text.append(UInt8(ascii: "]"))
                call.reply(raw: text)
            }
        }
    }

    /// A page and where the next one begins; the last says `null`.
    private func export(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "iii::queue::dlq_export")
        let name = try topicName(input)
        let offset = try input.integer("offset", in: 0...1_000_000_000) ?? 0
        let limit = try input.integer("limit", in: 1...1000) ?? 500
        store?.deadLetters(keys(name), offset: offset, limit: limit) { result in
            switch result {
            case .failure(let error): call.fail(InvocationError(.deadLettersFailed, "Failed to export DLQ messages: \(error.message)"))
            case .success(let letters):
                var rows: [UInt8] = [UInt8(ascii: "[")]
                for (index, letter) in letters.enumerated() {
                    if index > 0 { rows.append(UInt8(ascii: ",")) }
                    rows += Self.row(letter)
                }
                rows.append(UInt8(ascii: "]"))
                var page = JSONObjectText()
                page.set("queue", .string(name))
                page.set("messages", raw: rows)
                page.set("next_offset", letters.isEmpty ? .null : JSONValue(offset + letters.count))
                call.reply(raw: page.finish())
            }
        }
    }

    private static func row(_ letter: DeadLetter) -> [UInt8] {
        let (message, progress) = (letter.stored.message, letter.stored.progress)
        var row = JSONObjectText()
        row.set("id", .string(message.id))
        row.set("payload", raw: message.payload)
        row.set("error", .string(progress.failures.last?.text ?? "unknown"))
        row.set("failed_at", JSONValue(letter.failedAt / 1000))
        row.set("retries", JSONValue(progress.attempts))
        row.set("size_bytes", JSONValue(message.payload.count))
        row.set("queue", .string(name(letter.queue)))
        row.set("function_id", .string(message.target.id))
        row.set("receipt_id", .string(message.id))
        row.set("max_attempts", JSONValue(message.maxAttempts))
        row.set("crashes", JSONValue(progress.crashes))
        row.set("created_at", JSONValue(message.createdAt))
        if let trace = message.traceparent?.split(separator: "-"), trace.count > 1 { row.set("trace_id", .string(String(trace[1]))) }
        row.set("attempts", (try? JSONValue(parsing: FailureText.encode(progress.failures))) ?? .array([]))
        return row.finish()
    }

    // MARK: One message

    private func messageID(_ input: FunctionInput) throws(InvocationError) -> String {
        guard let id = try input.optionalText("message_id", "messageReceiptId"), !id.isEmpty else {
            throw InvocationError(.messageIDNotSet, "Message ID is required")
        }
        return id
    }

    private func get(_ call: IncomingCall) throws(InvocationError) {
        let id = try messageID(try FunctionInput(call.payload, function: "iii::queue::get"))
        find(id, call) { call.reply(raw: $0) }
    }

    /// The state of a message as JSON text.
    private func find(_ id: String, _ call: IncomingCall, _ body: @escaping ([UInt8]) -> Void) {
        store?.find(id) { [self] result in
            switch result {
            case .failure(let error): call.fail(InvocationError(.queueFailed, error.message))
            case .success(let found):
                var row = JSONObjectText()
                row.set("message_id", .string(id))
                guard let found else {
                    // Done and no longer remembered, or taken out, or never accepted: nobody knows any more.
                    row.set("state", "gone")
                    return body(row.finish())
                }
                row.set("queue", .string(Self.name(found.queue)))
                switch found.state {
                case .done(let result):
                    row.set("state", "done")
                    row.set("result", raw: result)
                case .live(let state, let due):
                    let isActive =
                        found.isActive ?? runners[found.queue]?.machine.running.values.contains { $0.message.message.id == id } ?? false
                    row.set("state", .string(isActive ? "active" : state == .ready || state == .behind ? "waiting" : "\(state)"))
                    if state == .delayed { row.set("due_at", JSONValue(due)) }
                }
                if let stored = found.stored {
                    row.set("function_id", .string(stored.message.target.id))
                    row.set("attempts", JSONValue(stored.progress.attempts))
                    row.set("created_at", JSONValue(stored.message.createdAt))
                    if let failure = stored.progress.failures.last { row.set("error", .string(failure.text)) }
                }
                body(row.finish())
            }
        }
    }

    /// The longest wait; callers give up sooner by themselves.
    private static let maximumWait = 3_600_000

    private func wait(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "iii::queue::wait")
        let id = try messageID(input)
        let timeout = try input.integer("timeout_ms", in: 0...Int64(Self.maximumWait)) ?? 30_000
        var cancel: (() -> Void)?
        let ticket = waiters.add(id) { settlement in
            cancel?()
            var row = JSONObjectText()
            row.set("message_id", .string(id))
            switch settlement {
            case .dead(let progress):
                row.set("state", "dead")
                row.set("error", .string(progress.failures.last?.text ?? "unknown"))
            case .done(let result):
                row.set("state", "done")
                row.set("result", raw: result)
            default: row.set("state", "waiting")
            }
            call.reply(raw: row.finish())
        }
        guard let ticket else {
            throw InvocationError(.tooManyInFlight, "\(OutcomeWaiters.maximum) calls of iii::queue::wait wait already")
        }
        cancel = clock.schedule(at: clock.now + timeout) { [self] in
            guard waiters.remove(id, ticket) else { return }
            find(id, call) { call.reply(raw: $0) }
        }
        // It may be over already.
        store?.find(id) { [self] result in
            if case .success(let found) = result {
                switch found?.state {
                case .live(let state, _) where state != .dead: return
                default: break
                }
            }
            guard waiters.remove(id, ticket) else { return }
            cancel?()
            find(id, call) { call.reply(raw: $0) }
        }
    }
}
