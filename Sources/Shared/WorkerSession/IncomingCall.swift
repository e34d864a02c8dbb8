import IIIProtocol
import IIITelemetry

/// A call that the engine delivered to a function of this worker. Answer it once, from the link's event loop. Let go without an
/// answer it fails by itself, with `invocation_failed`.
///
/// An answer given after the link has broken goes nowhere: the engine has already told the caller (`invocation_stopped`).
public final class IncomingCall {
    /// The payload's JSON text.
    public let payload: [UInt8]
    /// The trace this call belongs to; hand it on with calls that are made because of it.
    public let trace: TraceContext
    /// The metadata sidecar as raw JSON, if any (docs/reference/worker-protocol.md#metadata-sidecar).
    public let metadata: [UInt8]?
    private let link: WorkerLink
    private let generation: Int
    /// The call's id, the caller's own unless it was in use here already.
    public let invocationID: UUIDBits
    private let function: FunctionID
    private var isAnswered = false
    /// Whether it holds up a drain. Calls of the contract with the core do not: the drain is one of them.
    private let isCounted: Bool

    init(
        payload: [UInt8], trace: TraceContext, metadata: [UInt8]?, link: WorkerLink, generation: Int, id: UUIDBits, function: FunctionID,
        isCounted: Bool
    ) {
        self.payload = payload
        self.trace = trace
        self.metadata = metadata
        self.link = link
        self.generation = generation
        invocationID = id
        self.function = function
        self.isCounted = isCounted
    }

    deinit {
        guard !isAnswered else { return }
        // Whoever let go of it may be on any thread.
        let (link, id, function, generation, isCounted) = (link, invocationID, function, generation, isCounted)
        link.eventLoop.execute {
            if isCounted { link.callAnswered() }
            link.sendError(
                InvocationError(.invocationFailed, "Function \(function) ended without an answer"), id, function, generation: generation)
        }
    }

    /// The decoded payload. Decoded on every use: keep it.
    public var data: JSONValue { (try? JSONValue(parsing: payload)) ?? .null }

    /// Answers with a value; nil answers without a result, which callers see as absent, not as `null`.
    public func reply(_ value: JSONValue?) { reply(raw: value?.bytes) }

    /// Answers with JSON text as it is.
    public func reply(raw: [UInt8]?) {
        guard takeTurn() else { return }
        link.sendResult(invocationID, function, generation: generation) { buffer in
            guard let raw else { return }
            buffer.writeStaticString(#","result":"#)
            buffer.writeBytes(raw)
        }
    }

    /// Answers with an error. Only the first answer counts.
    public func fail(_ error: InvocationError) {
        guard takeTurn() else { return }
        link.sendError(error, invocationID, function, generation: generation)
    }

    private func takeTurn() -> Bool {
        guard !isAnswered else { return false }
        isAnswered = true
        if isCounted { link.callAnswered() }
        return true
    }
}
