import IIITelemetry
import IIIWorker

/// The span of the functions that one change has called; it ends with the last of them, as a failure if one has failed.
final class FanOutSpan {
    private let span: TraceSpan
    private var left: Int
    private var hasFailed = false

    init(_ span: TraceSpan, count: Int) {
        self.span = span
        left = count
    }

    var context: TraceContext { span.context }

    func ended(failed: Bool) {
        hasFailed = hasFailed || failed
        left -= 1
        if left == 0 { span.end(hasFailed ? .error("a condition or function failed") : .ok) }
    }
}

/// What became of the events of one entry, for docs/reference/metrics.md.
package struct EventCounters {
    package let delivered: CounterInstrument
    package let failed: CounterInstrument
    package let dropped: CounterInstrument

    /// `entry`: `state` or `stream`.
    package init(_ entry: String, _ metrics: MetricStore) {
        func counter(_ status: String) -> CounterInstrument {
            metrics.counter(
                "iii.\(entry).events.total", labels: [("status", status)], description: "Events of changed items, one for each trigger")
        }
        delivered = counter("ok")
        failed = counter("error")
        dropped = counter("dropped")
    }
}
