import IIISignals

/// Traces in memory, bounded in spans, bytes and age: above a bound whole traces go, the one that was last added to longest ago first.
/// Pure: time is an argument.
struct TraceTable: Sendable {
    struct Limits: Sendable, Equatable {
        var maximumSpans = 10_000
        var maximumBytes = 256 << 20
        /// Nanoseconds; 0: none.
        var maximumAge: UInt64 = 0

        /// A single trace that grows beyond this goes like any other.
        var maximumSpansOfTrace: Int { max(1, maximumSpans < 1_000 ? maximumSpans : maximumSpans / 2) }
    }

    private struct Entry {
        var trace: StoredTrace
        /// When it was last added to: its place in the order of eviction.
        var touched: UInt64
        var receivedNanoseconds: UInt64
        /// The row that stands for it; nil once it has changed.
        var root: Span?
    }

    var limits: Limits
    private var entries: [TraceID: Entry] = [:]
    /// Traces in the order in which they were last added to; stale places are passed over.
    private var order: [(touched: UInt64, id: TraceID)] = []
    private var firstInOrder = 0
    private var clock: UInt64 = 0
    private(set) var spanCount = 0
    private(set) var bytes = 0
    /// Spans that went to make room.
    private(set) var evictedSpans = 0

    init(limits: Limits) { self.limits = limits }

    var traceCount: Int { entries.count }

    /// Adds spans that arrived at `now`, in nanoseconds since the epoch. Returns those that say something new.
    mutating func add(_ spans: [Span], now: UInt64) -> [Span] {
        var news: [Span] = []
        for span in spans where add(span, now: now) { news.append(span) }
        makeRoom()
        return news
    }

    private mutating func add(_ span: Span, now: UInt64) -> Bool {
        clock += 1
        var entry =
            entries.removeValue(forKey: span.traceID) ?? Entry(trace: StoredTrace(id: span.traceID), touched: 0, receivedNanoseconds: now)
        let before = entry.touched == 0 ? 0 : entry.trace.bytes
        let change = entry.trace.add(span)
        if change == .added { spanCount += 1 }
        bytes += entry.trace.bytes - before
        entry.touched = clock
        entry.receivedNanoseconds = now
        if change != .repeated { entry.root = nil }
        order.append((clock, span.traceID))
        entries[span.traceID] = entry
        if entry.trace.spans.count > limits.maximumSpansOfTrace || entry.trace.bytes > limits.maximumBytes / 2 { evict(span.traceID) }
        return change != .repeated
    }

    private mutating func evict(_ id: TraceID) {
        guard let entry = entries.removeValue(forKey: id) else { return }
        spanCount -= entry.trace.spans.count
        bytes -= entry.trace.bytes
        evictedSpans += entry.trace.spans.count
    }

    /// The trace that was last added to longest ago; nil when there are none.
    private mutating func oldest() -> (id: TraceID, entry: Entry)? {
        while firstInOrder < order.count {
            let (touched, id) = order[firstInOrder]
            if let entry = entries[id], entry.touched == touched { return (id, entry) }
            firstInOrder += 1
        }
        order = []
        firstInOrder = 0
        return nil
    }

    private mutating func makeRoom() {
        while spanCount > limits.maximumSpans || bytes > limits.maximumBytes, let oldest = oldest() { evict(oldest.id) }
        guard firstInOrder > 1_024 || order.count > 4 * max(entries.count, 256) else { return }
        order = order[firstInOrder...].filter { entries[$0.id]?.touched == $0.touched }
        firstInOrder = 0
    }

    /// Lets go of what is older than the limit: by its last span's time, or that of its arrival where that was earlier.
    mutating func expire(now: UInt64) {
        guard limits.maximumAge > 0, now > limits.maximumAge else { return }
        let horizon = now - limits.maximumAge
        for (id, entry) in entries {
            let last = entry.trace.spans.reduce(0) { max($0, $1.endNanoseconds, $1.startNanoseconds) }
            if min(last, entry.receivedNanoseconds) < horizon { evict(id) }
        }
    }

    mutating func apply(_ limits: Limits) {
        self.limits = limits
        makeRoom()
    }

    mutating func clear() {
        let evicted = evictedSpans
        self = TraceTable(limits: limits)
        evictedSpans = evicted
    }

    // MARK: Looking

    subscript(id: TraceID) -> StoredTrace? { entries[id]?.trace }

    /// The row that stands for each trace with all its spans, in no order.
    mutating func forEach(_ body: (_ root: Span, _ trace: StoredTrace) -> Void) {
        for index in entries.indices {
            let entry = entries.values[index]
            if let root = entry.root {
                body(root, entry.trace)
            } else if let root = entry.trace.root {
                entries.values[index].root = root
                body(root, entry.trace)
            }
        }
    }

    /// How long each finished span took, in nanoseconds.
    func durations() -> [UInt64] {
        var durations: [UInt64] = []
        durations.reserveCapacity(spanCount)
        for entry in entries.values {
            for span in entry.trace.spans where !span.isPending { durations.append(span.duration(now: 0)) }
        }
        return durations
    }
}
