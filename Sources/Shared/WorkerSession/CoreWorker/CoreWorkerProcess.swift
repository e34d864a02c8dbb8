import Glibc
import IIIProtocol
import IIISettings
import IIITelemetry
import Logging
import NIOCore

/// The life of a core worker's process: connect, hello, the four steps, ready, serve, drain, end (docs/reference/core-workers.md).
///
/// Ends when told by SIGTERM or SIGINT (0, after a drain), when the core's lifeline closes (0, at once), on unusable
/// configuration (78), when a start step fails (1), or, where no supervisor of ours restarts it, because a changed configuration
/// needs a new process (75, after a drain).
public enum CoreWorkerProcess {
    /// Exit code for a configuration that only a person can mend (`EX_CONFIG`); the supervisor does not restart it.
    public static let configurationExitCode: Int32 = ExitStatus.configuration.rawValue
    /// Exit code for "start me again": a changed configuration needs another process (`EX_TEMPFAIL`).
    public static let restartExitCode: Int32 = ExitStatus.restartWanted.rawValue
    /// Grace for a drain that only SIGTERM asked for.
    static let drainGrace = TimeAmount.seconds(8)
    /// Grace for closing what is open, after the link has ended.
    static let endGrace = TimeAmount.milliseconds(2500)

    /// The whole `main` of a core worker's executable: logging as the engine wants it, then `run`, whose exit code ends the process.
    ///
    /// With the argument `--check-configuration` it reads a `config` as JSON from standard input instead, and ends with 0 if it would
    /// be accepted, else with 78. On standard output it says which keys are secret, or what is wrong: one line each
    /// (docs/reference/configuration.md#core-workers-of-your-own).
    public static func main<W: CoreWorker>(_ type: W.Type) -> Never {
        if CommandLine.arguments.contains("--check-configuration") { exit(checkConfiguration(type)) }
        TelemetryLog.bootstrapFromEnvironment()
        exit(run(type))
    }

    private static func checkConfiguration<W: CoreWorker>(_ type: W.Type) -> Int32 {
        do {
            let config = try JSONValue(parsing: readStandardInput())
            _ = try W.configuration(from: config)
            for path in W.settings.secretPaths(in: config) { print(path) }
            return 0
        } catch let error as InvalidSettings {
            for problem in error.problems { print(problem.message) }
        } catch {
            print("\(error)")
        }
        return configurationExitCode
    }

    /// What no configuration exceeds; the rest is not read.
    private static let maximumConfiguration = 16 << 20

    private static func readStandardInput() -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while bytes.count < maximumConfiguration {
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer.prefix(count)
        }
        return bytes
    }

    /// Runs `type` until it ends; returns the exit code. `engineURL` and `name` default to `III_URL` and `III_ENTRY_NAME`,
    /// which the core sets; `III_WORKER_NAME`, the variable of ordinary workers, is not looked at.
    public static func run<W: CoreWorker>(_ type: W.Type, engineURL: String? = nil, name: String? = nil) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        let name = name ?? environmentValue("III_ENTRY_NAME") ?? "iii-\(W.role)"
        var logger = Logger(label: name)
        if let level = environmentValue("III_LOG_LEVEL").flatMap(Logger.Level.init(rawValue:)) { logger.logLevel = level }
        do {
            var options: WorkerOptions
            if let engineURL {
                options = WorkerOptions(url: try WebSocketURL(engineURL), name: name)
            } else {
                options = try WorkerOptions(name: name)
            }
            options.reportsMetadata = false
            options.reconnectDelay = .milliseconds(100)
            options.maximumReconnectDelay = .seconds(5)
            // Before the secret is in memory.
            try ProcessProtection.begin()
            options.headers = [("x-iii-builtin-token", try BuiltinSecret.read()), ("x-iii-builtin-name", options.name)]
            let process = CoreWorkerRun<W>(options: options, logger: logger)
            return process.waitForEnd()
        } catch {
            logger.error(.configurationInvalid, "cannot start", metadata: ["error": "\(error)"])
            return configurationExitCode
        }
    }
}

/// First line of a small text file, without its line end.
package func readSmallFile(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var buffer = [CChar](repeating: 0, count: 4096)
    guard fgets(&buffer, Int32(buffer.count), file) != nil else { return nil }
    let text = buffer.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    return text.split(whereSeparator: \.isNewline).first.map(String.init)
}
