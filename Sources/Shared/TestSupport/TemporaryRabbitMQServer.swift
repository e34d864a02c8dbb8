import Glibc

/// A `rabbitmq-server` of one test: a node of its own on free ports of 127.0.0.1, with its data in a directory of its own; all are
/// gone with the object. It takes some seconds to start.
public final class TemporaryRabbitMQServer: @unchecked Sendable {
    private static let programs = "/usr/lib/rabbitmq/bin"

    /// On 127.0.0.1.
    public let port: Int
    /// Data and log; removed when the server is let go.
    public let directory: String
    private let environment: [String]
    /// Where Erlang nodes find each other; one of its own, because the machine's would outlive the test.
    private let portMapper: pid_t
    private var process: pid_t = 0

    /// Returns once it takes connections.
    public init() throws {
        let ports = try TemporaryProcess.freePorts(3)
        port = ports[0]
        directory = try TemporaryProcess.makeDirectory("rabbitmq")
        let path = "\(Self.programs):/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = [
            "PATH=\(path)", "HOME=\(directory)", "ERL_EPMD_PORT=\(ports[2])", "ERL_EPMD_ADDRESS=127.0.0.1",
            "RABBITMQ_NODENAME=test\(ports[0])@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT=\(ports[0])",
            "RABBITMQ_DIST_PORT=\(ports[1])", "RABBITMQ_MNESIA_BASE=\(directory)/data", "RABBITMQ_LOG_BASE=\(directory)/log",
            "RABBITMQ_PID_FILE=\(directory)/pid", "RABBITMQ_ENABLED_PLUGINS_FILE=\(directory)/plugins",
            "RABBITMQ_CONFIG_FILE=\(directory)/none", "RABBITMQ_CONF_ENV_FILE=\(directory)/none",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
        ]
        portMapper = try TemporaryProcess.spawn(
            ["epmd", "-port", "\(ports[2])", "-address", "127.0.0.1"], environment: environment, output: directory + "/epmd")
        try start()
    }

    deinit {
        kill()
        TemporaryProcess.killGroup(portMapper)
        TemporaryProcess.removeTree(directory)
    }

    /// For clients.
    public var url: String { "amqp://guest:guest@127.0.0.1:\(port)" }

    /// Starts it (again), with the data it had, and waits until it takes connections.
    public func start() throws {
        let output = directory + "/output"
        process = try TemporaryProcess.spawn([Self.programs + "/rabbitmq-server"], environment: environment, output: output)
        try TemporaryProcess.waitUntilListening(port, process, seconds: 120, log: output)
    }

    /// As `kill -9`, of the node and everything it has started.
    public func kill() {
        guard process > 0 else { return }
        TemporaryProcess.killGroup(process, port: port)
        process = 0
    }

    /// Stands still, connections and all, until `resume`.
    public func pause() { Glibc.kill(-process, SIGSTOP) }
    /// After `pause`.
    public func resume() { Glibc.kill(-process, SIGCONT) }
}
