import IIIProtocol
import NIOCore

/// Keeps the messages of one connection in order while a registration hook decides: they wait here. What no order holds for passes:
/// results, pings, telemetry. Confined to the engine's loop.
///
/// Bounded: beyond 64 KiB or 256 messages, or `hook_buffer_bytes` of all connections, the socket is not read.
final class HookGate {
    private static let maximumBytes = 64 << 10
    private static let maximumMessages = 256

    /// A hook has been asked and has not answered.
    var isWaiting = false
    /// What waited is being handled.
    var isDraining = false
    private var messages = CircularBuffer<(bytes: [UInt8], isText: Bool)>()
    private(set) var waitingBytes = 0

    var isFull: Bool { waitingBytes >= Self.maximumBytes || messages.count >= Self.maximumMessages }

    func add(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        messages.append((Array(bytes), isText))
        waitingBytes += bytes.count
    }

    /// Forgets them. Returns how many bytes they were.
    func clear() -> Int {
        defer {
            messages.removeAll()
            waitingBytes = 0
        }
        return waitingBytes
    }

    /// The oldest, unless a hook is being waited for.
    func next() -> (bytes: [UInt8], isText: Bool)? {
        guard !isWaiting, let message = messages.popFirst() else { return nil }
        waitingBytes -= message.bytes.count
        return message
    }
}

extension WorkerConnection {
    /// Asks a registration hook; further messages of this connection wait for `completion`. No answer in time, and an error, is nil.
    func ask(_ hook: FunctionID, _ input: [UInt8], within limit: TimeAmount, completion: @escaping (JSONValue?) -> Void) {
        guard let gate else { return completion(nil) }
        gate.isWaiting = true
        engine.ask(hook, input, within: limit) { [self] outcome in
            if worker.isConnected { completion((try? outcome.get()) ?? nil) }
            gate.isWaiting = false
            if !gate.isDraining { releaseMessages(gate) }
        }
    }

    /// Whether the message must wait, which it then does.
    func isHeldBack(_ gate: HookGate, _ bytes: UnsafeRawBufferPointer, isText: Bool) -> Bool {
        if !isText, TelemetryRelay.isTelemetry(bytes) { return false }
        switch Envelope.scan(bytes)?.type {
        case .invocationResult, .ping, .pong: return false
        default: break
        }
        gate.add(bytes, isText: isText)
        engine.hookWaitingBytes += bytes.count
        if !isGated, gate.isFull || engine.hookWaitingBytes > engine.options.hookBufferBytes {
            engine.counters.hookWritersPaused += 1
            isGated = true
        }
        return true
    }

    private func releaseMessages(_ gate: HookGate) {
        gate.isDraining = true
        while let (bytes, isText) = gate.next() {
            engine.hookWaitingBytes -= bytes.count
            // What it had sent before it left counts; only answers are for nobody.
            if phase != .closed { bytes.withUnsafeBytes { handle($0, isText: isText) } }
        }
        gate.isDraining = false
        if !gate.isWaiting { isGated = false }
    }
}
