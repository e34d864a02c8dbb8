import IIIProtocol
import IIITransport
import IIIWorker
import Logging
import NIOCore
import NIOEmbedded

@testable import IIIHTTPGateway

/// A link that records calls and lets the test answer them.
final class FakeLink: FunctionLink {
    struct Call {
        let function: String
        let namespace: String?
        let payload: JSONValue?
        let rawPayload: String
        let metadata: [UInt8]?
        let traceparent: String?
        let completion: (CallOutcome) -> Void

        func answer(_ json: String?) {
            guard let json else {
                completion(.result(nil))
                return
            }
            var bytes = Array(json.utf8)
            bytes.withUnsafeMutableBytes { completion(.result(UnsafeRawBufferPointer($0))) }
        }

        func fail(_ code: String, _ message: String) { completion(.failure(InvocationError(code: code, message: message))) }
    }

    var isConnected = true
    var calls: [Call] = []
    var abandoned = 0
    /// Answers at once instead of recording, when set.
    var automaticAnswer: ((Call) -> Void)?

    func invoke(
        _ function: FunctionID, namespace: String?, trace: TraceContext, metadata: [UInt8]?,
        writeData: (inout ByteBuffer) -> Void, completion: @escaping (CallOutcome) -> Void
    ) -> UUIDBits? {
        var buffer = ByteBuffer()
        writeData(&buffer)
        let raw = String(buffer: buffer)
        let call = Call(
            function: function.text, namespace: namespace, payload: try? JSONValue(parsing: raw), rawPayload: raw, metadata: metadata,
            traceparent: trace.traceparent, completion: completion)
        if let automaticAnswer {
            automaticAnswer(call)
            return nil
        }
        calls.append(call)
        return UUIDBits(high: 0, low: UInt64(calls.count))
    }

    func abandon(_ call: UUIDBits) { abandoned += 1 }

    /// Sockets that were asked for. They never open; tests call their callbacks instead.
    var opened: [(ref: ChannelRef, socket: ChannelSocket)] = []
    private let coalescer = WriteCoalescer(eventLoop: EmbeddedEventLoop())

    func makeChannelSocket() -> ChannelSocket { ChannelSocket(coalescer: coalescer) }

    func open(_ ref: ChannelRef, with socket: ChannelSocket) { opened.append((ref, socket)) }

    /// The oldest call that is not answered yet.
    func next() -> Call { calls.removeFirst() }
}

/// One gateway on an embedded loop: time stands still unless the test moves it.
final class GatewayHarness {
    let loop = EmbeddedEventLoop()
    let link = FakeLink()
    let core: GatewayCore
    /// Lines of the JSON access log.
    let lines = Lines()

    final class Lines { var values: [JSONValue] = [] }

    init(_ change: (inout HTTPConfiguration) -> Void = { _ in }) {
        var configuration = HTTPConfiguration()
        change(&configuration)
        core = GatewayCore(
            configuration: configuration, link: link, eventLoop: loop, channelKey: Array("key".utf8),
            logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
            writeLine: { [lines] line in if let value = try? JSONValue(parsing: line) { lines.values.append(value) } })
    }

    func route(
        _ method: String, _ path: String, to function: String = "f", condition: String? = nil, trigger: String? = nil,
        middleware: [String] = [], metadata: [UInt8]? = nil, namespace: String? = nil
    ) throws {
        let route = Route(
            triggerID: trigger ?? "\(method) \(path)", method: try unwrap(RouteMethod(name: method)), pattern: try RoutePattern(path),
            functionID: FunctionID(own: function), condition: condition.map { FunctionID(own: $0) },
            middleware: middleware.map { FunctionID(own: $0) },
            metadata: metadata, namespace: namespace)
        try core.routes.add(route)
    }

    func connect() throws -> Client {
        let channel = EmbeddedChannel(loop: loop)
        try HTTPListener.configure(channel, core)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return Client(channel: channel, loop: loop)
    }

    struct Client {
        let channel: EmbeddedChannel
        let loop: EmbeddedEventLoop

        /// Delivers bytes as one read; broken requests are answered, not thrown.
        func send(_ text: String) {
            channel.pipeline.fireChannelRead(ByteBuffer(string: text))
            channel.pipeline.fireChannelReadComplete()
            loop.run()
        }

        func sendByteByByte(_ text: String) {
            for byte in text.utf8 { send(String(decoding: [byte], as: UTF8.self)) }
        }

        /// Everything written since the last look.
        func received() -> String {
            loop.run()
            var text = ""
            while let buffer = try? channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: buffer) }
            return text
        }

        func response() -> Response { Response(received()) }

        var isOpen: Bool { channel.isActive }

        /// `METHOD target` with a host header, further lines, and a body with its length.
        func request(_ line: String, _ headers: [String] = [], body: String? = nil) {
            var text = "\(line) HTTP/1.1\r\nhost: test\r\n"
            for header in headers { text += header + "\r\n" }
            if let body { text += "content-length: \(body.utf8.count)\r\n" }
            send(text + "\r\n" + (body ?? ""))
        }
    }

    /// A response text taken apart.
    struct Response {
        var status = 0
        var headers: [(name: String, value: String)] = []
        var body = ""

        init(_ text: String) {
            guard let end = text.firstRange(of: "\r\n\r\n") else { return }
            let lines = text[..<end.lowerBound].split(separator: "\r\n", omittingEmptySubsequences: false)
            status = Int(lines[0].split(separator: " ")[1]) ?? 0
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                headers.append((String(parts[0]), String(parts[1].drop(while: { $0 == " " }))))
            }
            body = String(text[end.upperBound...])
        }

        func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

        func all(_ name: String) -> [String] { headers.filter { $0.name == name }.map(\.value) }
    }
}

struct Missing: Error {}

func unwrap<T>(_ value: T?) throws -> T {
    guard let value else { throw Missing() }
    return value
}
