import Glibc

/// A `redis-server` of one test, on a free port of 127.0.0.1 and in a directory of its own; both are gone with the object.
public final class TemporaryRedisServer: @unchecked Sendable {
    /// On 127.0.0.1.
    public let port: Int
    /// Data and log; removed when the server is let go.
    public let directory: String
    private let arguments: [String]
    private var process: pid_t = 0

    /// `arguments`: settings as on the command line, e.g. `["--appendonly", "yes"]`. Returns once it answers.
    public init(_ arguments: [String] = []) throws {
        self.arguments = arguments
        port = try TemporaryProcess.freePorts(1)[0]
        directory = try TemporaryProcess.makeDirectory("redis")
        try start()
    }

    deinit {
        kill()
        TemporaryProcess.removeTree(directory)
    }

    /// For clients.
    public var url: String { "redis://127.0.0.1:\(port)" }

    /// Starts it (again), with the data it had, and waits until it takes connections.
    public func start() throws {
        let output = directory + "/log"
        process = try TemporaryProcess.spawn(
            ["redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--dir", directory, "--save", ""] + arguments,
            environment: ["PATH=/usr/local/bin:/usr/bin:/bin"], output: output)
        try TemporaryProcess.waitUntilListening(port, process, seconds: 30, log: output)
    }

    /// As `kill -9`.
    public func kill() {
        guard process > 0 else { return }
        TemporaryProcess.killGroup(process)
        process = 0
    }

    /// Stands still, connections and all, until `resume`.
    public func pause() { Glibc.kill(process, SIGSTOP) }
    /// After `pause`.
    public func resume() { Glibc.kill(process, SIGCONT) }
}
