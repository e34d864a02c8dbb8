import IIISignals

/// Which traces are asked for, in which order, and which page of them. Pure.
struct TraceQuery: Sendable {
    enum Order: String, Sendable { case start, duration, name, service }

    var traceID: TraceID?
    /// nil: all. Not looked at where `traceID` names one.
    var traceIDs: Set<TraceID>?
    /// Names something that is no id: nothing is found.
    var findsNothing = false
    var serviceName: String?
    var name: String?
    var status: String?
    var minimumMilliseconds: Double?
    var maximumMilliseconds: Double?
    /// Milliseconds since the epoch.
    var start: UInt64?
    var end: UInt64?
    var attributes: [(key: String, value: String)] = []
    var excludedAttributes: [(key: String, value: String)] = []
    var order = Order.start
    var isDescending = false
    var offset = 0
    var limit = 100
    var includesInternal = false
    var searchesAllSpans = false

    struct Row: Sendable {
        let root: Span
        /// With `searchesAllSpans`: every span of the trace.
        let spans: [Span]
    }

    /// The page, and how many there are in all. `now` in nanoseconds.
    func run(on table: inout TraceTable, now: UInt64) -> (rows: [Row], total: Int) {
        guard !findsNothing else { return ([], 0) }
        var matches: [Row] = []
        let filter = Filter(self, now: now)
        if let traceID {
            if let trace = table[traceID], let root = trace.root, filter.matches(root, trace.spans) {
                matches.append(Row(root: root, spans: searchesAllSpans ? trace.spans : []))
            }
        } else {
            let (ids, all) = (traceIDs, searchesAllSpans)
            table.forEach { root, trace in
                if let ids, !ids.contains(trace.id) { return }
                if filter.matches(root, trace.spans) { matches.append(Row(root: root, spans: all ? trace.spans : [])) }
            }
        }
        let sign = isDescending
        matches.sort { left, right in
            let (first, second) = sign ? (right.root, left.root) : (left.root, right.root)
            switch order {
            case .start: return StoredTrace.startsBefore(first, second)
            case .duration:
                let (short, long) = (first.duration(now: now), second.duration(now: now))
                return short != long ? short < long : StoredTrace.startsBefore(first, second)
            case .name: return first.name != second.name ? first.name < second.name : StoredTrace.startsBefore(first, second)
            case .service:
                let (one, other) = (first.resource.serviceName, second.resource.serviceName)
                return one != other ? one < other : StoredTrace.startsBefore(first, second)
            }
        }
        let from = min(offset, matches.count)
        return (Array(matches[from..<min(matches.count, from + min(limit, matches.count - from))]), matches.count)
    }

    /// Whether a span is one of the engine's own affairs.
    static func isInternal(_ span: Span) -> Bool {
        span.attributes.contains { attribute in
            switch attribute.key {
            case "iii.function.kind": attribute.value == .string("internal")
            case "function_id": attribute.value.text.hasPrefix("engine::")
            default: false
            }
        }
    }

    private struct Filter {
        let query: TraceQuery
        let now: UInt64
        let service: String?
        let name: String?
        let status: String?

        init(_ query: TraceQuery, now: UInt64) {
            self.query = query
            self.now = now
            service = query.serviceName?.lowercased()
            name = query.name?.lowercased()
            status = query.status?.lowercased()
        }

        func matches(_ root: Span, _ spans: [Span]) -> Bool {
            if !query.includesInternal, TraceQuery.isInternal(root) { return false }
            if let service, !root.resource.serviceName.lowercased().contains(service) { return false }
            if let status, !root.status.text.contains(status) { return false }
            let duration = Double(root.duration(now: now)) / 1e6
            if let least = query.minimumMilliseconds, duration < least { return false }
            if let most = query.maximumMilliseconds, duration > most { return false }
            let end = root.isPending ? now : root.endNanoseconds
            if let start = query.start, max(end, root.startNanoseconds) < Self.nanoseconds(start) { return false }
            if let end = query.end, root.startNanoseconds > Self.nanoseconds(end) { return false }
            let candidates = query.searchesAllSpans ? spans : [root]
            if let name, !candidates.contains(where: { $0.name.lowercased().contains(name) }) { return false }
            if !query.attributes.isEmpty, !candidates.contains(where: { span in query.attributes.allSatisfy { Self.has(span, $0) } }) {
                return false
            }
            return !query.excludedAttributes.contains { Self.has(root, $0) }
        }

        private static func has(_ span: Span, _ pair: (key: String, value: String)) -> Bool {
            span.attributes.contains { $0.key == pair.key && $0.value.text == pair.value }
        }

        /// Saturates instead of overflowing.
        private static func nanoseconds(_ milliseconds: UInt64) -> UInt64 {
            let (value, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
            return overflow ? .max : value
        }
    }
}
