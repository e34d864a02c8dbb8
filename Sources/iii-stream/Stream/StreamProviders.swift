import IIIItems
import IIIProtocol
import IIIWorker
import NIOCore

/// Functions that stand in for the store of one stream: `stream::<operation>(<stream>)`; docs/reference/streams.md#providers.
///
/// The engine tells of every such function that comes or goes. One that is not there when it is called counts as none. Confined to the event loop.
final class StreamProviders {
    enum Operation: String, CaseIterable { case get, set, delete, list, listGroups = "list_groups", update }

    enum Answer {
        /// Raw JSON; nil for nothing.
        case result([UInt8]?)
        case failure(InvocationError)
        /// There is none: the store answers.
        case missing
    }

    private let context: CoreWorkerContext
    private var known: Set<ItemName> = []
    static let timeout = TimeAmount.seconds(30)
    private static let watch = FunctionID("core::registry::watch")
    private var watcher: String { "builtin::\(context.name)::functions-changed" }

    init(_ context: CoreWorkerContext) { self.context = context }

    static func prefix(_ operation: Operation) -> String { "stream::\(operation.rawValue)(" }

    func register(on link: WorkerLink) {
        link.registerFunction(watcher, description: "Told of every stream provider that comes or goes") { [self] call in
            let change = call.data
            for id in change["removed"]?.array ?? [] { if let id = id.string { known.remove(ItemName(id)) } }
            for id in change["added"]?.array ?? [] { if let id = id.string { known.insert(ItemName(id)) } }
            call.reply([:])
        }
    }

    /// Asks for all there are, and to be told of changes.
    func linked(on loop: isolated WorkerLoop) async throws {
        let prefixes = Operation.allCases.map { JSONValue.string(Self.prefix($0)) }
        let answer = try await context.link.ask(
            Self.watch, ["function_id": .string(watcher), "prefixes": .array(prefixes)], timeout: .seconds(10))
        known = Set((answer["functions"]?.array ?? []).compactMap { $0.string.map { ItemName($0) } })
    }

    private static func id(_ operation: Operation, _ stream: ItemName) -> String { prefix(operation) + stream.text + ")" }

    func has(_ operation: Operation, _ stream: ItemName) -> Bool {
        !known.isEmpty && known.contains(ItemName(Self.id(operation, stream)))
    }

    /// Calls the provider with the input of the original call.
    func call(
        _ operation: Operation, _ stream: ItemName, _ input: [UInt8], trace: TraceContext, timeout: TimeAmount = StreamProviders.timeout,
        completion: @escaping (Answer) -> Void
    ) {
        guard has(operation, stream), let target = try? TriggerTarget(function: Self.id(operation, stream)) else {
            return completion(.missing)
        }
        context.calls.fire(target, payload: input, trace: trace, timeout: timeout) { outcome in
            switch outcome {
            case .completed(let bytes):
                let isNothing = bytes.map { $0.elementsEqual("null".utf8) } ?? true
                completion(.result(isNothing ? nil : bytes.map { Array($0) }))
            case .failed(let error) where error.code == ErrorCode.functionNotFound.rawValue: completion(.missing)
            case .failed(let error), .conditionFailed(let error): completion(.failure(error))
            case .skipped: completion(.result(nil))
            }
        }
    }
}

/// The result of a provider's `set`, `delete` or `update`.
struct ProviderChange {
    let old: [UInt8]?
    let new: [UInt8]?
    let errors: [UInt8]?

    /// `needsNew`: of everything but a delete. Throws `JSON_ERROR`.
    init(_ result: [UInt8], needsNew: Bool) throws {
        func problem(_ text: String) -> InvocationError { InvocationError(.jsonError, "Failed to convert result to value: \(text)") }
        do {
            let members = try InputObject(result[...], as: "a map")
            old = try members.optional("old_value").map { Array(JSONLevel.compact($0)) }
            new = try members.raw("new_value").map { Array(JSONLevel.compact($0)) }
            errors = try members.optional("errors").map { Array(JSONLevel.compact($0)) }
        } catch {
            throw problem(error.message)
        }
        if needsNew, new == nil { throw problem("missing field `new_value`") }
    }
}
