import IIIProtocol
import IIIServer
import IIITelemetry
import NIOCore

/// The engine's own metrics (docs/reference/metrics.md#engine): what it counts as plain integers on its loop, taken over into instruments
/// when somebody looks. Nothing is paid per call but the integer.
final class EngineMetrics {
    private typealias Reading = (Engine) -> Int

    private let store = MetricStore()
    private let counters: [(CounterInstrument, Reading)]
    private let gauges: [(GaugeInstrument, Reading)]
    private let listeners: ServerMetrics

    init(version: String) {
        let store = store
        listeners = ServerMetrics(store)
        store.gauge("iii.build.info", labels: [("version", version)], description: "Always 1; its label is what is worth reading").set(1)
        counters = Self.counters.map { name, label, description, path in
            (store.counter(name, labels: label.map { [$0] } ?? [], description: description), { $0.counters[keyPath: path] })
        }
        gauges = Self.gauges.map { name, label, unit, description, reading in
            (store.gauge(name, labels: label.map { [$0] } ?? [], description: description, unit: unit), reading)
        }
    }

    /// Everything as it stands now. On the loop.
    func families(of engine: Engine) -> [MetricFamily] {
        for (counter, reading) in counters { counter.advance(to: reading(engine)) }
        for (gauge, reading) in gauges { gauge.set(reading(engine)) }
        listeners.update(engine.listeners.reduce(engine.closedListeners) { $0 + $1.reading })
        return store.snapshot() + (engine.countsFunctions ? engine.functionStatistics.families : [])
    }

    private static var counters:
        [(name: String, label: (String, String)?, description: String, path: KeyPath<EngineCounters, Int> & Sendable)]
    {
        let limits = "iii.limits.reached.total"
        let limit = "What was refused because a limit was reached"
        let dropped = "iii.peers.dropped.total"
        let drop = "Connections that the engine has ended"
        let telemetry = "iii.telemetry.dropped.total"
        let lost = "Telemetry that was dropped"
        return [
            ("iii.connections.accepted.total", nil, "Workers and telemetry sockets that were admitted", \.connectionsAccepted),
            ("iii.messages.received.total", nil, "Messages of workers", \.messagesReceived),
            ("iii.messages.dropped.total", nil, "Messages that could not be understood", \.messagesDropped),
            ("iii.workers.spawns.total", nil, "Workers that have connected", \.workersConnected),
            ("iii.workers.deaths.total", nil, "Workers that have left", \.workersLeft),
            ("iii.calls.received.total", nil, "Calls that workers have made, unknown functions included", \.invocations),
            ("iii.calls.failed.total", nil, "Of these: that ended in an error", \.invocationsFailed),
            ("iii.calls.routed.total", nil, "Calls handed to a worker that is no built-in", \.invocationsDeferred),
            ("iii.calls.enqueued.total", nil, "Calls handed to a queue", \.enqueued),
            ("iii.calls.held.total", nil, "Calls that waited for a built-in which was restarting", \.callsHeld),
            ("iii.calls.forgotten.total", nil, "Calls that nobody answered for a day", \.callsForgotten),
            ("iii.results.unmatched.total", nil, "Answers to calls that nobody waits for", \.resultsUnmatched),
            ("iii.registrations.refused.total", nil, "Registrations that were refused", \.registrationsRefused),
            (limits, ("limit", "connections"), limit, \.connectionsRefused),
            (limits, ("limit", "in_flight"), limit, \.inFlightLimitReached),
            (limits, ("limit", "registrations"), limit, \.registrationLimitReached),
            (limits, ("limit", "payload"), limit, \.payloadsTooLarge),
            (limits, ("limit", "outbound"), limit, \.overloadsRefused),
            (limits, ("limit", "held_calls"), limit, \.heldCallsRefused),
            (limits, ("limit", "trace_contexts"), limit, \.traceContextsDropped),
            (limits, ("limit", "channels"), limit, \.channelLimitReached),
            ("iii.peers.paused.total", nil, "Times a worker was not read because another could not keep up", \.peersPaused),
            ("iii.peers.held.total", nil, "Times a worker was not handled because it did not take its answers", \.callersHeld),
            (dropped, ("reason", "slow"), drop, \.slowPeersDropped),
            (dropped, ("reason", "silent"), drop, \.silentPeersDropped),
            (dropped, ("reason", "room"), drop, \.peersDroppedForRoom),
            ("iii.stalls.total", nil, "Times the engine itself did not run for a while", \.ownStalls),
            ("iii.channels.created.total", nil, "Channels that were made", \.channelsCreated),
            ("iii.channels.expired.total", nil, "Channels whose second end nobody took", \.channelsExpired),
            ("iii.channels.messages.total", nil, "Messages that went through channels", \.channelMessages),
            ("iii.channels.paused.total", nil, "Times the writer of a channel was not read", \.channelWritersPaused),
            ("iii.access.authentications_failed.total", nil, "Connections that an auth function did not let in", \.authenticationsFailed),
            ("iii.access.calls_forbidden.total", nil, "Calls that access rules do not allow", \.callsForbidden),
            ("iii.access.registrations_denied.total", nil, "Registrations that access rules or hooks do not allow", \.registrationsDenied),
            ("iii.access.hook_writers_paused.total", nil, "Times a worker was not read because it waits for a hook", \.hookWritersPaused),
            ("iii.telemetry.relayed.total", nil, "Telemetry frames that iii-observability has taken", \.telemetryRelayed),
            (telemetry, ("reason", "no_consumer"), lost, \.telemetryUnwanted),
            (telemetry, ("reason", "malformed"), lost, \.telemetryMalformed),
            (telemetry, ("reason", "buffer_full"), lost, \.telemetryOverflowed),
            (telemetry, ("reason", "slow_consumer"), lost, \.telemetryOutrun),
            (telemetry, ("reason", "metrics_buffer_full"), lost, \.metricFramesRefused),
        ]
    }

    private static let gauges:
        [(name: String, label: (String, String)?, unit: String, description: String, reading: @Sendable (Engine) -> Int)] =
            [
                ("iii.workers.active", nil, "", "Workers that are connected", { $0.registry.workers.count }),
                ("iii.workers.by_status", ("status", "busy"), "", "Workers by whether they execute calls", { $0.busyWorkers }),
                (
                    "iii.workers.by_status", ("status", "available"), "", "Workers by whether they execute calls",
                    { $0.registry.workers.count - $0.busyWorkers }
                ),
                ("iii.functions.registered", nil, "", "Functions that can be called", { $0.registry.functions.count }),
                ("iii.functions.http", nil, "", "Of these: remote HTTP endpoints", { $0.httpFunctions.count }),
                ("iii.trigger_types.registered", nil, "", "Kinds of events that are provided", { $0.registry.triggers.allTypes.count }),
                ("iii.triggers.registered", nil, "", "Triggers, parked ones included", { $0.registry.triggers.allTriggers.count }),
                ("iii.triggers.durable", nil, "", "Of these: that outlive whoever made them", { $0.registry.triggers.durableCount }),
                (
                    "iii.calls.in_flight", nil, "", "Calls that are not answered yet",
                    { $0.registry.workers.values.reduce(0) { $0 + $1.invocations.count } }
                ),
                ("iii.registrations.bytes", nil, "By", "What all registrations occupy", { $0.registry.functions.ledger.total }),
                ("iii.calls.held.bytes", nil, "By", "Calls that wait for a built-in which is restarting", { $0.held.waitingBytes }),
                ("iii.trace_contexts.bytes", nil, "By", "Trace contexts of calls under way", { $0.traceContextBytes }),
                ("iii.connections.outbound.bytes", nil, "By", "What waits for peers to take it", { $0.coalescer.budget.outbound }),
                (
                    "iii.connections.inbound.bytes", nil, "By", "What has come and is not handled: unfinished messages",
                    { $0.coalescer.budget.inbound }
                ),
                ("iii.channels.open", nil, "", "Channels", { $0.channels.count }),
                ("iii.channels.connections", nil, "", "Ends of channels that are connected", { $0.channels.connectionCount }),
                ("iii.channels.waiting.bytes", nil, "By", "What waits in channels", { $0.channels.waitingBytes }),
                ("iii.access.hook_waiting.bytes", nil, "By", "Messages that wait for a registration hook", { $0.hookWaitingBytes }),
                ("iii.access.authenticating", nil, "", "Connections whose auth function has not answered", { $0.authenticating.count }),
                ("iii.telemetry.connections", nil, "", "Sockets that carry telemetry only", { $0.telemetryConnections.count }),
                ("iii.telemetry.waiting.bytes", nil, "By", "Telemetry that waits for iii-observability", { $0.telemetry.waitingBytes }),
                (
                    "iii.telemetry.metrics.bytes", nil, "By", "Newest metrics of all workers, kept for whoever asks",
                    { $0.telemetry.frames.bytes }
                ),
            ]
}

extension Engine {
    /// Whether calls are counted by function (`iii-observability.config.metrics_enabled`, and `enabled`).
    var countsFunctions: Bool { isCountingFunctions }

    fileprivate var busyWorkers: Int { registry.workers.values.reduce(0) { $0 + ($1.invocations.isEmpty ? 0 : 1) } }

    /// Reads `metrics_enabled` and `enabled` of the observability entry anew.
    func observabilityConfigured() {
        let config = entryConfigurations[TelemetryRelay.consumer]
        isCountingFunctions = config?["metrics_enabled"]?.bool != false && config?["enabled"]?.bool != false
    }

    /// Everything there is to show. May be called from any thread; `completion` runs on the loop and must not block it.
    package func readMetrics(_ completion: @escaping @Sendable (MetricsReading) -> Void) {
        eventLoop.execute { [self] in
            var frames: [(MetricFrames.Source, [UInt8])] = []
            for (id, connection) in connections {
                guard let body = telemetry.frames[id] else { continue }
                let worker = connection.worker
                frames.append(
                    (.init(workerID: worker.id.text, workerName: worker.displayName, isBuiltIn: worker.isPrivileged), body))
            }
            for id in telemetryConnections.keys {
                if let body = telemetry.frames[id] { frames.append((.init(workerID: nil, workerName: nil, isBuiltIn: false), body)) }
            }
            completion(MetricsReading(engine: metrics.families(of: self), frames: frames))
        }
    }

    // MARK: Calls

    /// A call of `record` was answered.
    @inline(__always)
    func succeeded(_ record: FunctionRecord, since start: NIODeadline, now: NIODeadline, trace: [UInt8]) {
        guard isCountingFunctions else { return }
        statistics(of: record).succeeded(after: (now - start).nanoseconds, trace: trace, now: now.uptimeNanoseconds)
    }

    /// A call of `record` ended in an error.
    func failed(_ record: FunctionRecord, _ code: String, since start: NIODeadline, now: NIODeadline, trace: [UInt8]) {
        guard isCountingFunctions else { return }
        statistics(of: record).failed(code, after: (now - start).nanoseconds, trace: trace, now: now.uptimeNanoseconds)
    }

    @inline(__always)
    private func statistics(of record: FunctionRecord) -> FunctionStatistics {
        if let known = record.statistics { return known }
        return newStatistics(of: record)
    }

    @inline(never)
    private func newStatistics(of record: FunctionRecord) -> FunctionStatistics {
        let made = functionStatistics.statistics(of: record.key) { registry.functions.lookup($0) != nil }
        // What stands for many is asked for again: there may be room by then.
        if made.key != nil { record.statistics = made }
        return made
    }
}
