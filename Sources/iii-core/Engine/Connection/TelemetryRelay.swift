import IIIProtocol
import IIITelemetry
import IIITransport
import NIOCore

/// Passes workers' telemetry frames on to `iii-observability` as they are, and keeps each worker's latest gauges for listings
/// (docs/reference/worker-protocol.md#telemetry-frames).
///
/// While the built-in is away a bounded ring (`telemetry_buffer_bytes`) holds frames and drops the oldest; when no such entry
/// is configured nothing is kept. A built-in that is slow is sent no more than `outbound_high_water_bytes` ahead and never dropped
/// on account of telemetry. Either way the loss is counted and no reader waits; a frame counts as relayed when the kernel has it.
final class TelemetryRelay {
    static let consumer = "iii-observability"
    /// Gauges older than this are not listed.
    static let gaugeLifetime = TimeAmount.seconds(120)
    /// Workers whose gauges are kept, at most; more would be a peer inventing ids.
    static let maximumTrackedWorkers = 20_000

    private unowned let engine: Engine
    /// Open connections of the consumer, the newest last, and where in its stream each frame ends that it has not taken yet.
    private var consumers: [(connection: WorkerConnection, unsent: CircularBuffer<Int>)] = []
    private var waiting = CircularBuffer<[UInt8]>()
    private(set) var waitingBytes = 0
    /// For `iii-core metrics`.
    private(set) var frames = MetricFrames()
    private var gauges: [UUIDBits: (values: [String: JSONValue], at: NIODeadline, milliseconds: Int64)] = [:]

    init(engine: Engine) { self.engine = engine }

    /// Whether a binary message is a telemetry frame: four ASCII letters in front of a JSON document.
    static func isTelemetry(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count >= 4 else { return false }
        return switch (bytes[0], bytes[1], bytes[2], bytes[3]) {
        case (0x4F, 0x54, 0x4C, 0x50), (0x4D, 0x54, 0x52, 0x43), (0x4C, 0x4F, 0x47, 0x53): true  // OTLP, MTRC, LOGS
        default: false
        }
    }

    func received(_ bytes: UnsafeRawBufferPointer, from connection: WebSocketConnection) {
        let body = UnsafeRawBufferPointer(rebasing: bytes[4...])
        // Nobody here reads the rest: what of it can be used is for its receiver to say.
        if bytes[0] == UInt8(ascii: "M") {
            guard JSONText.isValid(body) else {
                engine.counters.telemetryMalformed += 1
                return pass(on: bytes)
            }
            // Decoded for its gauges, which takes a while: no worker's fit more.
            if body.count <= engine.options.maximumRegistrationBytes { tap(body) }
            if !frames.keep(body, of: ObjectIdentifier(connection), maximumBytes: engine.options.metricsBufferBytes) {
                engine.counters.metricFramesRefused += 1
            }
        }
        pass(on: bytes)
    }

    private func pass(on bytes: UnsafeRawBufferPointer) {
        if let index = consumers.lastIndex(where: { $0.connection.phase == .open }) {
            relay(bytes, to: index)
        } else if engine.entryConfigurations[Self.consumer] != nil {
            keep(Array(bytes))
        } else {
            engine.counters.telemetryUnwanted += 1
        }
    }

    /// The metrics of whoever is gone are shown no more.
    func connectionClosed(_ connection: WebSocketConnection) { frames.forget(ObjectIdentifier(connection)) }

    func consumerConnected(_ connection: WorkerConnection) { consumers.append((connection, [])) }

    func consumerLost(_ connection: WorkerConnection) {
        guard let index = consumers.firstIndex(where: { $0.connection === connection }) else { return }
        engine.counters.telemetryOutrun += consumers.remove(at: index).unsent.count
    }

    /// It has taken bytes.
    func consumerAdvanced(_ connection: WorkerConnection) {
        guard let index = consumers.firstIndex(where: { $0.connection === connection }) else { return }
        while let end = consumers[index].unsent.first, end <= connection.deliveredBytes {
            consumers[index].unsent.removeFirst()
            engine.counters.telemetryRelayed += 1
        }
    }

    private func relay(_ frame: UnsafeRawBufferPointer, to index: Int) {
        let connection = consumers[index].connection
        guard connection.queuedBytes == 0 || connection.queuedBytes + frame.count <= engine.options.outboundHighWater else {
            engine.counters.telemetryOutrun += 1
            return
        }
        connection.sendBinary(frame)
        consumers[index].unsent.append(connection.deliveredBytes + connection.queuedBytes)
    }

    private func keep(_ frame: [UInt8]) {
        waiting.append(frame)
        waitingBytes += frame.count
        while waitingBytes > engine.options.telemetryBufferBytes, !waiting.isEmpty {
            waitingBytes -= waiting.removeFirst().count
            engine.counters.telemetryOverflowed += 1
        }
    }

    /// The consumer is ready: hands over what waited for it.
    func consumerBecameReady() {
        guard let index = consumers.lastIndex(where: { $0.connection.phase == .open }) else { return }
        for frame in waiting { frame.withUnsafeBytes { relay($0, to: index) } }
        waiting = []
        waitingBytes = 0
    }

    // MARK: Latest gauges

    func forget(_ id: UUIDBits) { gauges[id] = nil }

    /// The gauges a worker reported in the last two minutes as a `latest_metrics` object; null when there are none.
    func latestMetrics(of worker: Worker) -> JSONValue {
        guard let entry = gauges[worker.id], NIODeadline.now() - entry.at < Self.gaugeLifetime else { return .null }
        var values = entry.values
        values["timestamp_ms"] = .integer(entry.milliseconds)
        values["runtime"] = .string(worker.metadata.runtime ?? "unknown")
        return .object(values)
    }

    private func tap(_ body: UnsafeRawBufferPointer) {
        guard let document = try? JSONValue(parsing: body) else { return }
        for resource in document["resourceMetrics"]?.array ?? [] {
            for scope in resource["scopeMetrics"]?.array ?? [] {
                for metric in scope["metrics"]?.array ?? [] {
                    guard let field = metric["name"]?.string.flatMap({ Self.fields[$0] }) else { continue }
                    for point in (metric["gauge"] ?? metric["sum"])?["dataPoints"]?.array ?? [] { record(field, point) }
                }
            }
        }
    }

    private func record(_ field: String, _ point: JSONValue) {
        let attribute = point["attributes"]?.array?.first { $0["key"]?.string == "worker.id" }
        guard let id = attribute?["value"]?["stringValue"]?.string.flatMap({ UUIDBits($0) }), engine.registry.workers[id] != nil,
            gauges[id] != nil || gauges.count < Self.maximumTrackedWorkers
        else { return }
        // OTLP/JSON writes 64-bit integers as strings.
        let value = point["asInt"].flatMap { $0.integer ?? $0.string.flatMap { Int64($0) } }.map(JSONValue.integer) ?? point["asDouble"]
        guard let value, value.number != nil else { return }
        var values = gauges[id]?.values ?? [:]
        values[field] = value
        gauges[id] = (values, .now(), Int64(WallClock.milliseconds()))
    }

    private static let fields = [
        "iii.worker.memory.heap_used": "memory_heap_used", "iii.worker.memory.heap_total": "memory_heap_total",
        "iii.worker.memory.rss": "memory_rss", "iii.worker.memory.external": "memory_external", "iii.worker.cpu.percent": "cpu_percent",
        "iii.worker.cpu.user_micros": "cpu_user_micros", "iii.worker.cpu.system_micros": "cpu_system_micros",
        "iii.worker.event_loop.lag_ms": "event_loop_lag_ms", "iii.worker.uptime_seconds": "uptime_seconds",
    ]
}
