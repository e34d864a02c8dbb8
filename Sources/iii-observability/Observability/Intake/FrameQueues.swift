import IIISignals

/// Frames that wait to be decoded: one queue per signal, so that none starves another. Pure. A frame that finds its queue full is
/// dropped, the newest first, and counted by whoever asked.
struct FrameQueues: Sendable {
    struct Limits: Sendable {
        /// Bytes that may wait, per signal. Default 16 MiB.
        var maximumBytes = 16 << 20
        /// Frames that may wait, per signal. Default 16,384.
        var maximumFrames = 16_384
    }

    private struct Queue {
        var frames: [[UInt8]] = []
        var first = 0
        var bytes = 0
        var count: Int { frames.count - first }
    }

    private let limits: Limits
    private var queues = [Queue](repeating: Queue(), count: Signal.allCases.count)
    private var turn = 0

    init(limits: Limits = Limits()) { self.limits = limits }

    var isEmpty: Bool { queues.allSatisfy { $0.count == 0 } }
    var waitingBytes: Int { queues.reduce(0) { $0 + $1.bytes } }

    private static func position(_ signal: Signal) -> Int {
        switch signal {
        case .traces: 0
        case .metrics: 1
        case .logs: 2
        }
    }

    /// False where there is no room. One frame alone is always taken.
    mutating func append(_ frame: [UInt8], _ signal: Signal) -> Bool {
        let index = Self.position(signal)
        guard
            queues[index].count == 0
                || queues[index].count < limits.maximumFrames && queues[index].bytes + frame.count <= limits.maximumBytes
        else { return false }
        queues[index].frames.append(frame)
        queues[index].bytes += frame.count
        return true
    }

    /// The next frame, the signals in turns.
    mutating func next() -> (frame: [UInt8], signal: Signal)? {
        for _ in queues.indices {
            let index = turn
            turn = (turn + 1) % queues.count
            guard queues[index].count > 0 else { continue }
            let frame = queues[index].frames[queues[index].first]
            queues[index].first += 1
            queues[index].bytes -= frame.count
            if queues[index].first * 2 > queues[index].frames.count {
                queues[index].frames.removeFirst(queues[index].first)
                queues[index].first = 0
            }
            return (frame, Signal.allCases[index])
        }
        return nil
    }
}
