import Glibc

/// A `redis-server` of one test, on a free port of 127.0.0.1 and in a directory of its own; both are gone with the object.
public final class TemporaryRedisServer: @unchecked Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public let port: Int
    public let directory: String
    private let arguments: [String]
    private var process: pid_t = 0

    /// `arguments`: settings as on the command line, e.g. `["--appendonly", "yes"]`. Returns once it answers.
    public init(_ arguments: [String] = []) throws {
        self.arguments = arguments
        port = try Self.freePort()
        var template = Array("/tmp/iii-redis-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Failure(description: "no directory: \(String(cString: strerror(errno)))") }
        directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try start()
    }

    deinit {
        kill()
        for name in Self.names(in: directory) { unlink(directory + "/" + name) }
        for name in Self.names(in: directory + "/appendonlydir") { unlink(directory + "/appendonlydir/" + name) }
        rmdir(directory + "/appendonlydir")
        rmdir(directory)
    }

    public var url: String { "redis://127.0.0.1:\(port)" }

    /// Starts it (again), with the data it had, and waits until it takes connections.
    public func start() throws {
        let words =
            ["redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory, "--logfile", directory + "/log", "--save", ""]
            + arguments
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        let result = posix_spawnp(&process, "redis-server", nil, nil, &pointers, environ)
        guard result == 0 else { throw Failure(description: "redis-server cannot be started: \(String(cString: strerror(result)))") }
        for _ in 0..<600 {
            if Self.answers(port) { return }
            guard waitpid(process, nil, WNOHANG) == 0 else {
                process = 0
                throw Failure(description: "redis-server on port \(port) has ended at once; see \(directory)/log")
            }
            usleep(50_000)
        }
        throw Failure(description: "redis-server on port \(port) does not answer")
    }

    /// As `kill -9`.
    public func kill() {
        guard process > 0 else { return }
        Glibc.kill(process, SIGKILL)
        Glibc.kill(process, SIGCONT)
        waitpid(process, nil, 0)
        process = 0
    }

    /// Stands still, connections and all, until `resume`.
    public func pause() { Glibc.kill(process, SIGSTOP) }
    public func resume() { Glibc.kill(process, SIGCONT) }

    private static func freePort() throws -> Int {
        for _ in 0..<1000 {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                    bind(descriptor, generic, length) == 0 && getsockname(descriptor, generic, &length) == 0
                }
            }
            let port = Int(UInt16(bigEndian: address.sin_port))
            // A cluster's bus is 10,000 above.
            if isBound, port < 55_000 { return port }
        }
        throw Failure(description: "no free port: \(String(cString: strerror(errno)))")
    }

    private static func answers(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    private static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != "..", name != "appendonlydir" { names.append(name) }
        }
        return names
    }
}
