import Glibc
import IIIProtocol

/// One client of the control socket; see `ControlServer` for the limits. Belongs to the supervisor's thread.
package final class ControlConnection {
    private let descriptor: Int32
    private let loop: EventLoop
    private var tag: UInt64 = 0
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var isOpen = true
    /// Lines of an answer that go out as the client takes them.
    private var streamed: ArraySlice<JSONValue> = []
    var onRequest: (([UInt8], ControlConnection) -> Void)?
    var onEnd: ((ControlConnection) -> Void)?
    /// Called once when the client is gone; a log follower unsubscribes here.
    package var onClose: (() -> Void)?

    init(descriptor: Int32, loop: EventLoop) {
        self.descriptor = descriptor
        self.loop = loop
        tag = loop.add(descriptor, .read) { [weak self] readable, writable in
            if writable { self?.flush() }
            if readable { self?.receive() }
        }
    }

    /// The last line of an answer: `{"done":true,"ok":true,"result":…}` or `{"done":true,"ok":false,"error":{…}}`.
    package func finish(_ result: Result<JSONValue, FleetError>) { send(Self.end(result)) }

    private static func end(_ result: Result<JSONValue, FleetError>) -> JSONValue {
        switch result {
        case .success(let value): ["done": true, "ok": true, "result": value]
        case .failure(let error):
            [
                "done": true, "ok": false,
                "error": ["code": .string(error.code), "message": .string(error.message), "exit_code": .integer(Int64(error.exitCode))],
            ]
        }
    }

    /// Sends a long answer as fast as the client takes it, then its end. One at a time.
    package func stream(_ lines: [JSONValue]) {
        guard streamed.isEmpty else { return finish(.failure(.invalid("an answer is still being sent"))) }
        streamed = lines[...] + [Self.end(.success(.null))]
        flush()
    }

    package func send(_ value: JSONValue) {
        guard isOpen else { return }
        output += value.bytes + [UInt8(ascii: "\n")]
        if output.count > ControlServer.maximumUnread { end() } else { flush() }
    }

    func end() {
        guard isOpen else { return }
        flushOnce()
        isOpen = false
        loop.remove(tag)
        close(descriptor)
        onClose?()
        onEnd?(self)
        onRequest = nil
        onEnd = nil
        onClose = nil
    }

    private func receive() {
        guard isOpen else { return }
        var buffer = [UInt8](repeating: 0, count: 16384)
        let count = read(descriptor, &buffer, buffer.count)
        if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) { return end() }
        guard count > 0 else { return }
        input += buffer.prefix(count)
        while isOpen, let newline = input.firstIndex(of: UInt8(ascii: "\n")) {
            let line = Array(input[..<newline])
            input.removeFirst(newline + 1)
            onRequest?(line, self)
        }
        if isOpen, input.count > ControlServer.maximumLine {
            finish(.failure(.invalid("a request line may have \(ControlServer.maximumLine) bytes at most")))
            end()
        }
    }

    private func flush() {
        guard isOpen else { return }
        flushOnce()
        while output.isEmpty, let line = streamed.popFirst() {
            output += line.bytes + [UInt8(ascii: "\n")]
            flushOnce()
        }
        loop.modify(tag, output.isEmpty ? .read : .both)
    }

    private func flushOnce() {
        while !output.isEmpty {
            let count = Glibc.send(descriptor, output, output.count, Int32(MSG_NOSIGNAL))
            guard count > 0 else { return }
            output.removeFirst(count)
        }
    }
}
