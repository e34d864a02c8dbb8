/// What one frame or one request held, whichever door it came through.
public struct TelemetryBatch: Sendable {
    /// Of an `OTLP` frame or `/v1/traces`.
    public var spans: [Span] = []
    /// Of an `MTRC` frame or `/v1/metrics`.
    public var metrics: [Metric] = []
    /// Of a `LOGS` frame or `/v1/logs`.
    public var logs: [LogRecord] = []
    /// Records that could not be read; their neighbours are here. For metrics: data points.
    public var rejected = 0
    /// What was wrong with the first of them; nil where nothing was.
    public var firstRejection: String?

    /// Nothing.
    public init() {}

    /// Counts a record that could not be read.
    public mutating func reject(_ reason: @autoclosure () -> String) {
        rejected += 1
        if firstRejection == nil { firstRejection = reason() }
    }

    public var isEmpty: Bool { spans.isEmpty && metrics.isEmpty && logs.isEmpty }
}

/// One of the three kinds of telemetry.
public enum Signal: String, Sendable, Hashable, CaseIterable {
    case traces, metrics, logs

    /// The four letters before a frame of the worker protocol.
    public var prefix: String {
        switch self {
        case .traces: "OTLP"
        case .metrics: "MTRC"
        case .logs: "LOGS"
        }
    }

    /// Of a frame that begins with these bytes; nil for what is no telemetry frame.
    public init?(frame: some Collection<UInt8>) {
        let prefix = Array(frame.prefix(4))
        guard let found = Signal.allCases.first(where: { Array($0.prefix.utf8) == prefix }) else { return nil }
        self = found
    }
}
