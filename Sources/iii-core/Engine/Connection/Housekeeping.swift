import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// The engine's periodic work: once a second it pings quiet peers and ends silent ones and those that take nothing; now and then
/// it forgets calls nobody answers and channels nobody opens. Confined to the engine's loop.
final class Housekeeping {
    private static let period = TimeAmount.seconds(1)

    private unowned let engine: Engine
    private var gauge = StallGauge(period: Housekeeping.period, now: .now())
    private var tasks: [RepeatedTask] = []

    init(engine: Engine) { self.engine = engine }

    func start() {
        guard tasks.isEmpty else { return }
        gauge = StallGauge(period: Self.period, now: .now())
        every(Self.period) { $0.sweep(.now()) }
        every(.minutes(10)) { $0.engine.forgetAbandonedCalls(.now()) }
        every(.minutes(1)) { $0.engine.channels.expire(.now()) }
    }

    func stop() {
        for task in tasks { task.cancel() }
        tasks = []
    }

    private func every(_ interval: TimeAmount, _ work: @escaping (Housekeeping) -> Void) {
        let bound = NIOLoopBound((self, work), eventLoop: engine.eventLoop)
        tasks.append(
            engine.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
                let (housekeeping, work) = bound.value
                work(housekeeping)
            })
    }

    private func sweep(_ now: NIODeadline) {
        let gap = gauge.tick(now)
        if gap > .zero { excuse(gap, now) }
        for connection in Array(engine.connections.values) { inspect(connection, now) }
        let limits = engine.peerLimits(isPrivileged: false)
        for connection in Array(engine.telemetryConnections.values) {
            act(on: connection, connection.judge(now, limits), "telemetry socket", worker: nil)
        }
    }

    /// This process did not run for `gap`: nobody's silence. What came meanwhile is read before the next sweep judges.
    private func excuse(_ gap: TimeAmount, _ now: NIODeadline) {
        engine.counters.ownStalls += 1
        if gap > .seconds(5) {
            engine.logger.warning(
                .engineStalled, "the engine did not run for a while; no peer is held to account for it",
                metadata: ["ms": "\(gap.nanoseconds / 1_000_000)"])
        }
        for connection in engine.connections.values {
            connection.excuse(gap)
            connection.health.excuse(gap, now: now)
        }
        for connection in engine.telemetryConnections.values { connection.excuse(gap) }
    }

    private func inspect(_ connection: WorkerConnection, _ now: NIODeadline) {
        let worker = connection.worker
        act(on: connection, connection.judge(now, engine.peerLimits(isPrivileged: worker.isPrivileged)), "worker", worker: worker)
    }

    private func act(on connection: WebSocketConnection, _ verdict: PeerHealth.Verdict, _ kind: String, worker: Worker?) {
        let metadata: Logger.Metadata = ["worker": .string(worker?.id.text ?? ""), "builtin": .string(worker?.builtinName ?? "")]
        switch verdict {
        case .fine: break
        case .ping: connection.sendPing()
        case .stalled:
            engine.counters.slowPeersDropped += 1
            engine.logger.warning(.slowWorkerDropped, "a \(kind) that takes no data was dropped", metadata: metadata)
            connection.drop(.tryAgainLater)
        case .silent:
            engine.counters.silentPeersDropped += 1
            engine.logger.warning(.silentWorkerDropped, "a silent \(kind) was dropped", metadata: metadata)
            connection.cut()
            if let builtin = worker?.builtin { engine.fleet.unresponsive(builtin) }
        }
    }
}

extension Engine {
    func peerLimits(isPrivileged: Bool) -> PeerHealth.Limits {
        PeerHealth.Limits(
            pingInterval: isPrivileged ? options.builtinPingInterval : options.pingInterval,
            silence: isPrivileged ? options.builtinSilenceTimeout : options.silenceTimeout, writeStall: options.writeStallTimeout,
            highWater: options.outboundHighWater)
    }

    /// A callee that never answers must not fill memory for ever: the protocol has no cancel.
    func forgetAbandonedCalls(_ now: NIODeadline) {
        for worker in registry.workers.values where !worker.invocations.isEmpty {
            for (id, pending) in worker.invocations where now - pending.startedAt > options.abandonedCallLifetime {
                worker.invocations[id] = nil
                counters.callsForgotten += 1
                stop(pending)
            }
        }
    }

    /// All connections together hold more than they may: ends those that hold most, until they do not.
    func relieve(_ direction: BufferBudget.Direction) {
        let sockets: [WebSocketConnection] = Array(connections.values) + Array(telemetryConnections.values) + channels.openConnections
        switch direction {
        case .outbound:
            for connection in sockets.sorted(by: { $0.queuedBytes > $1.queuedBytes }) {
                guard coalescer.budget.outbound > options.outboundTotalBytes else { return }
                dropForRoom(connection, connection.queuedBytes, "outbound_total_bytes")
            }
        case .inbound:
            // Whoever left a sizeable message unfinished for longest; somebody who is sending finishes soon.
            let share = options.inboundTotalBytes / max(sockets.count, 1)
            let holders = sockets.filter { $0.unhandledBytes > share }.sorted { $0.lastInbound < $1.lastInbound }
            for connection in holders {
                guard coalescer.budget.inbound > options.inboundTotalBytes else { return }
                dropForRoom(connection, connection.unhandledBytes, "inbound_total_bytes")
            }
        }
    }

    private func dropForRoom(_ connection: WebSocketConnection, _ bytes: Int, _ limit: String) {
        counters.peersDroppedForRoom += 1
        logger.warning(
            .droppedForRoom, "a connection was dropped: all together hold more than \(limit)",
            metadata: ["worker": .string((connection as? WorkerConnection)?.worker.id.text ?? ""), "bytes": "\(bytes)"])
        connection.drop(.tryAgainLater)
    }
}
