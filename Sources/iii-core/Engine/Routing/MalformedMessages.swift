import IIIProtocol
import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// Messages that cannot be taken: whoever waits for one gets an error that says why, and the log a line
/// (docs/reference/worker-protocol.md#malformed-messages).
extension Engine {
    /// A message that is not one JSON object. The connection stays open, unless the text is not even UTF-8.
    func malformedReceived(from connection: WorkerConnection, _ bytes: UnsafeRawBufferPointer) {
        let message = MalformedMessage(bytes)
        let reason = MalformedMessage.reason(bytes)
        connection.dropped("it is not JSON: \(reason)", type: message.type, function: message.functionID ?? message.id)
        switch message.type {
        case .invocationResult:
            guard let pending = message.invocationID.flatMap({ connection.worker.invocations.removeValue(forKey: $0) }) else { return }
            let text = "Function \(pending.function.key.id) answered with a message that is not JSON: \(reason)"
            fail(pending, InvocationError(.invalidMessage, text))
        case .invokeFunction:
            guard let id = message.invocationID else { return }
            counters.invocationsFailed &+= 1
            sendError(
                to: connection.worker, id, function: JSONText.string(message.functionID ?? ""),
                InvocationError(.invalidMessage, "Invalid message: \(reason)"), traceContext: [])
        case .registerTrigger:
            guard let id = message.id, let type = message.triggerType, let function = message.functionID else { return }
            sendTriggerError(
                id, type, function, to: connection.worker, InvocationError(.invalidMessage, "The registration is not JSON: \(reason)"))
        case .triggerRegistrationResult:
            guard let id = message.id else { return }
            triggerResultReceived(
                id, from: connection.worker,
                error: InvocationError(.triggerRegistrationFailed, "The provider's answer is not JSON: \(reason)"))
        default: break
        }
    }

    /// The text of an error body that is not `{"code":…,"message":…}`, for the one who waits for it.
    static func malformedError(_ bytes: UnsafeRawBufferPointer) -> String {
        let expected = #"'error' must be {"code":"…","message":"…"}"#
        let value = try? JSONValue(parsing: bytes)
        guard let text = value?.string ?? value?["message"]?.string ?? value?["code"]?.string else { return expected }
        return "\(expected), it says: \(text.prefix(1_000))"
    }

    /// A message over the limits, of which `head` has arrived. Its sender's connection is closed with 1009 after this: the rest
    /// of its calls fail with it, so the line says why.
    func tooLongReceived(from connection: WorkerConnection, _ head: UnsafeRawBufferPointer, size: Int, isWhole: Bool) {
        let message = MalformedMessage(head)
        let worker = connection.worker
        let limit = min(connection.limits.maximumMessageLength, connection.limits.maximumFrameLength)
        let length = isWhole ? "\(size) bytes" : "at least \(size) bytes"
        // Some SDKs write the type last; an id this worker is executing tells as much.
        let pending =
            message.type == .invokeFunction ? nil : message.invocationID.flatMap { worker.invocations.removeValue(forKey: $0) }
        counters.payloadsTooLarge &+= 1
        logger.warning(
            .messageTooLarge, "a message is too large: the connection of its worker is closed with 1009",
            metadata: [
                "worker": .string(worker.id.text), "name": .string(worker.displayName),
                "function": .string(Self.short(pending?.function.key.id ?? message.functionID ?? "")), "size": .string(length),
                "limit": "\(limit)", "calls_lost": "\(worker.invocations.count)", "cure": "use channels for larger payloads",
            ])
        let text = "is \(length); the limit is \(limit) (max_message_bytes). Use channels for larger payloads"
        if let pending { return fail(pending, InvocationError(.payloadTooLarge, "The result of \(pending.function.key.id) \(text)")) }
        guard message.type == .invokeFunction, let id = message.invocationID else { return }
        counters.invocationsFailed &+= 1
        sendError(
            to: worker, id, function: JSONText.string(message.functionID ?? ""),
            InvocationError(.payloadTooLarge, "The message \(text)"), traceContext: [])
    }

    /// A worker that ended its connection because a message of ours was too large for its SDK.
    func explainEnd(of connection: WorkerConnection) {
        guard connection.peerCloseCode == WebSocketCloseCode.messageTooBig.rawValue else { return }
        let worker = connection.worker
        logger.warning(
            .messageTooLarge, "a worker ended its connection: a message was too large for its SDK (1009)",
            metadata: [
                "worker": .string(worker.id.text), "name": .string(worker.displayName), "runtime": .string(worker.metadata.runtime ?? ""),
                "version": .string(worker.metadata.version ?? ""), "calls_lost": "\(worker.invocations.count)",
                "cure": "a newer SDK, or channels for larger payloads",
            ])
    }

    /// As much of a peer's text as a log line takes.
    static func short(_ text: String) -> String { text.utf8.count <= 200 ? text : text.prefix(200) + "…" }
}
