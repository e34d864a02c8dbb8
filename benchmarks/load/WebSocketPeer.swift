import IIIProtocol
import IIITransport
import NIOCore
import NIOPosix

/// Caller and worker over the worker protocol. Works against the engine and against the Node router of `benchmarks/peers`.
enum WebSocketPeer {
    static let function = #""bench::echo""#

    static func start(_ run: Run, url: WebSocketURL) async throws {
        let loop = run.loop
        try await loop.flatSubmit {
            let coalescer = WriteCoalescer(eventLoop: loop)
            let caller = NIOLoopBound(CallerConnection(run: run, coalescer: coalescer), eventLoop: loop)
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
    private var sentAt: [NIODeadline]
    private var hasBegun = false
    private var isRegistered = false

    init(run: Run, coalescer: WriteCoalescer) {
        self.run = run
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
            buffer.writeString(WebSocketPeer.function)
            buffer.writeStaticString(#","data":{"text":""#)
            buffer.writeBytes(run.payload)
            buffer.writeStaticString(#""}}"#)
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
