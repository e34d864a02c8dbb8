import CSupervision
import Glibc

/// One run of a program that reads a question from standard input and answers by its output and exit code. Bounded in time and size,
/// whatever the program does; nothing that it started is left when the answer is there.
struct ProgramQuestion {
    struct Answer {
        var code: Int32
        var output: [UInt8]
        /// What it wrote to standard error, for a person: `: …`, or nothing.
        var errors: String
    }

    /// It only reads and judges.
    static let limit = Duration.seconds(10)
    static let maximumBytes = 64 << 10

    /// As the user knows it, for messages.
    let name: String
    let path: String
    let arguments: [String]

    func answer(to question: [UInt8], environment: [String: String]) throws(SpawnError) -> Answer {
        let input = try Self.readable(question)
        defer { close(input) }
        var request = SpawnRequest(path: path, arguments: arguments, environment: environment.map { "\($0.key)=\($0.value)" })
        request.standardInput = input
        request.parentDeathSignal = SIGKILL
        let process = try ProcessSpawner.spawn(request)
        defer { for descriptor in [process.standardOutput, process.standardError, process.pidfd] { close(descriptor) } }
        var reader = Reader(process)
        let end = MonotonicClock.now + Self.limit
        let isInTime = reader.readUntilItEnds(before: end)
        // The process, and whom it left behind. Its pid is its own until it is waited for, so the group cannot be a stranger's.
        kill(-process.pid, SIGKILL)
        var code: Int32 = 0
        var isSignal: Int32 = 0
        while csup_wait(process.pidfd, 0, &code, &isSignal) == 0 { usleep(1000) }
        guard isInTime else { throw SpawnError(description: "gave no answer within \(Self.limit.components.seconds) s") }
        if isSignal != 0 { throw SpawnError(description: "was ended by signal \(code)") }
        let errors = String(decoding: reader.errors, as: UTF8.self).split(whereSeparator: \.isNewline).joined(separator: "; ")
        return Answer(code: code, output: reader.output, errors: errors.isEmpty ? "" : ": \(errors)")
    }

    /// A descriptor that yields `bytes` and then ends, however late it is read.
    private static func readable(_ bytes: [UInt8]) throws(SpawnError) -> Int32 {
        let descriptor = csup_memory_file()
        guard descriptor >= 0 else { throw SpawnError(description: "cannot be asked: \(ProcessSpawner.text(errno))") }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let cause = errno
                close(descriptor)
                throw SpawnError(description: "cannot be asked: \(ProcessSpawner.text(cause))")
            }
            rest = rest.dropFirst(count)
        }
        lseek(descriptor, 0, SEEK_SET)
        return descriptor
    }

    /// Reads both outputs until the process ends. What exceeds the limit is read and dropped, so that a talkative program is not blocked.
    private struct Reader {
        private(set) var output: [UInt8] = []
        private(set) var errors: [UInt8] = []
        private let process: SpawnedProcess
        private var chunk = [UInt8](repeating: 0, count: 16 << 10)

        init(_ process: SpawnedProcess) { self.process = process }

        /// False when it is still running at `end`. Whoever it left behind with its output open is not waited for.
        mutating func readUntilItEnds(before end: Duration) -> Bool {
            while true {
                var watched = [process.standardOutput, process.standardError, process.pidfd].map {
                    pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
                }
                let left = (end - MonotonicClock.now).wholeMilliseconds
                guard left > 0 else { return false }
                guard poll(&watched, 3, Int32(left)) > 0 else { continue }
                let hasEnded = watched[2].revents != 0
                drain()
                if hasEnded { return true }
                // A closed output is readable for ever; the process is still to end.
                if watched[0].revents & Int16(POLLIN) == 0, watched[1].revents & Int16(POLLIN) == 0 { usleep(1000) }
            }
        }

        private mutating func drain() {
            Self.drain(process.standardOutput, &chunk, into: &output)
            Self.drain(process.standardError, &chunk, into: &errors)
        }

        private static func drain(_ descriptor: Int32, _ chunk: inout [UInt8], into bytes: inout [UInt8]) {
            // One pipe's worth at a time: an endless talker must not keep the clock from being looked at.
            for _ in 0..<8 {
                let count = read(descriptor, &chunk, chunk.count)
                guard count > 0 else { return }
                bytes += chunk[..<min(count, max(0, maximumBytes - bytes.count))]
            }
        }
    }
}
