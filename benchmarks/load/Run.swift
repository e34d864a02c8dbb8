import Glibc
import IIIProtocol
import NIOCore

/// One measurement: counts answers between a warm-up and the end, and keeps every latency.
final class Run: @unchecked Sendable {
    let inFlight: Int
    let payload: [UInt8]
    let loop: any EventLoop
    private let seconds: Double
    private var began: NIODeadline?
    private var ends = NIODeadline.distantFuture
    private var latencies: [UInt32] = []
    /// All answers, those of the warm-up too.
    private var total = 0
    private let done: EventLoopPromise<JSONValue>
    private(set) var isOver = false

    init(inFlight: Int, payload: Int, seconds: Double, loop: any EventLoop) {
        self.inFlight = inFlight
        self.payload = Array(repeating: UInt8(ascii: "x"), count: payload)
        self.seconds = seconds
        self.loop = loop
        done = loop.makePromise()
        latencies.reserveCapacity(4_000_000)
    }

    func report() async throws -> JSONValue { try await done.futureResult.get() }

    /// The caller is ready: starts the clock. A router that stops answering ends the run all the same.
    func start() {
        let warmUp = TimeAmount.nanoseconds(Int64(seconds * 0.2 * 1e9))
        began = .now() + warmUp
        ends = .now() + warmUp + .nanoseconds(Int64(seconds * 1e9))
        loop.scheduleTask(deadline: ends) { [self] in finish() }
    }

    func answered(sentAt: NIODeadline) {
        let now = NIODeadline.now()
        total += 1
        guard let began, now >= began, now < ends else { return }
        latencies.append(UInt32(clamping: (now - sentAt).nanoseconds / 1000))
    }

    private func finish() {
        isOver = true
        latencies.sort()
        func percentile(_ share: Double) -> JSONValue {
            latencies.isEmpty ? .null : JSONValue(Int(latencies[min(latencies.count - 1, Int(Double(latencies.count) * share))]))
        }
        done.succeed([
            "round_trips_per_second": .double((Double(latencies.count) / seconds).rounded()), "in_flight": JSONValue(inFlight),
            "round_trips": JSONValue(total), "payload_bytes": JSONValue(payload.count), "p50_us": percentile(0.5),
            "p99_us": percentile(0.99), "p999_us": percentile(0.999),
        ])
    }
}
