import IIIProtocol
import IIITransport

/// Back-pressure between workers (docs/reference/worker-protocol.md#back-pressure): a slow worker slows those who feed it,
/// never anyone else.
extension Engine {
    /// `feeder` has put `bytes` into a connection above its high-water mark. Past its allowance it is not read until that drains.
    ///
    /// Light feeders stay readable. Built-ins are never paused, because they speak for many: `isOverloaded` holds them back instead.
    func throttle(_ feeder: Worker, feeding target: WorkerConnection, by bytes: Int) {
        guard !feeder.isPrivileged, let connection = feeder.connection, connection !== target else { return }
        let fed = target.fedBytes[feeder.id, default: 0] + bytes
        target.fedBytes[feeder.id] = fed
        guard fed > options.feederAllowance, !target.pausedFeeders.contains(where: { $0 === feeder }) else { return }
        counters.peersPaused += 1
        target.pausedFeeders.append(feeder)
        connection.pauseCount += 1
        connection.readsAutomatically = false
    }

    /// Whether `bytes` more from `feeder` (nil: the engine itself) must be refused, because pausing does not keep the queue of
    /// `target` from its hard cap: a built-in fans out for many, and a built-in is fed by all.
    func isOverloaded(_ target: WorkerConnection, by feeder: Worker?, adding bytes: Int) -> Bool {
        let waiting = target.queuedBytes
        guard waiting > options.outboundHighWater, waiting &+ bytes > target.limits.maximumQueuedBytes / 2 else { return false }
        guard let feeder else { return !target.worker.isPrivileged }
        return feeder.isPrivileged || target.worker.isPrivileged
    }

    func overloadError(_ target: WorkerConnection) -> InvocationError {
        counters.overloadsRefused &+= 1
        return InvocationError(
            .workerOverloaded,
            "\(target.queuedBytes) bytes wait for the worker that serves this function (outbound_max_bytes is \(target.limits.maximumQueuedBytes)); try again"
        )
    }

    /// `target` has drained or is gone: whoever was paused on its account is read again.
    func resumeFeeders(of target: WorkerConnection) {
        let feeders = target.pausedFeeders
        target.pausedFeeders = []
        target.fedBytes = [:]
        for feeder in feeders {
            guard let connection = feeder.connection else { continue }
            connection.pauseCount -= 1
            if connection.pauseCount == 0 { connection.readsAutomatically = true }
        }
    }
}
