import IIISignals
import IIITelemetry
import Logging
import Synchronization

/// Hands the records of one signal to one exporter, in batches, off everybody's path. `ExportQueue` decides; this shell has the clock, the
/// task and the counters.
final class ExportPipeline<Item: ExportItem>: Sendable {
    private let queue: Mutex<ExportQueue<Item>>
    private let exporter: any TelemetryExporter
    private let logger: Logger
    private let exported: CounterInstrument
    private let dropped: CounterInstrument
    private let waiting: GaugeInstrument
    private let wake: AsyncStream<Void>.Continuation
    private let task: Mutex<Task<Void, Never>?> = Mutex(nil)
    /// Finishes with the task.
    private let ended: AsyncStream<Void>

    init(_ exporter: any TelemetryExporter, limits: ExportLimits, metrics: MetricStore, logger: Logger) {
        queue = Mutex(ExportQueue(limits: limits))
        self.exporter = exporter
        self.logger = logger
        let signal = [("signal", Item.signal.rawValue)]
        exported = metrics.counter(
            "iii.export.records.total", labels: signal, description: "Records that have arrived where they are exported to")
        dropped = metrics.counter(
            "iii.export.dropped.total", labels: signal,
            description: "Records that were not exported: refused, too large, or too many waited")
        waiting = metrics.gauge("iii.export.waiting.bytes", labels: signal, description: "What waits to be exported, roughly", unit: "By")
        let (stream, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.wake = wake
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        self.ended = ended
        task.withLock {
            $0 = Task {
                await self.run(stream)
                end.finish()
            }
        }
    }

    /// Never waits. Any thread.
    func submit(_ items: [Item]) {
        let (lost, held, isUrgent) = queue.withLock { queue in
            let lost = queue.append(items, now: Uptime.now)
            return (lost, queue.heldBytes, queue.count >= queue.limits.maximumBatch || queue.count == items.count)
        }
        dropped.add(Int64(lost))
        waiting.set(held)
        if isUrgent { wake.yield() }
    }

    /// Everything that waits leaves; after `deadline` what is left is dropped and counted.
    func drain(by deadline: Duration) async {
        queue.withLock { $0.end() }
        wake.yield()
        // An exporter that hangs is not waited for beyond the deadline.
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [ended] in for await _ in ended {} }
            group.addTask { try? await Task.sleep(for: max(.zero, deadline - Uptime.now)) }
            await group.next()
            group.cancelAll()
        }
        task.withLock { $0?.cancel() }
        let left = queue.withLock { $0.heldCount }
        guard left > 0 else { return }
        dropped.add(Int64(left))
        logger.warning(
            .exportFailed, "the end came before everything was exported", metadata: ["signal": "\(Item.signal)", "lost": "\(left)"])
    }

    private func run(_ stream: AsyncStream<Void>) async {
        var wakes = stream.makeAsyncIterator()
        while !Task.isCancelled {
            switch queue.withLock({ $0.next(now: Uptime.now) }) {
            case .ended: return
            case .wait(let until):
                let timer = until.map { until in
                    Task { [wake] in
                        try? await Task.sleep(for: max(.zero, until - Uptime.now))
                        wake.yield()
                    }
                }
                _ = await wakes.next()
                timer?.cancel()
            case .send:
                let batch = queue.withLock { $0.take(now: Uptime.now) }
                let outcome = await exporter.export(Item.batch(batch))
                settle(outcome)
            }
        }
    }

    private func settle(_ outcome: ExportOutcome) {
        let (verdict, held) = queue.withLock { queue in
            let verdict = queue.finished(outcome, now: Uptime.now, jitter: Double.random(in: 0...1))
            return (verdict, queue.heldBytes)
        }
        exported.add(Int64(verdict.exported))
        dropped.add(Int64(verdict.dropped))
        waiting.set(held)
        guard let warning = verdict.warning else { return }
        let metadata: Logger.Metadata = ["signal": "\(Item.signal)", "lost": "\(verdict.dropped)", "reason": "\(warning)"]
        logger.warning(.exportFailed, "the receiver of exported telemetry has not taken everything, or not yet", metadata: metadata)
    }
}
