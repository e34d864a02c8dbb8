import IIISignals

/// Where telemetry goes besides the stores: one's own system, beside or instead of an OTLP collector (docs/extending.md#telemetry-exporters).
///
/// An exporter makes one attempt at a time for each signal. Gathering batches, waiting, trying again, splitting and dropping what finds no
/// room is done for it, so that nothing it does holds up the engine. Register it in `ObservabilityWorker.exporters`.
public protocol TelemetryExporter: Sendable {
    /// Delivers one batch of one signal. Called again only after it has returned; different signals come at the same time.
    func export(_ batch: TelemetryBatch) async -> ExportOutcome
    /// Nothing more comes: let go of what is open. Has until the deadline of the drain.
    func shutDown() async
}

extension TelemetryExporter {
    public func shutDown() async {}
}

/// What became of a batch.
public enum ExportOutcome: Sendable, Equatable {
    /// It has arrived. `rejected` records of it were not taken, and are not sent again; `message` is for the log.
    case delivered(rejected: Int = 0, message: String = "")
    /// Not now: it is offered again, after `retryAfter` where the other side says so, else with growing pauses.
    case unavailable(retryAfter: Duration? = nil, reason: String)
    /// It is offered again in smaller pieces; one record that is too large by itself is dropped.
    case tooLarge(reason: String)
    /// It will never be taken: dropped and counted.
    case refused(reason: String)
}

/// Where log records go besides the store. Every one is an exporter of logs.
public protocol LogDestination: Sendable {
    /// Writes some records, in their order. What it throws counts as not available: the records come again.
    func write(_ records: [LogRecord]) async throws
    /// Nothing more comes.
    func close() async
}

extension LogDestination {
    public func close() async {}
}

/// A log destination among the exporters.
public struct LogExporter<Destination: LogDestination>: TelemetryExporter {
    private let destination: Destination

    /// Everything but logs is passed over.
    public init(_ destination: Destination) { self.destination = destination }

    public func export(_ batch: TelemetryBatch) async -> ExportOutcome {
        guard !batch.logs.isEmpty else { return .delivered() }
        do {
            try await destination.write(batch.logs)
            return .delivered()
        } catch {
            return .unavailable(reason: "\(error)")
        }
    }

    public func shutDown() async { await destination.close() }
}
