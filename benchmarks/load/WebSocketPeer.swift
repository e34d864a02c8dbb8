import IIIProtocol
import IIITransport
import NIOCore
import NIOPosix

/// Caller and worker over the worker protocol. Works against the engine and against the Node router of `benchmarks/peers`.
enum WebSocketPeer {
    static let function = #""bench::echo""#

    /// What is called instead of the echoing worker.
    struct Target: Sendable {
        /// As JSON.
        let function: String
        /// The input between the places where the number of the call's slot stands.
        let data: [[UInt8]]

        init(function: String, data: String) {
            self.function = "\"\(function)\""
            self.data = data.utf8.split(separator: UInt8(ascii: "@"), omittingEmptySubsequences: false).map { Array($0) }
        }

        func write(to buffer: inout ByteBuffer, slot: Int) {
            for (index, part) in data.enumerated() {
                if index > 0 { buffer.writeString("\(slot)") }
                buffer.writeBytes(part)
            }
        }
    }

    static func start(_ run: Run, url: WebSocketURL, calling target: Target?) async throws {
        let loop = run.loop
        try await loop.flatSubmit {
            let coalescer = WriteCoalescer(eventLoop: loop)
            let caller = NIOLoopBound(CallerConnection(run: run, target: target, coalescer: coalescer), eventLoop: loop)
            let worker = EchoConnection(coalescer: coalescer) { caller.value.begin() }
            return WebSocketDialer.connect(to: url, headers: [], timeout: .seconds(5), connection: worker, on: loop).flatMap {
                WebSocketDialer.connect(to: url, headers: [], timeout: .seconds(5), connection: caller.value, on: loop)
            }
        }.get()
    }
}

/// Answers every call with its own payload.
private final class EchoConnection: WebSocketConnection {
    private let onRegistered: () -> Void

    init(coalescer: WriteCoalescer, onRegistered: @escaping () -> Void) {
        self.onRegistered = onRegistered
        super.init(role: .client, limits: WebSocketLimits(), coalescer: coalescer)
    }

    override func connectionOpened() {
        sendText(Array(#"{"type":"registerfunction","id":\#(WebSocketPeer.function)}"#.utf8))
        sendText(Array(#"{"type":"ping"}"#.utf8))
    }

    override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        guard let envelope = Envelope.scan(bytes) else { return }
        if envelope.type == .pong { return onRegistered() }
        guard envelope.type == .invokeFunction else { return }
        sendText(expectedLength: bytes.count) { buffer in
            buffer.writeStaticString(#"{"type":"invocationresult","invocation_id":"#)
            buffer.writeBytes(envelope.invocationID.of(bytes))
            buffer.writeStaticString(#","function_id":"#)
            buffer.writeString(WebSocketPeer.function)
            buffer.writeStaticString(#","result":"#)
            buffer.writeBytes(envelope.data.of(bytes))
            buffer.writeStaticString("}")
        }
    }
}

/// Keeps a fixed number of calls in flight.
private final class CallerConnection: WebSocketConnection {
    private let run: Run
    private let target: WebSocketPeer.Target?
    private var sentAt: [NIODeadline]
    private var hasBegun = false
    private var isRegistered = false

    init(run: Run, target: WebSocketPeer.Target?, coalescer: WriteCoalescer) {
        self.run = run
        self.target = target
        sentAt = Array(repeating: .now(), count: run.inFlight)
        super.init(role: .client, limits: WebSocketLimits(), coalescer: coalescer)
    }

    /// The worker is registered.
    func begin() {
        hasBegun = true
        startIfReady()
    }

    override func connectionOpened() {
        isRegistered = true
        startIfReady()
    }

    private func startIfReady() {
        guard hasBegun, isRegistered else { return }
        hasBegun = false
        run.start()
        for slot in 0..<run.inFlight { call(slot) }
    }

    /// The slot's number is the low half of its call's id.
    private func call(_ slot: Int) {
        guard !run.isOver else { return }
        sentAt[slot] = .now()
        let id = UUIDBits(high: 0x0123_4567_89AB_4DEF, low: 0x8000_0000_0000_0000 | UInt64(slot))
        sendText(expectedLength: run.payload.count + 130) { buffer in
            buffer.writeStaticString(#"{"type":"invokefunction","invocation_id":""#)
            buffer.writeUUID(id)
            buffer.writeStaticString(#"","function_id":"#)
            buffer.writeString(target?.function ?? WebSocketPeer.function)
            guard let target else {
                buffer.writeStaticString(#","data":{"text":""#)
                buffer.writeBytes(run.payload)
                buffer.writeStaticString(#""}}"#)
                return
            }
            buffer.writeStaticString(#","data":"#)
            target.write(to: &buffer, slot: slot)
            buffer.writeStaticString("}")
        }
    }

    override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        guard let envelope = Envelope.scan(bytes), envelope.type == .invocationResult, !envelope.error.isPresent else { return }
        let literal = envelope.invocationID.of(bytes)
        guard let id = UUIDBits(ascii: UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count - 1)])) else { return }
        let slot = Int(id.low & 0xFFFF)
        guard slot < sentAt.count else { return }
        run.answered(sentAt: sentAt[slot])
        call(slot)
    }
}
