import IIIProtocol
import IIIWorker
import NIOCore

/// What the gateway needs from the link to the core: `WorkerLink` in production, a recording fake in tests.
///
/// Generic parameters stand for it, never existentials: the call is resolved at compile time.
package protocol FunctionLink: AnyObject, SendableMetatype {
    var isConnected: Bool { get }

    /// Calls a function; `writeData` appends the payload straight into the frame, `completion` runs on the event loop.
    func invoke(
        _ function: FunctionID, traceparent: String?, baggage: String?, metadata: [UInt8]?, timeout: TimeAmount?,
        writeData: (inout ByteBuffer) -> Void, completion: @escaping (CallOutcome) -> Void)
}

extension WorkerLink: FunctionLink {
    package func invoke(
        _ function: FunctionID, traceparent: String?, baggage: String?, metadata: [UInt8]?, timeout: TimeAmount?,
        writeData: (inout ByteBuffer) -> Void, completion: @escaping (CallOutcome) -> Void
    ) {
        call(
            function, traceparent: traceparent, baggage: baggage, metadata: metadata, timeout: timeout, writeData: writeData,
            completion: completion)
    }
}
