import IIIProtocol
import IIISignals
import IIITelemetry
import IIIWorker

/// The functions `engine::traces::list`, `tree` and `clear` (docs/reference/observability.md#traces).
struct TraceFunctions {
    let worker: ObservabilityWorker

    func register(on link: WorkerLink) {
        worker.serve(
            "engine::traces::list", "The traces that are kept, one row each, in pages",
            InputSchema.object([
                "trace_id": "string", "trace_ids": "array", "service_name": "string", "name": "string", "status": "string",
                "min_duration_ms": "number", "max_duration_ms": "number", "start_time": "integer", "end_time": "integer",
                "attributes": "array", "exclude_attributes": "array", "sort_by": "string", "sort_order": "string", "offset": "integer",
                "limit": "integer", "include_internal": "boolean", "search_all_spans": "boolean",
            ]), on: link
        ) { input throws(InvocationError) in
            try worker.needTraces()
            let query = try Self.query(input)
            return { stores in Self.list(query, stores) }
        }
        worker.serve(
            "engine::traces::tree", "The spans of one trace, children below their parents",
            InputSchema.object(["trace_id": "string"], required: ["trace_id"]), on: link
        ) { input throws(InvocationError) in
            try worker.needTraces()
            let id = TraceID(try input.required("trace_id"))
            return { stores in
                let spans = id.flatMap { id in stores.traces { $0[id]?.spans } } ?? []
                return Self.tree(spans)
            }
        }
        worker.serve("engine::traces::clear", "Forgets all traces", InputSchema.object([:]), on: link) { _ throws(InvocationError) in
            try worker.needTraces()
            return { stores in
                stores.traces { $0.clear() }
                return ["success": true]
            }
        }
    }

    private static func query(_ input: FunctionInput) throws(InvocationError) -> TraceQuery {
        var query = TraceQuery()
        if let text = try input.text("trace_id") {
            query.traceID = TraceID(text)
            query.findsNothing = query.traceID == nil
        } else if let list = try input.list("trace_ids") {
            query.traceIDs = Set(list.compactMap { $0.string.flatMap { TraceID($0) } })
        }
        query.serviceName = try input.text("service_name")
        query.name = try input.text("name")
        query.status = try input.text("status")
        query.minimumMilliseconds = try input.number("min_duration_ms")
        query.maximumMilliseconds = try input.number("max_duration_ms")
        query.start = try input.unsigned("start_time")
        query.end = try input.unsigned("end_time")
        query.attributes = pairs(try input.list("attributes"))
        query.excludedAttributes = pairs(try input.list("exclude_attributes"))
        switch try input.text("sort_by") {
        case "duration", "duration_ms": query.order = .duration
        case "name": query.order = .name
        case "service_name": query.order = .service
        default: query.order = .start
        }
        if let order = try input.text("sort_order") { query.isDescending = order.lowercased() != "asc" }
        query.offset = Int(clamping: try input.unsigned("offset") ?? 0)
        query.limit = Int(clamping: try input.unsigned("limit") ?? 100)
        query.includesInternal = try input.flag("include_internal") ?? false
        query.searchesAllSpans = try input.flag("search_all_spans") ?? false
        return query
    }

    /// Entries that are not two long are passed over.
    private static func pairs(_ list: [JSONValue]?) -> [(key: String, value: String)] {
        (list ?? []).compactMap { entry in
            guard let pair = entry.array, pair.count == 2, let key = pair[0].string, let value = pair[1].string else { return nil }
            return (key, value)
        }
    }

    private static func list(_ query: TraceQuery, _ stores: TelemetryStores) -> JSONValue {
        let now = UInt64(WallClock.nanoseconds())
        let (rows, total) = stores.traces { query.run(on: &$0, now: now) }
        return [
            "spans": .array(rows.map { .object($0.root.members(now: now)) }), "total": JSONValue(total), "offset": JSONValue(query.offset),
            "limit": JSONValue(query.limit),
        ]
    }

    private static func tree(_ spans: [Span]) -> JSONValue {
        let now = UInt64(WallClock.nanoseconds())
        let tree = TraceTree(spans)
        func json(_ index: Int) -> JSONValue {
            var members = tree.nodes[index].span.members(now: now)
            members["children"] = .array(tree.nodes[index].children.map(json))
            return .object(members)
        }
        return ["roots": .array(tree.roots.map(json))]
    }
}
