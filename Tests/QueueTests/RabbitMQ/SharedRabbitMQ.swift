import Glibc
import IIITestSupport
import NIOPosix
import Synchronization

/// One broker for all tests of a process: it takes seconds to start. Each test uses names of its own on it.
enum SharedRabbitMQ {
    private static let running = Mutex<TemporaryRabbitMQServer?>(nil)

    /// Starts it for the first that asks; blocks meanwhile.
    static func server() throws -> TemporaryRabbitMQServer {
        try running.withLock { running in
            if let running { return running }
            let server = try TemporaryRabbitMQServer()
            // Nobody lets go of what is static.
            atexit { SharedRabbitMQ.running.withLock { $0 = nil } }
            running = server
            return server
        }
    }

    /// The same for tasks, whose threads are few.
    static func start() async throws -> TemporaryRabbitMQServer {
        try await NIOThreadPool.singleton.runIfActive { try server() }
    }

    /// A prefix that nobody else has.
    static func prefix() -> String { "t\(UInt32.random(in: .min ... .max))" }
}
