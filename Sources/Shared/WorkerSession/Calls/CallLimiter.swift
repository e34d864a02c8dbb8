import NIOCore

/// How much of this worker's own calls may be under way or wait.
public struct CallLimits: Sendable, Equatable {
    /// Unanswered calls of one function, and bytes of their payloads. Defaults 256 and 4 MiB.
    public var perTarget = 256
    /// Bytes of the payloads of those. Default 4 MiB.
    public var bytesPerTarget = 4 << 20
    /// Unanswered calls of all functions, and bytes of their payloads. Defaults 4 096 and 32 MiB.
    ///
    /// The bytes are also what a worker that stops reading can be owed at most, so they have to stay far below the engine's
    /// `outbound_max_bytes` (default 128 MiB), beyond which it is dropped.
    public var total = 4_096
    /// Bytes of the payloads of those. Default 32 MiB.
    public var bytesInTotal = 32 << 20
    /// Calls that wait for one of the above, and bytes of their payloads; further ones fail. Defaults 16 384 and 64 MiB.
    public var waiting = 16_384
    /// Bytes of the payloads of those. Default 64 MiB.
    public var waitingBytes = 64 << 20

    /// With the defaults that stand at each property.
    public init() {}
}

/// Which calls may start: per target in order, targets in turns, all within `CallLimits`. Pure.
///
/// A payload larger than a limit goes when nothing else is under way there. While one waits for room in total, nobody overtakes it.
struct CallLimiter<Target: Hashable, Call> {
    enum Admission: Equatable { case start, waits, refused(limit: String) }

    private struct Lane {
        var running = 0
        var bytes = 0
        var waiting = CircularBuffer<(call: Call, bytes: Int)>()
        /// In `ready`.
        var isReady = false
    }

    let limits: CallLimits
    private var lanes: [Target: Lane] = [:]
    /// Targets whose oldest waiting call only waits for room in total.
    private var ready = CircularBuffer<Target>()
    private(set) var running = 0
    private(set) var runningBytes = 0
    private(set) var waiting = 0
    private(set) var waitingBytes = 0

    init(limits: CallLimits) { self.limits = limits }

    var isIdle: Bool { running == 0 && waiting == 0 }

    /// Asks for a call of `target` to be made. `waits` means that `finished` gives it back when its turn has come.
    mutating func admit(_ call: Call, to target: Target, bytes: Int) -> Admission {
        var lane = lanes[target] ?? Lane()
        if lane.waiting.isEmpty, fits(lane, bytes), ready.isEmpty, fitsInTotal(bytes) {
            start(&lane, bytes)
            lanes[target] = lane
            return .start
        }
        guard waiting < limits.waiting else { return .refused(limit: "\(limits.waiting) calls wait already") }
        guard waitingBytes + bytes <= limits.waitingBytes else { return .refused(limit: "\(waitingBytes) bytes of calls wait already") }
        lane.waiting.append((call, bytes))
        waiting += 1
        waitingBytes += bytes
        makeReady(target, &lane)
        lanes[target] = lane
        return .waits
    }

    /// A call of `target` that had started is over. Returns those that start now, in order.
    mutating func finished(_ target: Target, bytes: Int) -> [Call] {
        guard var lane = lanes[target], lane.running > 0 else { return [] }
        lane.running -= 1
        lane.bytes -= bytes
        running -= 1
        runningBytes -= bytes
        makeReady(target, &lane)
        lanes[target] = lane.running == 0 && lane.waiting.isEmpty ? nil : lane
        return startReady()
    }

    private mutating func startReady() -> [Call] {
        var calls: [Call] = []
        while let target = ready.first, var lane = lanes[target], let next = lane.waiting.first, fitsInTotal(next.bytes) {
            ready.removeFirst()
            lane.isReady = false
            lane.waiting.removeFirst()
            waiting -= 1
            waitingBytes -= next.bytes
            start(&lane, next.bytes)
            makeReady(target, &lane)
            lanes[target] = lane
            calls.append(next.call)
        }
        return calls
    }

    private mutating func makeReady(_ target: Target, _ lane: inout Lane) {
        guard !lane.isReady, let next = lane.waiting.first, fits(lane, next.bytes) else { return }
        lane.isReady = true
        ready.append(target)
    }

    private mutating func start(_ lane: inout Lane, _ bytes: Int) {
        lane.running += 1
        lane.bytes += bytes
        running += 1
        runningBytes += bytes
    }

    private func fits(_ lane: Lane, _ bytes: Int) -> Bool {
        lane.running < limits.perTarget && (lane.running == 0 || lane.bytes + bytes <= limits.bytesPerTarget)
    }

    private func fitsInTotal(_ bytes: Int) -> Bool {
        running < limits.total && (running == 0 || runningBytes + bytes <= limits.bytesInTotal)
    }
}
