import IIITelemetry

/// What `iii-cron` counts (docs/reference/cron.md#metrics). Confined to the event loop.
final class CronMetrics {
    /// Jobs that have series of their own; the runs of further ones are counted under `other`.
    private static let maximumJobs = 500

    private struct Series: Hashable {
        let job: String
        let status: RunStatus
    }

    private let store: MetricStore
    private var runs: [Series: CounterInstrument] = [:]
    private var jobs: Set<String> = []
    private var skips: [SkipReason: CounterInstrument] = [:]
    private let lag: HistogramInstrument
    private let duration: HistogramInstrument
    private let triggers: GaugeInstrument
    private let claimErrors: CounterInstrument

    init(_ store: MetricStore) {
        self.store = store
        lag = store.histogram("iii.cron.lag", description: "How late functions are called after their tick", unit: "s")
        duration = store.histogram("iii.cron.run.duration", description: "How long runs take", unit: "s")
        triggers = store.gauge("iii.cron.triggers", description: "Triggers in force")
        claimErrors = store.counter(
            "iii.cron.claim.errors.total", description: "Ticks about which the lock store could not be asked")
    }

    func setTriggers(_ count: Int) { triggers.set(count) }

    /// The function of a tick is being called, this late.
    func began(lateMilliseconds: Int) { lag.record(Double(max(0, lateMilliseconds)) / 1_000) }

    func ended(_ trigger: CronTrigger, _ status: RunStatus, milliseconds: Int?) {
        var job = trigger.options.key ?? trigger.target.functionID.text
        if !jobs.contains(job) {
            if jobs.count < Self.maximumJobs { jobs.insert(job) } else { job = "other" }
        }
        let series = Series(job: job, status: status)
        let counter =
            runs[series]
            ?? store.counter(
                "iii.cron.runs.total", labels: [("job", job), ("status", status.rawValue)], description: "Runs, by how they ended")
        runs[series] = counter
        counter.add()
        if let milliseconds { duration.record(Double(max(0, milliseconds)) / 1_000) }
    }

    func skipped(_ reason: SkipReason, count: Int) {
        let counter =
            skips[reason]
            ?? store.counter("iii.cron.skips.total", labels: [("reason", reason.rawValue)], description: "Ticks that were not run")
        skips[reason] = counter
        counter.add(Int64(count))
    }

    func claimFailed() { claimErrors.add() }
}
