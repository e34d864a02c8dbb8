import IIIProtocol
import IIISignals

// Records as answers and payloads show them (docs/reference/observability.md#records). All times are integers.

extension JSONValue {
    /// Nanoseconds since the epoch; what no integer of JSON holds here is the greatest there is.
    static func nanoseconds(_ value: UInt64) -> JSONValue { .integer(Int64(clamping: value)) }
}

extension Span {
    /// `now` in nanoseconds: the end of what is under way, for its duration.
    func members(now: UInt64) -> [String: JSONValue] {
        var members: [String: JSONValue] = [
            "trace_id": .string(traceID.text), "span_id": .string(spanID.text), "parent_span_id": JSONValue(parentID?.text),
            "name": .string(name), "kind": .string(kind.text), "start_time_unix_nano": .nanoseconds(startNanoseconds),
            "end_time_unix_nano": .nanoseconds(endNanoseconds), "duration_ms": .double(Double(duration(now: now)) / 1e6),
            "status": .string(status.text), "attributes": attributes.pairs, "service_name": .string(resource.serviceName),
            "resource": resource.json, "events": .array(events.map(\.json)), "links": .array(links.map(\.json)),
        ]
        if !statusMessage.isEmpty { members["status_description"] = .string(statusMessage) }
        if !traceState.isEmpty { members["trace_state"] = .string(traceState) }
        if let flags { members["flags"] = .integer(Int64(flags)) }
        if isPending { members["pending"] = true }
        scope.add(to: &members)
        return members
    }
}

extension SpanEvent {
    var json: JSONValue {
        ["name": .string(name), "timestamp_unix_nano": .nanoseconds(nanoseconds), "attributes": attributes.pairs]
    }
}

extension SpanLink {
    var json: JSONValue {
        [
            "trace_id": .string(traceID.text), "span_id": .string(spanID.text),
            "trace_state": traceState.isEmpty ? .null : .string(traceState), "attributes": attributes.pairs,
        ]
    }
}

extension InstrumentationScope {
    func add(to members: inout [String: JSONValue]) {
        if !name.isEmpty { members["instrumentation_scope_name"] = .string(name) }
        if !version.isEmpty { members["instrumentation_scope_version"] = .string(version) }
    }
}

extension LogRecord {
    var members: [String: JSONValue] {
        var members: [String: JSONValue] = [
            "timestamp_unix_nano": .nanoseconds(nanoseconds), "observed_timestamp_unix_nano": .nanoseconds(observedNanoseconds),
            "severity_number": JSONValue(severityNumber), "severity_text": .string(severityText), "body": .string(body.text),
            "attributes": attributes.json, "trace_id": JSONValue(traceID), "span_id": JSONValue(spanID), "resource": resource.json,
            "service_name": .string(resource.serviceName),
        ]
        scope.add(to: &members)
        return members
    }

    /// What a `log` trigger delivers: the same with all twelve members, whatever they are.
    var payload: JSONValue {
        var members = members
        members["instrumentation_scope_name"] = scope.name.isEmpty ? .null : .string(scope.name)
        members["instrumentation_scope_version"] = scope.version.isEmpty ? .null : .string(scope.version)
        return .object(members)
    }
}

extension Metric {
    func json(received: UInt64) -> JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(name), "description": .string(description), "unit": .string(unit), "metric_type": .string(kind.rawValue),
            "data_points": .array(points.map(\.json)), "service_name": .string(resource.serviceName),
            "timestamp_unix_nano": .nanoseconds(received),
        ]
        scope.add(to: &members)
        return .object(members)
    }
}

extension MetricPoint {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = ["attributes": attributes.pairs, "timestamp_unix_nano": .nanoseconds(nanoseconds)]
        if case .histogram(let value) = value {
            members["count"] = .nanoseconds(value.count)
            members["sum"] = .double(value.sum)
            members["bucket_counts"] = .array(value.counts.map { .nanoseconds($0) })
            members["explicit_bounds"] = .array(value.bounds.map { .double($0) })
            members["min"] = value.minimum.map { .double($0) } ?? .null
            members["max"] = value.maximum.map { .double($0) } ?? .null
        } else {
            members["value"] = value.number.map { .double($0) } ?? .null
        }
        return .object(members)
    }
}
