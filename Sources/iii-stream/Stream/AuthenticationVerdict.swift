import IIIItems
import IIIProtocol
import IIIWorker

/// What the auth function has said about a client.
enum AuthenticationVerdict {
    struct Reason {
        let text: String
        /// The function itself has said no.
        var isRefusal = false
        /// The function was not there, or too late.
        var isUnavailable = false
    }

    /// `expiry`: milliseconds since 1970 at which the client has to go.
    case accepted(context: [UInt8], expiry: Int?)
    case refused(Reason)
    case unavailable(Reason)

    private static let unavailableCodes: Set<String> = [
        ErrorCode.functionNotFound.rawValue, ErrorCode.functionUnavailable.rawValue, ErrorCode.invocationStopped.rawValue,
        ErrorCode.timeout.rawValue, ErrorCode.disconnected.rawValue, ErrorCode.workerOverloaded.rawValue,
    ]

    init(_ outcome: CallOutcome) {
        switch outcome {
        case .failure(let error):
            let isUnavailable = Self.unavailableCodes.contains(error.code)
            let reason = Reason(text: error.code, isUnavailable: isUnavailable)
            self = isUnavailable ? .unavailable(reason) : .refused(reason)
        case .result(let bytes):
            guard let bytes, let input = try? InputObject(Array(bytes)[...]) else {
                self = .refused(Reason(text: "its result is no object"))
                return
            }
            let isUnauthorized = ((try? input.raw("unauthorized")) ?? nil)?.first == UInt8(ascii: "t")
            if isUnauthorized {
                self = .refused(Reason(text: "unauthorized", isRefusal: true))
                return
            }
            let context = ((try? input.raw("context")) ?? nil).map { Array(JSONLevel.compact($0)) }
            let expiry = ((try? input.optional("expires_at")) ?? nil).flatMap { Double(String(decoding: $0, as: UTF8.self)) }
            self = .accepted(context: context ?? ItemResults.null, expiry: expiry.map { Int(min($0, 1e15)) })
        }
    }
}

/// What happens on the stream port, for docs/reference/metrics.md.
struct StreamCounters {
    let sent: CounterInstrument
    let resyncs: CounterInstrument
    let stalled: CounterInstrument
    let refused: CounterInstrument

    init(_ metrics: MetricStore) {
        sent = metrics.counter("iii.stream.frames.total", description: "Frames handed to sockets")
        resyncs = metrics.counter("iii.stream.resyncs.total", description: "Snapshots sent again to sockets that had fallen behind")
        stalled = metrics.counter("iii.stream.stalled.total", description: "Sockets closed because they took nothing for 30 s")
        refused = metrics.counter("iii.stream.refused.total", description: "Clients that were not let in")
    }
}
