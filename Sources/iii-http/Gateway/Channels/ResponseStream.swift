import IIIProtocol
import IIIWorker
import NIOCore

/// A response that its function writes through the channel (http.md §10.3): the head as collected so far, and the socket.
///
/// Confined to the gateway's event loop.
final class ResponseStream {
    /// How long a return value waits for bytes that the function has written before it.
    static let settleTime = TimeAmount.milliseconds(25)

    let socket: ChannelSocket
    /// Integers from 200 to 599 are taken, the last one counts. Default 200.
    private(set) var status = 200
    /// By lower-case name; the last value of a name counts.
    private var headers: [String: JSONValue] = [:]
    /// Whether all that was written before we came has been received: only then may a return value decide.
    var hasCaughtUp = false
    /// A return value that waits for that.
    var heldResult: [UInt8]?

    init(socket: ChannelSocket) { self.socket = socket }

    /// A text message before the first body bytes. What is no control message is ignored and never breaks the stream.
    func control(_ text: UnsafeRawBufferPointer) {
        guard let message = try? JSONValue(parsing: text) else { return }
        switch message["type"]?.string {
        case "set_status":
            if let code = message["status_code"]?.integer, (200...599).contains(code) { status = Int(code) }
        case "set_headers":
            for (name, value) in message["headers"]?.object ?? [:] { headers[name.lowercased()] = value }
        default: break
        }
    }

    /// The collected headers as the JSON object that `ResponseHeaders` writes.
    var headersText: [UInt8] { JSONValue.object(headers).bytes }
}
