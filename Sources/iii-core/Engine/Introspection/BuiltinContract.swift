import IIIProtocol
import NIOCore

/// The private contract between the core and its built-ins (docs/reference/core-workers.md): `core::*` functions, for
/// privileged callers only.
extension Engine {
    func addBuiltinContract() {
        func add(_ id: String, _ description: String, _ handler: @escaping (BuiltinCall, Worker) -> Void) {
            registry.functions.addBuiltin(
                BuiltinFunction(id, description, isPrivilegedOnly: true) { call in
                    guard let worker = call.caller else { return call.fail(.invalidArguments, "\(id) is for connected built-ins") }
                    handler(call, worker)
                })
        }
        add("core::builtin::hello", "First call of a built-in: who it is; answers with its configuration") { [self] call, worker in
            let name = worker.builtinName ?? ""
            var metadata = WorkerMetadata()
            metadata.name = name
            metadata.runtime = "engine"
            metadata.version = call.input["version"]?.string ?? version
            metadata.pid = call.input["pid"]?.integer
            metadata.isolation = "process"
            worker.metadata = metadata
            functionListing.namesChanged()
            if let builtin = worker.builtin { fleet.announced(builtin) }
            call.succeed([
                "instance_id": .string(instanceID.text), "channel_key": .string(channelKey), "config": entryConfigurations[name] ?? .null,
                "trace_ratio": traceRatio.map(JSONValue.double) ?? .null,
            ])
        }
        add("core::builtin::ready", "A built-in has registered and bound everything") { [self] call, worker in
            guard let builtin = worker.builtin else { return call.fail(.invalidArguments, "only built-ins become ready") }
            if builtin.name == TelemetryRelay.consumer { telemetry.consumerBecameReady() }
            let loop = eventLoop
            let pending = LoopBoxed(call)
            stopServing(siblingsOf: worker) { [fleet] in
                fleet.ready(builtin) { loop.execute { pending.value.succeed([:]) } }
            }
        }
        add("core::registry::watch", "Pushes added and removed function ids to `function_id`") { [self] call, worker in
            let prefixes = (call.input["prefixes"]?.array ?? []).compactMap(\.string)
            guard let function = call.input["function_id"]?.string else { return call.fail(.invalidArguments, "function_id is missing") }
            do throws(InvocationError) {
                announcements.watch(worker, function: try Self.callback(function, of: worker), prefixes: prefixes)
            } catch {
                return call.reply(.failure(error))
            }
            let ids = registry.functions.all.map(\.key.id).filter { RegistryAnnouncements.matches($0, prefixes) }.sorted()
            call.succeed(["functions": .array(ids.map(JSONValue.string))])
        }
        add(
            "core::channels::announce",
            "References whose nonce starts with `prefix` are the caller's; `function_id` hears of each opened one"
        ) {
            [self] call, worker in
            guard let prefix = call.input["prefix"]?.string, prefix.utf8.count == 16, let function = call.input["function_id"]?.string
            else {
                return call.fail(.invalidArguments, "'prefix' (16 hex digits) and 'function_id' are needed")
            }
            do throws(InvocationError) {
                channels.announce(prefix: prefix, worker: worker, function: try Self.callback(function, of: worker))
            } catch {
                return call.reply(.failure(error))
            }
            call.succeed([:])
        }
        add("core::channels::retire", "Nobody may open these any more") { [self] call, _ in
            guard let ids = call.input["channel_ids"]?.array else { return call.fail(.invalidArguments, "'channel_ids' is missing") }
            channels.retire(ids.compactMap(\.string))
            call.succeed([:])
        }
        // The outbound built-in serves `builtin::<name>::register_function` {function_id, namespace, invocation, is_replay} → {} or an
        // error, and `builtin::<name>::unregister_function` {function_id, namespace} → {}. Registering an id again replaces its
        // definition when, and only when, the new one is accepted; a newer registration or an unregistration ends one under way.
        // Calls come as ordinary `invokefunction` frames with the function's own id.
        add("core::http_functions::attach", "HTTP-invoked functions are handed to the caller from now on") { [self] call, worker in
            guard attachHTTPFunctions(worker) else {
                return call.fail(.invalidArguments, "register builtin::\(worker.builtinName ?? "")::register_function first")
            }
            call.succeed(["max_message_bytes": JSONValue(worker.connection?.limits.maximumMessageLength ?? 0)])
        }
        add("core::http_functions::detach", "The caller is about to stop: calls wait for its successor") { [self] call, worker in
            perform(httpFunctions.detached(worker))
            call.succeed([:])
        }
        add("core::telemetry::trace", "Share of the traces begun here that are recorded; null for none") { [self] call, worker in
            guard worker.builtinName == TelemetryRelay.consumer else {
                return call.fail(.invalidArguments, "only \(TelemetryRelay.consumer) decides what is recorded")
            }
            let ratio = call.input["ratio"] ?? .null
            guard ratio.isNull || ratio.number.map({ (0...1).contains($0) }) == true else {
                return call.fail(.invalidArguments, "'ratio' is a number from 0 to 1, or null")
            }
            record(traces: ratio.number)
            call.succeed([:])
        }
        add("core::metrics::snapshot", "The engine's counters and table sizes") { [self] call, _ in call.succeed(metricsSnapshot()) }
        add("core::metrics::calls", "The engine's counts of calls and workers, by function") { [self] call, _ in call.succeed(callCounts())
        }
        for command in ["list", "restart", "stop", "start", "logs", "metrics"] {
            add("core::fleet::\(command)", "As `iii-core \(command)`") { [self] call, _ in
                let loop = eventLoop
                let pending = LoopBoxed(call)
                fleet.perform(command, call.input) { outcome in
                    loop.execute {
                        switch outcome {
                        case .success(let value): pending.value.succeed(value)
                        case .failure(let error): pending.value.reply(.failure(error))
                        }
                    }
                }
            }
        }
    }

    /// The function that a built-in wants to be called back on: one of its own, or a public one.
    private static func callback(_ id: String, of worker: Worker) throws(InvocationError) -> FunctionID {
        worker.mayServePrivate(id) ? FunctionID(own: id) : try FunctionID(id)
    }

    /// What `engine::metrics::list` shows of the engine: every call that has ended, or is under way, of a function that was found.
    private func callCounts() -> JSONValue {
        let statistics = functionStatistics.all
        let succeeded = statistics.reduce(0) { $0 + $1.succeeded.count }
        let failed = statistics.reduce(0) { $0 + $1.failed.count }
        let underWay = registry.workers.values.reduce(0) { $0 + $1.invocations.count }
        var functions: [String: JSONValue] = [:]
        for one in statistics {
            let count = one.succeeded.count + one.failed.count
            if count > 0 { functions[one.key?.id ?? "other"] = .integer(Int64(clamping: count)) }
        }
        return [
            "invocations": [
                "total": .integer(Int64(clamping: succeeded + failed) + Int64(underWay)), "success": .integer(Int64(clamping: succeeded)),
                "error": .integer(Int64(clamping: failed)), "deferred": JSONValue(counters.invocationsDeferred),
                "by_function": .object(functions),
            ],
            "workers": [
                "spawns": JSONValue(counters.workersConnected), "deaths": JSONValue(counters.workersLeft),
                "active": JSONValue(max(0, counters.workersConnected - counters.workersLeft)),
            ],
        ]
    }

    package func metricsSnapshot() -> JSONValue {
        guard case .object(var members) = counters.json else { return .null }
        members.merge(listenerMetrics) { $1 }
        members["workers"] = JSONValue(registry.workers.count)
        members["functions"] = JSONValue(registry.functions.all.count)
        members["http_functions"] = JSONValue(httpFunctions.count)
        members["trigger_types"] = JSONValue(registry.triggers.allTypes.count)
        members["triggers"] = JSONValue(registry.triggers.allTriggers.count)
        members["calls_in_flight"] = JSONValue(registry.workers.values.reduce(0) { $0 + $1.invocations.count })
        members["durable_triggers"] = JSONValue(registry.triggers.durableCount)
        members["registered_bytes"] = JSONValue(registry.functions.ledger.total)
        members["held_bytes"] = JSONValue(held.waitingBytes)
        members["trace_context_bytes"] = JSONValue(traceContextBytes)
        members["channels"] = JSONValue(channels.count)
        members["channel_connections"] = JSONValue(channels.connectionCount)
        members["channel_waiting_bytes"] = JSONValue(channels.waitingBytes)
        members["queued_bytes"] = JSONValue(coalescer.budget.outbound)
        members["unhandled_bytes"] = JSONValue(coalescer.budget.inbound)
        members["telemetry_connections"] = JSONValue(telemetryConnections.count)
        return .object(members)
    }

    /// Tells every built-in which traces are to be recorded (`builtin::<name>::trace`); later ones hear it with their hello.
    func record(traces ratio: Double?) {
        guard ratio != traceRatio else { return }
        traceRatio = ratio
        let input: JSONValue = ["ratio": ratio.map(JSONValue.double) ?? .null]
        for worker in registry.workers.values {
            guard let name = worker.builtinName else { continue }
            call(FunctionID(own: "builtin::\(name)::trace"), data: input.bytes, callee: worker)
        }
    }

    /// Asks one process of a built-in to finish what it is doing (`builtin::<name>::drain`); `completion` runs when it has, or is
    /// gone. With `isHandover` a successor serves already. May be called from any thread.
    package func drain(
        _ builtin: BuiltinSecrets.Bearer, deadlineMilliseconds: Int, isHandover: Bool, completion: @escaping @Sendable () -> Void
    ) {
        eventLoop.execute { [self] in
            guard let worker = worker(of: builtin) else { return completion() }
            let input: JSONValue = ["deadline_ms": JSONValue(deadlineMilliseconds), "handover": .bool(isHandover)]
            call(FunctionID(own: "builtin::\(builtin.name)::drain"), data: input.bytes, callee: worker) { _ in completion() }
        }
    }

    /// Has every other process of a built-in stop taking from the socket they share, so that only one accepts at any time; clients
    /// wait in the kernel's queue meanwhile. One that does not answer within `yieldTimeout` is not waited for.
    private func stopServing(siblingsOf worker: Worker, completion: @escaping () -> Void) {
        let siblings = registry.workers.values.filter { $0.isSibling(of: worker) }
        var waiting = siblings.count
        guard waiting > 0 else { return completion() }
        func finish() {
            guard waiting > 0 else { return }
            waiting = 0
            completion()
        }
        let late = LoopBoxed(finish)
        let timeout = eventLoop.scheduleTask(in: Self.yieldTimeout) { late.value() }
        for sibling in siblings {
            call(FunctionID(own: "builtin::\(sibling.builtinName ?? "")::yield"), data: Array("{}".utf8), callee: sibling) { _ in
                if waiting > 1 { return waiting -= 1 }
                timeout.cancel()
                finish()
            }
        }
    }

    private static let yieldTimeout = TimeAmount.seconds(1)

    /// The connection of one process; function ids alone reach the newest only.
    private func worker(of builtin: BuiltinSecrets.Bearer) -> Worker? { registry.workers.values.first { $0.builtin == builtin } }
}

extension Engine {
    private static let descriptionTimeout = TimeAmount.seconds(1)

    /// Asks a built-in what it is doing (`builtin::<name>::status`). `completion` gets the answer, or nil when there is none within a
    /// second. May be called from any thread.
    package func describe(_ builtin: BuiltinSecrets.Bearer, completion: @escaping @Sendable (JSONValue?) -> Void) {
        eventLoop.execute { [self] in
            guard let worker = worker(of: builtin) else { return completion(nil) }
            ask(worker, "status", [:], within: Self.descriptionTimeout, completion)
        }
    }

    /// Calls `builtin::<name>::<verb>` of that very process. `completion` runs once: with the answer, or with nil where it is none, an
    /// error, or late.
    func ask(_ worker: Worker, _ verb: String, _ input: JSONValue, within limit: TimeAmount, _ completion: @escaping (JSONValue?) -> Void) {
        var isAnswered = false
        func answer(_ value: JSONValue?) {
            guard !isAnswered else { return }
            isAnswered = true
            completion(value)
        }
        let late = LoopBoxed(answer)
        let timeout = eventLoop.scheduleTask(in: limit) { late.value(nil) }
        call(FunctionID(own: "builtin::\(worker.builtinName ?? "")::\(verb)"), data: input.bytes, callee: worker) { outcome in
            timeout.cancel()
            guard case .result(let bytes?) = outcome else { return answer(nil) }
            answer(try? JSONValue(parsing: bytes))
        }
    }
}

/// Carries a loop-confined value through a closure that another thread calls and that comes back to the loop.
struct LoopBoxed<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
