import IIIProtocol
import IIIWorker
import NIOCore

/// What the gateway needs from the link to the core: `WorkerLink` in production, a recording fake in tests.
///
/// Generic parameters stand for it, never existentials: the call is resolved at compile time.
package protocol FunctionLink: AnyObject, SendableMetatype {
    var isConnected: Bool { get }

    func call(
        _ function: FunctionID, traceparent: String?, baggage: String?, metadata: [UInt8]?, timeout: TimeAmount?,
        writeData: (inout ByteBuffer) -> Void, completion: @escaping (CallOutcome) -> Void)
}

extension WorkerLink: FunctionLink {}
