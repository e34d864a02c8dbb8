import IIIOTLP
import IIIServer
import IIISignals
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import NIOHTTP1

/// Takes telemetry of services that know nothing of this engine: OTLP/HTTP (docs/reference/observability.md#otlp-receiver).
///
/// Confined to the event loop; unpacking and decoding happen as tasks, of which so many run as their bodies fit into `maximumBytesAtWork`.
final class OTLPReceiver: @unchecked Sendable {
    struct Settings: Sendable {
        /// Longest request, as it comes and unpacked. Default 20 MiB.
        var maximumRequestBytes = 20 << 20
        /// Asked for as `x-otlp-api-key`; nil: nobody is asked.
        var key: String?
        /// Web pages that may send; none by default.
        var allowedOrigins: [String] = []
    }

    /// Connections at a time; further ones wait to be accepted.
    static let maximumConnections = 1_024
    /// Of requests that are being unpacked and decoded; beyond it senders are told to come again.
    static let maximumBytesAtWork = 64 << 20

    private struct Problem: Error {
        let status: HTTPResponseStatus
        let code: OTLPStatus.Code
        let message: String
    }

    private let settings: Settings
    private let context: CoreWorkerContext
    private let take: @Sendable (TelemetryBatch) -> Void
    private var server: Server?
    private var bytesAtWork = 0
    private let requests: [String: CounterInstrument]

    init(_ settings: Settings, context: CoreWorkerContext, take: @escaping @Sendable (TelemetryBatch) -> Void) {
        self.settings = settings
        self.context = context
        self.take = take
        requests = Dictionary(
            uniqueKeysWithValues: ["ok", "refused", "busy"].map { status in
                (
                    status,
                    context.metrics.counter(
                        "iii.otlp.requests.total", labels: [("status", status)],
                        description: "Requests of the OTLP receiver by what became of them")
                )
            })
    }

    var port: Int? { server?.localAddress?.port }

    func open(_ door: ListeningDoor, on loop: isolated WorkerLoop) async throws {
        var limits = WholeRequests.Limits()
        limits.maximumBodyBytes = settings.maximumRequestBytes
        let made = limits
        server = try await door.open(on: context.eventLoop, maximumConnections: Self.maximumConnections, logger: context.logger) {
            [self] channel, connection in
            try WholeRequests.configure(channel, connection, limits: made, endpoint: endpoint)
        }
    }

    func close() { server?.close() }

    private var endpoint: WholeRequests.Endpoint {
        WholeRequests.Endpoint(
            refuse: { [self] head in refusal(head).map { answer($0, head) } },
            tooLarge: { [self] head in answer(tooLarge, head) },
            serve: { [self] request, reply in serve(request, reply) })
    }

    // MARK: Heads

    private func signal(_ head: HTTPRequestHead) -> Signal? {
        let path = head.uri.prefix { $0 != "?" }
        return Signal.allCases.first { $0.path == path }
    }

    private func encoding(_ head: HTTPRequestHead) -> OTLPEncoding? {
        head.headers.first(name: "content-type").flatMap { OTLPEncoding(contentType: $0) }
    }

    private var tooLarge: Problem {
        Problem(
            status: .payloadTooLarge, code: .resourceExhausted,
            message: "the request has more than \(settings.maximumRequestBytes) bytes (otlp_receiver.max_request_bytes)")
    }

    private func refusal(_ head: HTTPRequestHead) -> Problem? {
        guard signal(head) != nil else {
            return Problem(status: .notFound, code: .unimplemented, message: "there are /v1/traces, /v1/metrics and /v1/logs")
        }
        if head.method == .OPTIONS, allowedOrigin(head) != nil { return nil }
        guard head.method == .POST else {
            return Problem(status: .methodNotAllowed, code: .unimplemented, message: "telemetry is sent with POST")
        }
        if let key = settings.key, !isKey(head.headers.first(name: "x-otlp-api-key"), key) {
            return Problem(status: .unauthorized, code: .unauthenticated, message: "the header x-otlp-api-key is missing or wrong")
        }
        guard encoding(head) != nil else {
            return Problem(
                status: .unsupportedMediaType, code: .invalidArgument,
                message: "content-type must be application/x-protobuf or application/json")
        }
        guard ["", "identity", "gzip"].contains(head.headers.first(name: "content-encoding")?.lowercased() ?? "") else {
            return Problem(status: .unsupportedMediaType, code: .invalidArgument, message: "content-encoding must be gzip or identity")
        }
        return nil
    }

    /// As long for a wrong key as for a right one.
    private func isKey(_ given: String?, _ key: String) -> Bool {
        let (given, key) = (Array((given ?? "").utf8), Array(key.utf8))
        var difference = UInt8(given.count == key.count ? 0 : 1)
        for index in key.indices { difference |= key[index] ^ (index < given.count ? given[index] : 0) }
        return difference == 0
    }

    private func allowedOrigin(_ head: HTTPRequestHead) -> String? {
        guard let origin = head.headers.first(name: "origin") else { return nil }
        if settings.allowedOrigins.contains("*") { return "*" }
        return settings.allowedOrigins.contains(origin) ? origin : nil
    }

    private func headers(_ head: HTTPRequestHead, _ encoding: OTLPEncoding) -> HTTPHeaders {
        var headers: HTTPHeaders = ["content-type": encoding.mediaType]
        if let origin = allowedOrigin(head) {
            headers.add(name: "access-control-allow-origin", value: origin)
            headers.add(name: "vary", value: "origin")
        }
        return headers
    }

    private func answer(_ problem: Problem, _ head: HTTPRequestHead) -> WholeAnswer {
        let isBusy = problem.status == .tooManyRequests
        requests[isBusy ? "busy" : "refused"]?.add()
        // In the type of the request; a request of no type that we know gets the one that people can read.
        let encoding = encoding(head) ?? .json
        var headers = headers(head, encoding)
        if problem.status == .methodNotAllowed { headers.add(name: "allow", value: "POST") }
        if isBusy { headers.add(name: "retry-after", value: "1") }
        return WholeAnswer(
            problem.status, headers: headers, body: ByteBuffer(bytes: OTLPStatus(problem.code, problem.message).encoded(as: encoding)))
    }

    // MARK: Bodies

    private func serve(_ request: WholeRequest, _ reply: @escaping (WholeAnswer) -> Void) {
        let head = request.head
        guard head.method == .POST, let signal = signal(head), let encoding = encoding(head) else {
            var headers = headers(head, .json)
            headers.remove(name: "content-type")
            headers.add(name: "access-control-allow-methods", value: "POST")
            headers.add(name: "access-control-allow-headers", value: "content-type, content-encoding, x-otlp-api-key")
            return reply(WholeAnswer(.noContent, headers: headers))
        }
        let isPacked = head.headers.first(name: "content-encoding")?.lowercased() == "gzip"
        // What is packed may become as large as a request may be.
        let cost = isPacked ? settings.maximumRequestBytes : request.body.readableBytes
        guard bytesAtWork == 0 || bytesAtWork + cost <= Self.maximumBytesAtWork else {
            return reply(answer(Problem(status: .tooManyRequests, code: .resourceExhausted, message: "too much is being decoded"), head))
        }
        bytesAtWork += cost
        let (body, limit) = (request.body, settings.maximumRequestBytes)
        context.perform {
            try Self.read(body, isPacked, limit, signal, encoding)
        } then: { [self] result in
            bytesAtWork -= cost
            switch result {
            case .success(let batch):
                requests["ok"]?.add()
                take(batch)
                let rejection = batch.firstRejection.map { "\(batch.rejected) records were left out; the first: \($0)" } ?? ""
                let bytes = OTLPAnswer(rejected: Int64(batch.rejected), message: rejection).encoded(as: encoding, signal)
                reply(WholeAnswer(.ok, headers: headers(head, encoding), body: ByteBuffer(bytes: bytes)))
            case .failure(let error as Gunzip.Failure):
                reply(
                    answer(
                        error == .tooLarge
                            ? tooLarge : Problem(status: .badRequest, code: .invalidArgument, message: "the gzip data is damaged"), head))
            case .failure(let error):
                var message = "the request cannot be read"
                if case .undecodable(let reason)? = error as? OTLPFault { message = reason }
                reply(answer(Problem(status: .badRequest, code: .invalidArgument, message: message), head))
            }
        }
    }

    private static func read(
        _ body: ByteBuffer, _ isPacked: Bool, _ limit: Int, _ signal: Signal, _ encoding: OTLPEncoding
    ) throws -> TelemetryBatch {
        try body.withUnsafeReadableBytes { bytes in
            // An exporter that flushes nothing is no mistake.
            guard !bytes.isEmpty else { return TelemetryBatch() }
            guard isPacked else { return try OTLPDocument.read(bytes, signal, as: encoding) }
            let unpacked = try Gunzip.unpack(bytes, maximumBytes: limit)
            return unpacked.isEmpty ? TelemetryBatch() : try OTLPDocument.read(unpacked, signal, as: encoding)
        }
    }
}
