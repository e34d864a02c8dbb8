import IIIHTTPClient
import IIIOTLP
import IIISignals
import IIITelemetry

/// Exports to an OTLP/HTTP receiver: one POST a batch (docs/reference/observability.md#otlp-export).
final class OTLPExporter: TelemetryExporter {
    struct Settings: Sendable {
        var endpoints: [Signal: HTTPURL]
        var encoding: OTLPEncoding
        var headers: [(name: String, value: String)]
        var timeoutMilliseconds: Int
        /// PEM file of authorities in place of the system's.
        var certificateFile: String?
    }

    private let settings: Settings
    private let thread: TransferThread
    /// Longest answer that is read.
    private static let maximumAnswerBytes = 1 << 20

    init(_ settings: Settings) {
        self.settings = settings
        thread = TransferThread(maximumConnections: Signal.allCases.count, certificateFile: settings.certificateFile, usesProxies: true)
    }

    func export(_ batch: TelemetryBatch) async -> ExportOutcome {
        let (signal, body) = encode(batch)
        guard let url = settings.endpoints[signal] else { return .delivered() }
        let request = TransferRequest(
            url: url, method: "POST", headers: [("content-type", settings.encoding.mediaType)] + settings.headers, body: body,
            blocksPrivateAddresses: false, timeoutMilliseconds: settings.timeoutMilliseconds,
            maximumResponseBytes: Self.maximumAnswerBytes)
        let outcome = await withCheckedContinuation { (waiting: CheckedContinuation<TransferOutcome, Never>) in
            thread.submit(make: { request }, finish: { waiting.resume(returning: $0) })
        }
        return Self.outcome(outcome, signal, settings.encoding, now: Int64(WallClock.milliseconds()) / 1000)
    }

    func shutDown() async { thread.stop() }

    private func encode(_ batch: TelemetryBatch) -> (Signal, [UInt8]) {
        let encoding = settings.encoding
        if !batch.spans.isEmpty { return (.traces, OTLPDocument.encode(batch.spans, as: encoding)) }
        if !batch.logs.isEmpty { return (.logs, OTLPDocument.encode(batch.logs, as: encoding)) }
        return (.metrics, OTLPDocument.encode(batch.metrics, as: encoding))
    }

    /// What an answer means (OTLP specification, failures): only 429, 502, 503 and 504 are tried again.
    static func outcome(_ outcome: TransferOutcome, _ signal: Signal, _ encoding: OTLPEncoding, now: Int64) -> ExportOutcome {
        switch outcome {
        case .failed(let failure): return .unavailable(reason: failure.message)
        case .response(let status, _, let body, let retryAfter):
            switch status {
            case 200..<300:
                guard let answer = OTLPAnswer(body, as: encoding, signal) else { return .delivered() }
                return .delivered(rejected: Int(clamping: answer.rejected), message: String(answer.message.prefix(500)))
            case 413: return .tooLarge(reason: "HTTP 413")
            case 429, 502, 503, 504:
                return .unavailable(
                    retryAfter: retryAfter.flatMap { OTLPEndpoints.retryAfter($0, now: now) }, reason: "HTTP \(status)")
            default: return .refused(reason: "HTTP \(status)")
            }
        }
    }
}
