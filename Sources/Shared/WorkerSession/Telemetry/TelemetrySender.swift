import Dispatch
import Glibc
import IIIProtocol
import IIITelemetry
import NIOCore

/// Sends what a process has recorded over its link to the engine: spans as soon as a batch is full and at least every second, metrics
/// every five seconds, and both after each connect. Confined to the link's event loop.
///
/// Frames are built on a queue of their own, never on the loop. While the engine is away, or takes no more (over `maximumQueuedBytes`),
/// nothing is built: `Telemetry` keeps its newest spans within its limits and counts the rest.
final class TelemetrySender {
    /// Between two looks at the finished spans.
    static let interval = TimeAmount.seconds(1)
    /// Looks per metrics frame.
    static let metricsEvery = 5
    /// Bytes that may wait for the engine before frames are held back, and that one round of encoding makes: 1 MiB.
    private static let maximumQueuedBytes = 1 << 20

    private let telemetry: Telemetry
    private let link: WorkerLink
    private let encoding = DispatchQueue(label: "iii.telemetry", qos: .utility)
    private var task: RepeatedTask?
    private var looks = 0
    private var isEncoding = false
    /// What waits for the round of encoding that is under way.
    private var afterEncoding: [() -> Void] = []
    private var owesMetrics = true
    private var collectors: [() -> Void] = []
    private let process = ProcessGauges()

    init(telemetry: Telemetry, link: WorkerLink) {
        self.telemetry = telemetry
        self.link = link
    }

    /// From now on, until `finish` or `cancel`.
    func start() {
        guard task == nil else { return }
        let sender = NIOLoopBound(self, eventLoop: link.eventLoop)
        task = link.eventLoop.scheduleRepeatedTask(initialDelay: Self.interval, delay: Self.interval) { _ in sender.value.look() }
        telemetry.whenBatchFull { [loop = link.eventLoop] in loop.execute { sender.value.flush() } }
    }

    /// See `WorkerLink.whenCollecting`.
    func whenCollecting(_ work: @escaping () -> Void) { collectors.append(work) }

    /// The engine knows nothing of what the connection before it was told.
    func connected() {
        owesMetrics = true
        look()
    }

    /// Sends everything that waits, then runs `completion`: the last thing before a process ends.
    func finish(_ completion: @escaping () -> Void) {
        cancel()
        let last = { [self] in
            owesMetrics = true
            flush()
            if isEncoding { afterEncoding.append(completion) } else { completion() }
        }
        if isEncoding { afterEncoding.append(last) } else { last() }
    }

    func cancel() {
        task?.cancel()
        task = nil
        telemetry.whenBatchFull(nil)
    }

    private func look() {
        looks += 1
        if looks % Self.metricsEvery == 0 { owesMetrics = true }
        if telemetry.hasSpans || owesMetrics { flush() }
    }

    private func flush() {
        guard link.isConnected, !isEncoding, link.queuedBytes < Self.maximumQueuedBytes else { return }
        isEncoding = true
        let wantsMetrics = owesMetrics
        owesMetrics = false
        if wantsMetrics {
            process.update(telemetry.metrics, workerID: link.workerID)
            for collect in collectors { collect() }
        }
        let bound = NIOLoopBound(self, eventLoop: link.eventLoop)
        let loop = link.eventLoop
        encoding.async { [telemetry] in
            var frames: [[UInt8]] = []
            var bytes = 0
            while bytes < Self.maximumQueuedBytes, let frame = telemetry.takeSpanFrame() {
                bytes += frame.count
                frames.append(frame)
            }
            if wantsMetrics { frames.append(telemetry.metricFrame()) }
            let built = frames
            loop.execute { bound.value.encoded(built) }
        }
    }

    private func encoded(_ frames: [[UInt8]]) {
        isEncoding = false
        for frame in frames { link.sendTelemetry(frame) }
        let waiting = afterEncoding
        afterEncoding = []
        for work in waiting { work() }
        if task != nil, telemetry.hasBatch { flush() }
    }
}

/// What `engine::workers::list` shows of a worker under `latest_metrics` (docs/reference/worker-protocol.md#telemetry-frames).
private final class ProcessGauges {
    private var workerID: String?
    private var cpuMicroseconds = 0
    private var measuredAt = NIODeadline.now()
    private let startedAt = NIODeadline.now()

    func update(_ metrics: MetricStore, workerID: String?) {
        guard let workerID else { return }
        let names = ["iii.worker.memory.rss", "iii.worker.cpu.percent", "iii.worker.uptime_seconds"]
        if let old = self.workerID, old != workerID { for name in names { metrics.remove(name, labels: [("worker.id", old)]) } }
        self.workerID = workerID
        var usage = rusage()
        guard getrusage(CInt(RUSAGE_SELF.rawValue), &usage) == 0 else { return }
        let cpu = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1_000_000 + Int(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)
        let now = NIODeadline.now()
        let elapsed = Double((now - measuredAt).nanoseconds) / 1_000
        let labels = [("worker.id", workerID)]
        metrics.gauge(names[0], labels: labels, unit: "By").set(Self.residentBytes())
        metrics.gauge(names[1], labels: labels, unit: "%").set(
            elapsed > 0 ? (Double(cpu - cpuMicroseconds) / elapsed * 1_000).rounded() / 10 : 0)
        metrics.gauge(names[2], labels: labels, unit: "s").set(Double((now - startedAt).nanoseconds / 1_000_000_000))
        cpuMicroseconds = cpu
        measuredAt = now
    }

    private static func residentBytes() -> Int {
        guard let text = readSmallFile("/proc/self/statm") else { return 0 }
        let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return pages * sysconf(CInt(_SC_PAGESIZE))
    }
}
