/// Finished spans that wait to be sent. Bounded in number and bytes: when full, the oldest go, and are counted. Pure.
struct SpanBuffer: Sendable {
    private var spans: [SpanRecord] = []
    private var first = 0
    private var bytes = 0
    private let maximumSpans: Int
    private let maximumBytes: Int

    init(maximumSpans: Int, maximumBytes: Int) {
        self.maximumSpans = maximumSpans
        self.maximumBytes = maximumBytes
    }

    var count: Int { spans.count - first }

    /// Returns how many had to go.
    mutating func append(_ span: SpanRecord) -> Int {
        spans.append(span)
        bytes += span.cost
        var dropped = 0
        while count > maximumSpans || bytes > maximumBytes, count > 0 {
            bytes -= spans[first].cost
            first += 1
            dropped += 1
        }
        compact()
        return dropped
    }

    /// The oldest spans, at most `maximum`; they are no longer kept.
    mutating func take(_ maximum: Int) -> [SpanRecord] {
        let batch = Array(spans[first..<min(first + maximum, spans.count)])
        first += batch.count
        bytes -= batch.reduce(0) { $0 + $1.cost }
        compact()
        return batch
    }

    private mutating func compact() {
        guard first > 256, first * 2 > spans.count else { return }
        spans.removeFirst(first)
        first = 0
    }
}
