import IIIProtocol
import IIITransport

/// Back-pressure between workers (design.md §3): a slow worker slows those who feed it, never anyone else.
extension Engine {
    /// `feeder` has put `bytes` into a connection above its high-water mark. Past its allowance it is not read until that drains.
    ///
    /// Light feeders stay readable. Built-ins are never paused: `iii-http` feeds every worker and bounds itself by its
    /// concurrency limit; the hard cap of the slow peer holds all the same.
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
