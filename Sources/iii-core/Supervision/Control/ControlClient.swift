import Glibc
import IIIProtocol

/// Talks to a running engine over its control socket; for the command line, so it blocks.
package struct ControlClient: Sendable {
    package let path: String
    /// How long one answer may take; restarts of a whole fleet take a while.
    package var timeout: Duration
    /// What may help when nobody answers.
    package var hint: String?

    package init(path: String, timeout: Duration = .seconds(120), hint: String? = nil) {
        self.path = path
        self.timeout = timeout
        self.hint = hint
    }

    /// Sends one request and returns the result of its last answer line; `line` is called for every line before it.
    package func call(_ request: FleetRequest, line: (JSONValue) -> Void = { _ in }) throws(FleetError) -> JSONValue {
        guard let descriptor = ControlSocketPath.connect(path) else {
            throw .noEngine("no engine answers on \(path): " + (hint ?? "start one with `iii-core up`, or give its port with `--port`"))
        }
        defer { close(descriptor) }
        var isFollowing = false
        if case .logs(_, _, _, true) = request { isFollowing = true }
        if !isFollowing {
            var limit = timeval(tv_sec: Int(timeout.components.seconds), tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        let bytes = request.json.bytes + [UInt8(ascii: "\n")]
        guard send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
            throw .noEngine("the engine on \(path) has closed the connection")
        }
        var input: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { throw .timeout("the engine on \(path) has not answered within \(timeout)") }
            guard count > 0 else { throw .noEngine("the engine on \(path) has closed the connection") }
            input += buffer.prefix(count)
            var start = 0
            while let newline = input[start...].firstIndex(of: UInt8(ascii: "\n")) {
                let answer = try? JSONValue(parsing: Array(input[start..<newline]))
                start = newline + 1
                guard let answer else { continue }
                if answer["done"]?.bool == true { return try Self.result(of: answer) }
                line(answer)
            }
            input.removeFirst(start)
        }
    }

    private static func result(of answer: JSONValue) throws(FleetError) -> JSONValue {
        if answer["ok"]?.bool == true { return answer["result"] ?? .null }
        let error = answer["error"]
        throw FleetError(
            code: error?["code"]?.string ?? "failed", message: error?["message"]?.string ?? "the engine gave no reason",
            exitCode: Int32(truncatingIfNeeded: error?["exit_code"]?.integer ?? 1))
    }
}
