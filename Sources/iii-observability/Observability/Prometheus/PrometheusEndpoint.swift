import IIIProtocol
import IIIServer
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import NIOHTTP1

/// `GET /metrics`: what the core, the built-ins and the workers count, as the core has it (docs/reference/observability.md#prometheus).
///
/// All who ask within a second get the same document, and it is held once however many read it, so that scrapes cost the core one reading a
/// second at most. Confined to the event loop.
final class PrometheusEndpoint: @unchecked Sendable {
    private typealias Reply = (Result<ByteBuffer, InvocationError>) -> Void

    private struct Snapshot {
        var document: ByteBuffer?
        var freshUntil = NIODeadline.uptimeNanoseconds(0)
        /// Those who wait for the document that is being made.
        var waiting: [Reply] = []
        var isBeingMade = false
    }

    /// Connections at a time; further ones wait to be accepted.
    static let maximumConnections = 128
    private static let freshness = TimeAmount.seconds(1)
    private static let timeout = TimeAmount.seconds(15)
    private static let function: FunctionID = "core::fleet::metrics"

    private let context: CoreWorkerContext
    private var snapshots: [String: Snapshot] = [:]
    private var server: Server?
    private let served: CounterInstrument
    private let failed: CounterInstrument

    init(context: CoreWorkerContext) {
        self.context = context
        let name = "iii.prometheus.scrapes.total"
        let description = "Documents that scrapers were given, or not"
        served = context.metrics.counter(name, labels: [("status", "ok")], description: description)
        failed = context.metrics.counter(name, labels: [("status", "error")], description: description)
    }

    var port: Int? { server?.localAddress?.port }

    func open(_ door: ListeningDoor, on loop: isolated WorkerLoop) async throws {
        server = try await door.open(on: context.eventLoop, maximumConnections: Self.maximumConnections, logger: context.logger) {
            [self] channel, connection in
            try WholeRequests.configure(channel, connection, limits: Self.limits, endpoint: endpoint)
        }
    }

    func close() { server?.close() }

    private static var limits: WholeRequests.Limits {
        var limits = WholeRequests.Limits()
        limits.maximumBodyBytes = 0
        return limits
    }

    private var endpoint: WholeRequests.Endpoint {
        WholeRequests.Endpoint(
            refuse: { head in
                guard head.uri.prefix(while: { $0 != "?" }) == "/metrics" else {
                    return WholeAnswer(.notFound, "metrics are at /metrics")
                }
                guard head.method == .GET || head.method == .HEAD else {
                    return WholeAnswer(.methodNotAllowed, "metrics are read with GET", headers: ["allow": "GET, HEAD"])
                }
                return nil
            },
            serve: { [self] request, reply in
                let format = ScrapeFormat.negotiated(accept: request.head.headers["accept"])
                document(format) { [self] result in
                    switch result {
                    case .success(let document):
                        served.add()
                        reply(WholeAnswer(.ok, headers: ["content-type": format.contentType], body: document))
                    case .failure(let error):
                        failed.add()
                        reply(
                            WholeAnswer(.serviceUnavailable, "the engine does not answer: \(error.message)", headers: ["retry-after": "1"]))
                    }
                }
            })
    }

    private func document(_ format: PrometheusText.Format, _ reply: @escaping Reply) {
        let name = format == .openMetrics ? "openmetrics" : "prometheus"
        var snapshot = snapshots[name] ?? Snapshot()
        if let document = snapshot.document, snapshot.freshUntil > .now() { return reply(.success(document)) }
        snapshot.waiting.append(reply)
        let isFirst = !snapshot.isBeingMade
        snapshot.isBeingMade = true
        snapshots[name] = snapshot
        guard isFirst else { return }
        context.perform { [link = context.link] in
            let answer = try await link.ask(Self.function, ["format": .string(name)], timeout: Self.timeout)
            return ByteBuffer(string: answer["text"]?.string ?? "")
        } then: { [self] result in
            let result = result.mapError { InvocationError(thrown: $0) }
            let waiting = snapshots[name]?.waiting ?? []
            // Fresh from now on; a document that nobody asked for again is not kept.
            snapshots[name] = Snapshot(document: try? result.get(), freshUntil: .now() + Self.freshness)
            for reply in waiting { reply(result) }
        }
    }
}
