import IIIProtocol
import IIISignals
import IIITelemetry
import IIIWorker
import NIOCore

/// The functions `engine::metrics::list` and `engine::rollups::list` (docs/reference/observability.md#metrics).
struct MetricFunctions {
    let worker: ObservabilityWorker

    func register(on link: WorkerLink) {
        link.registerFunction(
            "engine::metrics::list", description: "What the engine counts, and the metrics that workers have sent",
            requestFormat: InputSchema.object([
                "start_time": "integer", "end_time": "integer", "metric_name": "string", "aggregate_interval": "integer",
            ])
        ) { [worker] call in
            do throws(InvocationError) {
                let query = try MetricQuery(try FunctionInput(call.data, of: "engine::metrics::list"))
                guard query.overflow == nil else { return call.reply(query.refusal(["sdk_metrics", "aggregated_metrics"])) }
                // The engine counts for itself.
                link.call("core::metrics::calls", timeout: .seconds(2), writeData: { $0.writeString("{}") }) { outcome in
                    let engine = Self.counts(outcome)
                    worker.answer(call) { stores in query.answer(stores, engine: engine) }
                }
            } catch {
                call.fail(error)
            }
        }
        worker.serve(
            "engine::rollups::list", "The metrics that workers have sent, summed up by minute, five minutes or hour",
            InputSchema.object(["start_time": "integer", "end_time": "integer", "level": "integer", "metric_name": "string"]), on: link
        ) { input throws(InvocationError) in
            let query = try RollupQuery(input)
            return { stores in query.answer(stores) }
        }
    }
}

extension MetricFunctions {
    /// Null where the engine does not say.
    private static func counts(_ outcome: CallOutcome) -> JSONValue {
        guard case .result(let bytes) = outcome else { return .null }
        return bytes.flatMap { try? JSONValue(parsing: $0) } ?? .null
    }
}

/// Milliseconds as nanoseconds; nil for what does not fit.
private func nanoseconds(_ milliseconds: UInt64) -> UInt64? {
    let (value, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    return overflow || value > UInt64(Int64.max) ? nil : value
}

/// Which metrics of workers are asked for. Pure.
struct MetricQuery: Sendable {
    /// In nanoseconds.
    private let start: UInt64?
    private let end: UInt64?
    private let interval: UInt64?
    private let name: String?
    private let echo: JSONValue?
    /// The input whose time does not fit.
    let overflow: String?

    init(_ input: FunctionInput) throws(InvocationError) {
        let (from, to) = (try input.unsigned("start_time"), try input.unsigned("end_time"))
        let seconds = try input.unsigned("aggregate_interval")
        name = try input.text("metric_name")
        start = from.flatMap(nanoseconds)
        end = to.flatMap(nanoseconds)
        interval = seconds.flatMap { $0 > UInt64(Int64.max) / 1_000_000_000 ? nil : $0 * 1_000_000_000 }
        overflow =
            from != nil && start == nil
            ? "start_time" : to != nil && end == nil ? "end_time" : seconds != nil && interval == nil ? "aggregate_interval" : nil
        let keys = ["start_time", "end_time", "aggregate_interval", "metric_name"]
        echo =
            from == nil && to == nil && seconds == nil
            ? nil : .object(Dictionary(uniqueKeysWithValues: keys.map { ($0, input.echo($0)) }))
    }

    /// The answer to a time that does not fit.
    func refusal(_ lists: [String]) -> JSONValue {
        var members: [String: JSONValue] = ["error": .string("\(overflow ?? "") value too large")]
        for list in lists { members[list] = [] }
        return .object(members)
    }

    func answer(_ stores: TelemetryStores, engine: JSONValue) -> JSONValue {
        var durations = stores.traces { $0.durations() }
        durations.sort()
        var engine = engine.object ?? [:]
        engine["performance"] = Self.performance(durations)
        let entries = stores.metrics { records, _ in Array(records.all) }
        let inRange = entries.filter { entry in
            guard let start, let end else { return true }
            return entry.receivedNanoseconds >= start && entry.receivedNanoseconds <= end
        }
        let named = inRange.filter { name == nil || $0.metric.name == name }
        var members: [String: JSONValue] = [
            "engine_metrics": .object(engine), "sdk_metrics": .array(named.map { $0.metric.json(received: $0.receivedNanoseconds) }),
            "timestamp": .integer(Int64(WallClock.milliseconds())),
        ]
        if let echo { members["query"] = echo }
        if let interval, interval > 0, start != nil, end != nil {
            let aggregates = Self.aggregates(inRange, interval)
            if !aggregates.isEmpty { members["aggregated_metrics"] = .array(aggregates) }
        }
        return .object(members)
    }

    /// `sorted` in nanoseconds.
    static func performance(_ sorted: [UInt64]) -> JSONValue {
        func milliseconds(_ value: UInt64) -> JSONValue { .double(Double(value) / 1e6) }
        func quantile(_ share: Double) -> JSONValue {
            sorted.isEmpty ? 0.0 : milliseconds(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))])
        }
        let sum = sorted.reduce(0.0) { $0 + Double($1) / 1e6 }
        return [
            "avg_duration_ms": .double(sorted.isEmpty ? 0 : sum / Double(sorted.count)), "p50_duration_ms": quantile(0.5),
            "p95_duration_ms": quantile(0.95), "p99_duration_ms": quantile(0.99),
            "min_duration_ms": milliseconds(sorted.first ?? 0), "max_duration_ms": milliseconds(sorted.last ?? 0),
        ]
    }

    /// Number points by name and time of their arrival. What counts from the start of its process is not added up but turned into what
    /// was added since the point before.
    private static func aggregates(_ entries: [MetricTable.Entry], _ interval: UInt64) -> [JSONValue] {
        struct Key: Hashable {
            let name: String
            let bucket: UInt64
        }
        struct Series: Hashable {
            let name: String
            let resource: Resource
            let attributes: [Attribute]
        }
        var values: [Key: [Double]] = [:]
        var last: [Series: (start: UInt64, time: UInt64, value: MetricValue)] = [:]
        for entry in entries {
            let metric = entry.metric
            for point in metric.points {
                var value: MetricValue? = point.value
                if metric.kind == .counter, metric.temporality == .cumulative {
                    let series = Series(name: metric.name, resource: metric.resource, attributes: point.attributes)
                    value = RollupTable.increase(point, after: last[series], began: .max)
                    last[series] = (point.startNanoseconds, point.nanoseconds, point.value)
                }
                guard let number = value?.number, number.isFinite else { continue }
                values[Key(name: metric.name, bucket: entry.receivedNanoseconds / interval * interval), default: []].append(number)
            }
        }
        return values.sorted { ($0.key.name, $0.key.bucket) < ($1.key.name, $1.key.bucket) }.map { key, numbers in
            let sorted = numbers.sorted()
            let sum = sorted.reduce(0, +)
            var members: [String: JSONValue] = [
                "name": .string(key.name), "bucket_start_ns": .nanoseconds(key.bucket),
                "bucket_end_ns": .nanoseconds(key.bucket + interval),
                "count": JSONValue(sorted.count), "sum": .double(sum), "min": .double(sorted[0]), "max": .double(sorted[sorted.count - 1]),
                "avg": .double(sum / Double(sorted.count)),
            ]
            if sorted.count >= 5 {
                var percentiles: [String: JSONValue] = [:]
                for (label, share) in [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
                    percentiles[label] = .double(sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))])
                }
                members["percentiles"] = .object(percentiles)
            }
            return .object(members)
        }
    }
}

/// Which sums of metrics are asked for. Pure.
struct RollupQuery: Sendable {
    private let start: UInt64
    private let end: UInt64
    private let level: UInt64
    private let name: String?
    private let echo: JSONValue
    private let overflow: String?

    init(_ input: FunctionInput) throws(InvocationError) {
        let (from, to) = (try input.unsigned("start_time"), try input.unsigned("end_time"))
        level = try input.unsigned("level") ?? 0
        name = try input.text("metric_name")
        let now = UInt64(WallClock.nanoseconds())
        let converted = (from.flatMap(nanoseconds), to.flatMap(nanoseconds))
        overflow = from != nil && converted.0 == nil ? "start_time" : to != nil && converted.1 == nil ? "end_time" : nil
        // The bucket under way counts, unless somebody says where to stop.
        let width = RollupTable.levels.indices.contains(Int(clamping: level)) ? RollupTable.levels[Int(level)].width : 0
        end = converted.1 ?? now + width
        start = converted.0 ?? (end > 3_600_000_000_000 + width ? end - 3_600_000_000_000 - width : 0)
        echo = .object(Dictionary(uniqueKeysWithValues: ["start_time", "end_time", "metric_name"].map { ($0, input.echo($0)) }))
    }

    func answer(_ stores: TelemetryStores) -> JSONValue {
        if let overflow { return ["error": .string("\(overflow) value too large"), "rollups": [], "histogram_rollups": []] }
        var numbers: [(name: String, bucket: RollupTable.Bucket, json: JSONValue)] = []
        var histograms: [(name: String, bucket: RollupTable.Bucket, json: JSONValue)] = []
        if level < UInt64(RollupTable.levels.count) {
            let width = RollupTable.levels[Int(level)].width
            let series = stores.metrics { _, rollups in rollups.series }
            for (key, found) in series where name == nil || key.name == name {
                for bucket in found.buckets[Int(level)] where bucket.start >= start && bucket.start + width <= end {
                    let json = Self.json(key, bucket, width)
                    if found.isHistogram { histograms.append((key.name, bucket, json)) } else { numbers.append((key.name, bucket, json)) }
                }
            }
        }
        numbers.sort { ($0.name, $0.bucket.start) < ($1.name, $1.bucket.start) }
        histograms.sort { ($0.name, $0.bucket.start) < ($1.name, $1.bucket.start) }
        return [
            "rollups": .array(numbers.map(\.json)), "histogram_rollups": .array(histograms.map(\.json)),
            "level": .integer(Int64(clamping: level)),
            "query": echo, "timestamp": .integer(Int64(WallClock.milliseconds())),
        ]
    }

    private static func json(_ key: RollupTable.SeriesKey, _ bucket: RollupTable.Bucket, _ width: UInt64) -> JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(key.name), "bucket_start_ns": .nanoseconds(bucket.start), "bucket_end_ns": .nanoseconds(bucket.start + width),
            "service_name": .string(key.service), "attributes": key.attributes.pairs,
        ]
        let (least, most) = (bucket.minimum.isFinite ? bucket.minimum : nil, bucket.maximum.isFinite ? bucket.maximum : nil)
        members["min"] = least.map { .double($0) } ?? .null
        members["max"] = most.map { .double($0) } ?? .null
        if let histogram = bucket.histogram {
            members["total_count"] = JSONValue(bucket.count)
            members["total_sum"] = .double(bucket.sum)
            members["bucket_counts"] = .array(histogram.counts.map { .nanoseconds($0) })
            members["explicit_bounds"] = .array(histogram.bounds.map { .double($0) })
        } else {
            members["count"] = JSONValue(bucket.count)
            members["sum"] = .double(bucket.sum)
            members["avg"] = .double(bucket.count > 0 ? bucket.sum / Double(bucket.count) : 0)
        }
        return .object(members)
    }
}
