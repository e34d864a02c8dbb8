import IIISignals
import Synchronization

/// Everything that is kept of telemetry in memory. Any thread may use it: a lock is held while something is added or looked up, never
/// by whoever receives frames.
final class TelemetryStores: Sendable {
    struct Limits: Sendable, Equatable {
        var traces = TraceTable.Limits()
        var logs = LogTable.Limits()
        var metrics = MetricTable.Limits()
    }

    /// Locked apart, so that a long look at one kind holds up no other.
    private let traceTable: Mutex<TraceTable>
    private let logTable: Mutex<LogTable>
    private let metricTable: Mutex<(records: MetricTable, rollups: RollupTable)>

    /// `now` in nanoseconds since the epoch.
    init(limits: Limits, now: UInt64) {
        traceTable = Mutex(TraceTable(limits: limits.traces))
        logTable = Mutex(LogTable(limits: limits.logs))
        metricTable = Mutex((MetricTable(limits: limits.metrics), RollupTable(now: now)))
    }

    func traces<Result: Sendable>(_ body: (inout TraceTable) -> sending Result) -> Result { traceTable.withLock { body(&$0) } }
    func logs<Result: Sendable>(_ body: (inout LogTable) -> sending Result) -> Result { logTable.withLock { body(&$0) } }
    func metrics<Result: Sendable>(_ body: (inout MetricTable, inout RollupTable) -> sending Result) -> Result {
        metricTable.withLock { body(&$0.records, &$0.rollups) }
    }

    func apply(_ limits: Limits) {
        traces { $0.apply(limits.traces) }
        logs { $0.apply(limits.logs) }
        metrics { records, _ in records.apply(limits.metrics) }
    }

    /// Lets go of what is too old.
    func expire(now: UInt64) {
        traces { $0.expire(now: now) }
        logs { $0.expire(now: now) }
        metrics { records, rollups in
            records.expire(now: now)
            rollups.expire(now: now)
        }
    }
}
