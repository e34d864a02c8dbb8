import IIIProtocol
import IIITelemetry
import IIIWorker
import NIOCore

/// Keeps the OpenAPI document up to date: asks the core about the functions of live routes whenever routes or functions
/// change, at most once per `delay`, so that serving the document is sending bytes.
/// The delay grows with the routes, because the event loop waits while the document is written.
///
/// Confined to the gateway's event loop. While the link is down the last document stays.
final class OpenAPIPublisher {
    /// Changes within this time are published together: 200 ms and 1 ms per route, 3 s at most.
    private var delay: TimeAmount { .milliseconds(min(200 + Int64(core.routes.count), 3000)) }
    private static let callTimeout = TimeAmount.seconds(5)
    /// As many as `engine::functions::info` answers at a time.
    private static let batchSize = 32
    private static let information = FunctionID("engine::functions::info")
    private static let watch = FunctionID("core::registry::watch")

    private struct Batch {
        let namespace: String
        let ids: [String]
    }

    private let core: GatewayCore
    private let link: WorkerLink
    private let watcherName: String
    private var isScheduled = false
    /// Counts refreshes: answers of an earlier one are of no use.
    private var generation = 0

    init(core: GatewayCore, link: WorkerLink, workerName: String) {
        self.core = core
        self.link = link
        watcherName = "builtin::\(workerName)::functions-changed"
    }

    private var isWanted: Bool { core.settings.configuration.openAPIPath != nil }

    func registerWatcher() {
        link.registerFunction(watcherName, description: "Told of every function that comes, changes or goes") { [self] call in
            guard isWanted else { return call.reply([:]) }
            let ids = Set(["added", "removed", "changed"].flatMap { call.data[$0]?.array ?? [] }.compactMap(\.string))
            call.reply([:])
            if core.routes.live.contains(where: { ids.contains($0.functionID.text) }) { changed() }
        }
    }

    /// The link is up and our registrations are said: asks to be told of functions, and publishes.
    func linked() {
        guard isWanted else { return }
        let input: JSONValue = ["function_id": .string(watcherName)]
        link.call(Self.watch, timeout: Self.callTimeout, writeData: { $0.writeBytes(input.bytes) }) { [self] outcome in
            guard case .failure(let error) = outcome else { return }
            core.logger.warning(.openAPIStale, "the OpenAPI document will miss changes of functions", metadata: ["error": "\(error)"])
        }
        changed()
    }

    /// Routes or functions are not what the document says.
    func changed() {
        guard isWanted, !isScheduled else { return }
        isScheduled = true
        let bound = NIOLoopBound(self, eventLoop: core.eventLoop)
        core.eventLoop.scheduleTask(in: delay) { bound.value.refresh() }
    }

    private func refresh() {
        isScheduled = false
        generation += 1
        let routes = core.routes.live
        let wanted = Dictionary(grouping: Set(routes.map(FunctionReference.init)), by: \.namespace)
        var batches: [Batch] = []
        for (namespace, references) in wanted {
            let ids = references.map(\.id).sorted()
            for start in stride(from: 0, to: ids.count, by: Self.batchSize) {
                batches.append(Batch(namespace: namespace, ids: Array(ids[start..<min(start + Self.batchSize, ids.count)])))
            }
        }
        ask(batches[...], routes, [:], generation)
    }

    /// One question after the other; a failed one leaves its functions without a description.
    private func ask(
        _ batches: ArraySlice<Batch>, _ routes: [Route], _ known: [FunctionReference: FunctionDescription],
        _ current: Int
    ) {
        guard current == generation else { return }
        guard let batch = batches.first else {
            core.openAPIDocument = OpenAPIDocument.make(routes: routes, functions: known, version: workerLibraryVersion)
            return
        }
        let input: JSONValue = ["namespace": .string(batch.namespace), "function_ids": .array(batch.ids.map(JSONValue.string))]
        link.call(Self.information, timeout: Self.callTimeout, writeData: { $0.writeBytes(input.bytes) }) { [self] outcome in
            var functions = known
            if case .result(let bytes?) = outcome, let answer = try? JSONValue(parsing: bytes) {
                for row in answer["functions"]?.array ?? [] {
                    guard let id = row["function_id"]?.string, row["error"] == nil else { continue }
                    functions[FunctionReference(namespace: batch.namespace, id: id)] = FunctionDescription(
                        description: row["description"]?.string, requestFormat: row["request_schema"],
                        responseFormat: row["response_schema"], metadata: row["metadata"])
                }
            }
            ask(batches.dropFirst(), routes, functions, current)
        }
    }
}
