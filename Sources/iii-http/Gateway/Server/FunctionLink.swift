import IIIProtocol
import IIITelemetry
import IIIWorker
import NIOCore

/// What the gateway needs from the link to the core: `WorkerLink` in production, a recording fake in tests.
///
/// An existential: its three calls in a request cost next to nothing, while everything that were generic over it would look up
/// its own metadata at every step (docs/benchmarks.md).
package protocol FunctionLink: AnyObject, SendableMetatype {
    var isConnected: Bool { get }

    /// Calls a function of `namespace` (nil: `default`); `writeData` appends the payload straight into the frame, `completion` runs on the event loop.
    /// Returns the call's id for `abandon`; nil when it has failed already.
    func invoke(
        _ function: FunctionID, namespace: String?, trace: TraceContext, metadata: [UInt8]?,
        writeData: (inout ByteBuffer) -> Void, completion: @escaping (CallOutcome) -> Void
    ) -> UUIDBits?

    /// Forgets a call: its completion will not run.
    func abandon(_ call: UUIDBits)

    /// A socket for one end of a channel, to be given its callbacks before `open`.
    func makeChannelSocket() -> ChannelSocket
    func open(_ ref: ChannelRef, with socket: ChannelSocket)
}

extension WorkerLink: FunctionLink {
    package func invoke(
        _ function: FunctionID, namespace: String?, trace: TraceContext, metadata: [UInt8]?,
        writeData: (inout ByteBuffer) -> Void, completion: @escaping (CallOutcome) -> Void
    ) -> UUIDBits? {
        // No timeout of the link's own: the gateway's request timers cost a list operation instead of a heap search.
        return call(
            function, namespace: namespace, trace: trace, metadata: metadata, writeData: writeData, completion: completion)
    }
}
