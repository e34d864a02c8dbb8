import FoundationEssentials
import Glibc
import Synchronization

/// A server of one test: a child in a process group of its own, with free ports of 127.0.0.1 and a private directory.
enum TemporaryProcess {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private struct Left {
        var processes: Set<pid_t> = []
        var directories: Set<String> = []
    }

    /// What has not been ended or removed yet. A server that a test suite keeps for all its tests is let go by nobody: it ends with this process.
    private static let left = Mutex(Left())
    private static let endsAtExit: Void = { atexit { TemporaryProcess.endAll() } }()

    private static func endAll() {
        let all = left.withLock { $0 }
        for process in all.processes { killGroup(process) }
        for directory in all.directories { removeTree(directory) }
    }

    /// Different ports that nobody listens on. Below 55 000, because some servers also use what is 10 000 above.
    static func freePorts(_ count: Int) throws -> [Int] {
        var ports: [Int] = []
        var open: [CInt] = []
        defer { for descriptor in open { close(descriptor) } }
        for _ in 0..<1000 where ports.count < count {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            guard descriptor >= 0 else { break }
            open.append(descriptor)
            var address = loopback(port: 0)
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
                }
            }
            let port = Int(UInt16(bigEndian: address.sin_port))
            if isBound, port < 55_000 { ports.append(port) }
        }
        guard ports.count == count else { throw Failure(description: "no free port: \(String(cString: strerror(errno)))") }
        return ports
    }

    static func makeDirectory(_ name: String) throws -> String {
        var template = Array("/tmp/iii-\(name)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "no directory: \(String(cString: strerror(errno)))") }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        _ = endsAtExit
        left.withLock { _ = $0.directories.insert(directory) }
        return directory
    }

    static func removeTree(_ directory: String) {
        left.withLock { _ = $0.directories.remove(directory) }
        try? FileManager.default.removeItem(atPath: directory)
    }

    /// Starts `words` with exactly `environment` and its output in the file `output`.
    static func spawn(_ words: [String], environment: [String], output: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var process: pid_t = 0
        let result = posix_spawnp(&process, words[0], &actions, &attributes, &arguments, &variables)
        guard result == 0 else { throw Failure(description: "\(words[0]) cannot be started: \(String(cString: strerror(result)))") }
        _ = endsAtExit
        left.withLock { _ = $0.processes.insert(process) }
        return process
    }

    /// Returns when something takes connections on `port`; throws when `process` ends before, or does not get there.
    static func waitUntilListening(_ port: Int, _ process: pid_t, seconds: Int, log: String) throws {
        for _ in 0..<(seconds * 20) {
            if answers(port) { return }
            guard waitpid(process, nil, WNOHANG) == 0 else {
                throw Failure(description: "the server for port \(port) has ended at once; see \(log)")
            }
            usleep(50_000)
        }
        killGroup(process)
        throw Failure(description: "port \(port) does not answer; see \(log)")
    }

    /// As `kill -9`, of the process and everything it has started. Nothing takes connections on `port` any more afterwards: of
    /// children's children only that tells that they are gone.
    static func killGroup(_ process: pid_t, port: Int? = nil) {
        kill(-process, SIGKILL)
        kill(-process, SIGCONT)
        waitpid(process, nil, 0)
        left.withLock { _ = $0.processes.remove(process) }
        for _ in 0..<1_000 {
            guard let port, answers(port) else { return }
            usleep(10_000)
        }
    }

    private static func answers(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = loopback(port: port)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    private static func loopback(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}
