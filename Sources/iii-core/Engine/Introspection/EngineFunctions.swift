import IIIProtocol
import IIITelemetry
import NIOCore

/// The `engine::*` functions and the engine's own trigger types (docs/reference/engine.md).
extension Engine {
    func addBuiltinFunctions() {
        addBuiltinContract()
        addFunctionListings()
        addWorkerFunctions()
        addTriggerFunctions()
        addChannelFunctions()
        for (id, description) in [
            (RegistryAnnouncements.functionsAvailable, "Fires when the set of registered functions changes"),
            (RegistryAnnouncements.workersAvailable, "Fires when a worker connects, reports its metadata, or disconnects"),
        ] {
            _ = registry.triggers.registerType(id, .init(worker: nil, description: description))
        }
    }

    private func add(_ id: String, _ description: String, _ handler: @escaping (BuiltinCall) -> Void) {
        registry.functions.addBuiltin(BuiltinFunction(id, description, handler: handler))
    }

    /// Answers `deserialization_error` and returns true when a member of the input has the wrong type.
    private func rejects(_ call: BuiltinCall, _ id: String, strings: [String] = [], bools: [String] = []) -> Bool {
        for key in strings {
            if let value = call.input[key], !value.isNull, value.string == nil {
                call.fail(.deserializationError, "Failed to deserialize input for \(id): '\(key)' must be a string")
                return true
            }
        }
        for key in bools {
            if let value = call.input[key], !value.isNull, value.bool == nil {
                call.fail(.deserializationError, "Failed to deserialize input for \(id): '\(key)' must be a boolean")
                return true
            }
        }
        return false
    }

    private func rows(_ key: String, _ rows: [[UInt8]], extra: [(String, JSONValue)] = []) -> [UInt8] {
        var object = JSONObjectText()
        object.set(key, rows: rows)
        for (name, value) in extra { object.set(name, value) }
        return object.finish()
    }

    // MARK: Channels

    private func addChannelFunctions() {
        let id = "engine::channels::create"
        add(id, "Makes a one-way channel and returns a reference to each of its ends") { [self] call in
            var capacity: Int64 = 64
            if let wanted = call.input["buffer_size"], !wanted.isNull {
                guard let number = wanted.integer else {
                    return call.fail(.deserializationError, "Failed to deserialize input for \(id): 'buffer_size' must be an integer")
                }
                capacity = min(max(number, 1), 1024)
            }
            guard let channel = channels.create(capacity: Int(capacity), owner: call.caller?.id) else {
                let limit = options.maximumChannelsPerWorker
                return call.fail(.tooManyChannels, "This worker has \(limit) channels open (max_channels_per_worker)")
            }
            let key = String(decoding: channel.accessKey, as: UTF8.self)
            func reference(_ direction: ChannelRef.Direction) -> JSONValue {
                ChannelRef(channelID: channel.id, accessKey: key, direction: direction).json
            }
            call.succeed(["writer": reference(.write), "reader": reference(.read)])
        }
    }

    // MARK: Functions

    private func addFunctionListings() {
        add("engine::functions::list", "Lists registered functions") { [self] call in
            guard
                !rejects(
                    call, "engine::functions::list", strings: ["search", "prefix", "worker", "namespace"], bools: ["include_internal"])
            else { return }
            let input = call.input
            let includeInternal = input["include_internal"]?.bool ?? false
            let workers = Set((input["workers"]?.array ?? []).compactMap(\.string) + [input["worker"]?.string].compactMap { $0 })
            let seesPrivileged = call.caller?.isPrivileged ?? false
            let prefix = input["prefix"]?.string
            let namespace = input["namespace"]?.string
            let needle = Array((input["search"]?.string ?? "").lowercased().utf8)
            let entries = functionListing.current.filter { entry in
                let record = entry.record
                if record.isPrivilegedOnly ? !(seesPrivileged && includeInternal) : entry.isInternal && !includeInternal { return false }
                if entry.isMarkedInternal, !includeInternal { return false }
                if !isVisible(record, to: call.caller) { return false }
                if let prefix, !record.key.id.hasPrefix(prefix) { return false }
                if let namespace, record.key.namespace != namespace { return false }
                if !workers.isEmpty, !workers.contains(entry.workerName) { return false }
                return needle.isEmpty || functionListing.matches(entry, needle)
            }
            call.reply(.success(rows("functions", entries.map(functionListing.row))))
        }
        add("engine::functions::info", "Describes one function, or up to 32") { [self] call in
            let input = call.input
            let namespace = input["namespace"]?.string ?? FunctionKey.defaultNamespace
            func visible(_ id: String) -> FunctionRecord? {
                registry.functions.lookup(FunctionKey(id, namespace: namespace)).flatMap { record in
                    record.isPrivilegedOnly && call.caller?.isPrivileged != true ? nil : record
                }
            }
            // Also where there is no such function: whether there is one is nobody's business who may not call it.
            func objection(_ id: String) -> InvocationError? {
                guard let caller = call.caller, caller.isRestricted, let session = caller.access else { return nil }
                return denial(of: FunctionKey(id, namespace: namespace), session)
            }
            if let id = input["function_id"]?.string {
                if let objection = objection(id) { return call.reply(.failure(objection)) }
                guard let record = visible(id) else { return call.fail(.notFound, "Function \(id) not found") }
                return call.reply(.success(functionDetail(record, for: call.caller)))
            }
            guard let ids = input["function_ids"]?.array?.map(\.string), !ids.contains(nil), (1...32).contains(ids.count) else {
                return call.fail(.invalidArguments, "give 'function_id', or 'function_ids' with 1 to 32 ids")
            }
            let details = ids.compactMap { $0 }.map { id -> [UInt8] in
                let isForbidden = objection(id) != nil
                if !isForbidden, let record = visible(id) { return functionDetail(record, for: call.caller) }
                let missing: JSONValue = ["function_id": .string(id), "error": isForbidden ? "forbidden" : "not_found"]
                return missing.bytes
            }
            call.reply(.success(rows("functions", details)))
        }
    }

    // MARK: Workers

    private func addWorkerFunctions() {
        add("engine::workers::list", "Lists connected workers") { [self] call in
            guard !rejects(call, "engine::workers::list", strings: ["worker_id", "search", "runtime", "status"]) else { return }
            let input = call.input
            let everyone = registry.workers.values.filter { isVisible($0, to: call.caller) }.sorted { a, b in
                (a.metadata.name ?? a.id.text, a.id.text) < (b.metadata.name ?? b.id.text, b.id.text)
            }
            var listed: [[UInt8]]
            if let id = input["worker_id"]?.string {
                listed = everyone.filter { $0.id.text == id.lowercased() || $0.builtinName == id }.map { workerRow($0, for: call.caller) }
            } else {
                let shown = everyone.filter { worker in
                    guard worker.metadata.pid != nil else { return false }
                    if let runtime = input["runtime"]?.string, worker.metadata.runtime != runtime { return false }
                    if let status = input["status"]?.string, status != (worker.isPrivileged ? "available" : "connected") { return false }
                    if let search = input["search"]?.string?.lowercased(), !search.isEmpty {
                        return (worker.metadata.name ?? worker.id.text).lowercased().contains(search)
                    }
                    return true
                }
                listed = shown.map { workerRow($0, for: call.caller) }
                if input["search"] == nil && input["runtime"] == nil && input["status"] == nil { listed += coreRows(for: call.caller) }
            }
            call.reply(.success(rows("workers", listed, extra: [("timestamp", .integer(Int64(WallClock.milliseconds())))])))
        }
        add("engine::workers::info", "Describes the newest worker of a name") { [self] call in
            guard let name = call.input["name"]?.string else { return call.fail(.invalidArguments, "'name' is missing") }
            let matching = registry.workers.values.filter {
                ($0.metadata.name ?? $0.builtinName ?? $0.id.text) == name && isVisible($0, to: call.caller)
            }
            guard let worker = matching.max(by: { $0.connectedAtMilliseconds < $1.connectedAtMilliseconds }) else {
                return call.fail(.notFound, "Worker \(name) not found")
            }
            var answer = JSONObjectText()
            answer.set("worker", raw: workerRow(worker, for: call.caller))
            answer.set(
                "functions",
                rows: worker.functionIDs.sorted { $0.id < $1.id }.compactMap { registry.functions.lookup($0) }
                    .filter { isVisible($0, to: call.caller) }.map(functionRow))
            answer.set(
                "trigger_types",
                rows: worker.triggerTypeIDs.map(\.id).sorted().compactMap { registry.triggers[type: $0] }
                    .filter { isVisible($0, to: call.caller) }.map { triggerTypeRow($0, .listed) })
            let triggers = visibleTriggers(to: call.caller).filter { $0.owner === worker }
            answer.set("registered_triggers", rows: triggers.map(registeredTriggerRow))
            call.reply(.success(answer.finish()))
        }
        add("engine::workers::register", "Takes a worker's report about itself") { [self] call in
            guard let worker = call.caller else {
                return call.fail(.deserializationError, "engine::workers::register is for connected workers")
            }
            guard !rejects(call, "engine::workers::register", strings: ["runtime", "version", "name", "os", "isolation", "description"])
            else { return }
            if !worker.isPrivileged {
                // Kept as long as the worker stays, so it counts like a registration.
                let ledger = registry.functions.ledger
                if let limit = ledger.objection(to: worker, replacing: worker.reportCost, with: call.length) {
                    counters.registrationLimitReached += 1
                    return call.fail(.payloadTooLarge, noRoom(limit))
                }
                ledger.change(worker, by: call.length - worker.reportCost)
                worker.reportCost = call.length
                worker.metadata.merge(call.input)
                functionListing.namesChanged()
                announcements.workerEvent("worker_metadata_updated", worker.id)
            }
            call.succeed(["success": true])
        }
    }

    // MARK: Triggers

    /// How long `engine::register_trigger` waits for the provider's word (docs/reference/engine.md#engineregister_trigger).
    private static let acknowledgementTimeout = TimeAmount.seconds(10)

    private func addTriggerFunctions() {
        add("engine::triggers::list", "Lists triggers; for SDKs from 0.21 on, trigger types") { [self] call in
            guard !rejects(call, "engine::triggers::list", bools: ["include_internal"]) else { return }
            let includeInternal = call.input["include_internal"]?.bool ?? false
            if let version = call.caller?.metadata.sdkVersion, version >= (0, 21), call.caller?.isPrivileged == false {
                let types = visibleTypes(includeInternal, call.caller)
                return call.reply(.success(rows("triggers", types.map { triggerTypeRow($0, .summary) })))
            }
            let triggers = visibleTriggers(to: call.caller).filter { includeInternal || !isInternal($0.functionID.text) }
            call.reply(.success(rows("triggers", triggers.map(triggerRow))))
        }
        add("engine::trigger-types::list", "Lists trigger types") { [self] call in
            guard !rejects(call, "engine::trigger-types::list", bools: ["include_internal"]) else { return }
            let types = visibleTypes(call.input["include_internal"]?.bool ?? false, call.caller)
            call.reply(.success(rows("trigger_types", types.map { triggerTypeRow($0, .listed) })))
        }
        add("engine::triggers::info", "Describes one trigger type") { [self] call in
            guard let id = call.input["id"]?.string else { return call.fail(.invalidArguments, "'id' is missing") }
            guard let type = registry.triggers[type: id], isVisible(type, to: call.caller) else {
                return call.fail(.notFound, "Trigger type \(id) not found")
            }
            call.reply(.success(triggerTypeRow(type, .detailed)))
        }
        add("engine::registered-triggers::list", "Lists triggers") { [self] call in
            let input = call.input
            guard
                !rejects(
                    call, "engine::registered-triggers::list", strings: ["trigger_type", "function_id", "search", "worker"],
                    bools: ["include_internal"])
            else { return }
            let includeInternal = input["include_internal"]?.bool ?? false
            let triggers = visibleTriggers(to: call.caller).filter { trigger in
                if !includeInternal && isInternal(trigger.functionID.text) { return false }
                if let type = input["trigger_type"]?.string, trigger.type != type { return false }
                if let function = input["function_id"]?.string, trigger.functionID.text != function { return false }
                if let worker = input["worker"]?.string, workerName(trigger.owner).string != worker { return false }
                if let search = input["search"]?.string?.lowercased(), !search.isEmpty {
                    return "\(trigger.id) \(trigger.type) \(trigger.functionID)".lowercased().contains(search)
                }
                return true
            }
            let sorted = triggers.sorted { ($0.type, $0.functionID.text, $0.id) < ($1.type, $1.functionID.text, $1.id) }
            call.reply(.success(rows("registered_triggers", sorted.map(registeredTriggerRow))))
        }
        add("engine::registered-triggers::info", "Describes one trigger") { [self] call in
            guard let id = call.input["id"]?.string else { return call.fail(.invalidArguments, "'id' is missing") }
            guard let trigger = registry.triggers[trigger: id], isVisible(trigger, to: call.caller) else {
                return call.fail(.notFound, "Trigger \(id) not found")
            }
            call.reply(.success(registeredTriggerRow(trigger)))
        }
        add("engine::register_trigger", "Registers a trigger that outlives the calling worker") { [self] call in registerDurable(call) }
        add("engine::unregister_trigger", "Removes a trigger made by engine::register_trigger") { [self] call in
            guard let id = call.input["id"]?.string else { return call.fail(.invalidArguments, "'id' is missing") }
            let isVisible = registry.triggers[trigger: id].map { self.isVisible($0, to: call.caller) } ?? false
            let effects = isVisible ? registry.triggers.unregisterDurable(id) : nil
            perform(effects ?? [])
            call.succeed(["removed": .bool(effects != nil)])
        }
    }

    private func visibleTypes(_ includeInternal: Bool, _ caller: Worker?) -> [TriggerTypeRecord] {
        registry.triggers.allTypes.filter { (includeInternal || !isInternal($0.id)) && isVisible($0, to: caller) }
    }

    private func visibleTriggers(to caller: Worker?) -> [TriggerRecord] {
        registry.triggers.allTriggers.filter { !$0.isRejected && isVisible($0, to: caller) }
    }

    private func registerDurable(_ call: BuiltinCall) {
        guard let type = call.input["trigger_type"]?.string, let function = call.input["function_id"]?.string else {
            return call.fail(.invalidArguments, "'trigger_type' and 'function_id' are required strings")
        }
        var trigger = RegistrationHooks.Trigger(id: UUIDBits.random().text, type: type, functionID: function)
        call.text.withUnsafeBytes { text in
            let members = JSONMembers(text)
            trigger.config = members?.raw("config") ?? trigger.config
            trigger.metadata = members?.raw("metadata")
        }
        guard let caller = call.caller, let session = caller.access else { return registerDurable(trigger, call) }
        authoriseDurable(trigger, for: caller, session) { [self] outcome in
            switch outcome {
            case .success(let trigger): registerDurable(trigger, call)
            case .failure(let error):
                counters.registrationsDenied += 1
                refused(trigger.id, caller, error.message)
                call.reply(.failure(error))
            }
        }
    }

    private func registerDurable(_ trigger: RegistrationHooks.Trigger, _ call: BuiltinCall) {
        let id = trigger.id
        do throws(InvocationError) {
            let request = try TriggerRequest(trigger, cost: RegistrationLedger.overhead + call.length)
            try registerTrigger(request, owner: nil, creator: call.caller)
        } catch {
            if let worker = call.caller { refused(id, worker, error.message) }
            return call.fail(.triggerRegistrationFailed, error.message)
        }
        guard let trigger = registry.triggers[trigger: id], case .provider = trigger.holder else {
            return call.succeed(["id": .string(id)])
        }
        // No word within the time means no objection: older providers never answer.
        let loop = eventLoop
        let pending = LoopBoxed(call)
        let timeout = loop.scheduleTask(in: Self.acknowledgementTimeout) { [self] in
            guard awaitedTriggers.removeValue(forKey: id) != nil else { return }
            pending.value.succeed(["id": .string(id)])
        }
        awaitedTriggers[id] = { [self] error in
            timeout.cancel()
            guard let error else { return call.succeed(["id": .string(id)]) }
            perform(registry.triggers.unregisterDurable(id) ?? [])
            call.fail(.triggerRegistrationFailed, error.message)
        }
    }
}
