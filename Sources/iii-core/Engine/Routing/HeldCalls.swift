import IIIProtocol
import NIOCore

/// Calls of functions whose built-in is restarting: held for a moment instead of failed
/// (docs/reference/worker-protocol.md#held-calls).
///
/// Bounded in number (`max_held_calls`), bytes (`held_calls_buffer_bytes`) and time (5 s). Beyond the first two the caller gets
/// `function_unavailable`, beyond the time `function_not_found` as usual. A held
/// call keeps a copy of its message and the sender; when the function is back the message is routed as if it had just come.
final class HeldCalls {
    private struct Held {
        let connection: WorkerConnection
        let message: [UInt8]
        let timeout: Scheduled<Void>
    }

    private unowned let engine: Engine
    /// Ids that a built-in of this fleet served before its connection ended, and which one.
    private var expected: [String: String] = [:]
    private var calls: [String: [Int: Held]] = [:]
    private var count = 0
    private(set) var waitingBytes = 0
    private var nextKey = 0

    init(engine: Engine) { self.engine = engine }

    func expect(_ ids: [String], of builtin: String) {
        for id in ids { expected[id] = builtin }
    }

    /// The entry is no longer configured: nobody will come back.
    func forget(builtin: String) { expected = expected.filter { $0.value != builtin } }

    func isExpected(_ id: String) -> Bool { expected[id] != nil }

    /// Takes a copy of the message; false when there is no room.
    func hold(_ id: String, _ connection: WorkerConnection, _ bytes: UnsafeRawBufferPointer) -> Bool {
        guard count < engine.options.maximumHeldCalls, waitingBytes + bytes.count <= engine.options.heldCallsBufferBytes else {
            engine.counters.heldCallsRefused += 1
            return false
        }
        engine.counters.callsHeld += 1
        nextKey += 1
        let key = nextKey
        let bound = NIOLoopBound(self, eventLoop: engine.eventLoop)
        let timeout = engine.eventLoop.scheduleTask(in: engine.options.holdTimeout) { bound.value.expire(id, key) }
        calls[id, default: [:]][key] = Held(connection: connection, message: Array(bytes), timeout: timeout)
        count += 1
        waitingBytes += bytes.count
        return true
    }

    private func expire(_ id: String, _ key: Int) {
        guard let held = calls[id]?.removeValue(forKey: key) else { return }
        if calls[id]?.isEmpty == true { calls[id] = nil }
        count -= 1
        waitingBytes -= held.message.count
        route(held)
    }

    /// `id` is served again: routes what waited for it, in order.
    func release(_ id: String) {
        expected[id] = nil
        guard let waiting = calls.removeValue(forKey: id) else { return }
        count -= waiting.count
        for key in waiting.keys.sorted() {
            guard let held = waiting[key] else { continue }
            held.timeout.cancel()
            waitingBytes -= held.message.count
            route(held)
        }
    }

    private func route(_ held: Held) {
        guard held.connection.phase == .open else { return }
        held.message.withUnsafeBytes { bytes in
            guard let envelope = Envelope.scan(bytes) else { return }
            engine.invoke(from: held.connection, bytes, envelope, isRetry: true)
        }
    }
}

extension Engine {
    /// The answer to a call that would have been held, were there room; nil for an id that nobody is expected to serve.
    func noRoomToHold(_ key: FunctionKey) -> InvocationError? {
        guard held.isExpected(key.id) || httpFunctions.isAwaited(key) else { return nil }
        return InvocationError(
            .functionUnavailable,
            "Function \(key.id) is restarting, and as many calls wait as may (max_held_calls, held_calls_buffer_bytes)")
    }

    func holdIfRestarting(_ id: String, _ connection: WorkerConnection, _ bytes: UnsafeRawBufferPointer) -> Bool {
        (held.isExpected(id) || httpFunctions.isAwaited(FunctionKey(id))) && held.hold(id, connection, bytes)
    }
}
