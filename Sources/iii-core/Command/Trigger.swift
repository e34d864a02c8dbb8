import ArgumentParser
import Glibc
import IIIProtocol
import IIISupervision
import IIIWorker
import Logging
import NIOCore
import NIOPosix

/// `iii-core trigger`: one call from the command line, in the form of 0.11 and in that of 0.12.
struct Trigger: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Calls a function and prints its result.",
        discussion: "Pairs are JSON where they parse and text where not. --payload and --json take a value, @FILE, or - for stdin.",
        aliases: ["t"])

    @Argument(help: "Function id.") var function: String?
    @Argument(help: "KEY=VALUE …") var pairs: [String] = []
    @Option(help: "Function id (the form of 0.11).") var functionId: String?
    @Option(name: [.customLong("payload"), .customLong("json")], help: "JSON payload.") var payload: String?
    @Option(help: "Host of the engine.") var address = "localhost"
    @Option(help: "Worker port of the engine.") var port = 49134
    @Option(help: "Limit in milliseconds.") var timeoutMs = 30000
    @Flag(help: "Do not wait for a result.") var void = false
    @Option(help: "Put the call into this queue; prints the receipt.") var enqueue: String?
    @Flag(help: "Compact JSON.") var raw = false

    func validate() throws {
        guard function != nil || functionId != nil else {
            throw ValidationError("missing FUNCTION_PATH. Try: `iii-core trigger <fn-path> [args]`")
        }
        guard timeoutMs > 0, (1...65535).contains(port) else { throw ValidationError("--timeout-ms must be above 0 and --port 1-65535") }
        guard !address.contains("/") else {
            throw ValidationError("--address takes a host alone, such as 127.0.0.1, not '\(address)'; the port goes into --port")
        }
        guard !(void && enqueue != nil) else { throw ValidationError("--void and --enqueue exclude each other") }
    }

    func run() async throws {
        // With --function-id every positional word is a pair.
        let words = functionId == nil ? pairs : [function].compactMap { $0 } + pairs
        let input = try input(words)
        var options = WorkerOptions(url: WebSocketURL(host: address, port: port), name: "iii-cli:trigger")
        options.connectTimeout = .milliseconds(Int64(timeoutMs))
        let call = SingleCall(options: options, function: functionId ?? function ?? "", payload: input, action: action)
        switch await call.perform(timeout: .milliseconds(Int64(timeoutMs))) {
        case .success(let result):
            if let result, !result.isNull { print(raw ? result.text : result.pretty()) }
        case .failure(.unreachable(let cause)): throw fail("WebSocket error: \(cause)")
        case .failure(.timeout):
            throw fail(
                "Timed out waiting for the engine (no response within the timeout). Is the engine running at the given address and port?")
        case .failure(.function(let error)): throw fail(error.json.pretty())
        }
    }

    private var action: CallAction {
        if void { return .void }
        return enqueue.map { .enqueue(queue: $0) } ?? .synchronous
    }

    private func fail(_ message: String) -> ExitCode {
        ControlCommands.write("Error: \(message)", to: 2)
        return ExitCode(1)
    }

    private func input(_ words: [String]) throws -> JSONValue {
        var value: JSONValue = [:]
        if let payload {
            do { value = try JSONValue(parsing: try Self.text(of: payload)) } catch { throw fail("Invalid JSON payload: \(error)") }
        }
        guard !words.isEmpty else { return value }
        guard case .object(var members) = value else { throw fail("Invalid JSON payload: with KEY=VALUE pairs it must be an object") }
        for word in words {
            guard let split = word.firstIndex(of: "=") else { throw fail("'\(word)' is not KEY=VALUE") }
            let text = String(word[word.index(after: split)...])
            members[String(word[..<split])] = (try? JSONValue(parsing: text)) ?? .string(text)
        }
        return .object(members)
    }

    private static func text(of argument: String) throws -> String {
        guard argument == "-" || argument.hasPrefix("@") else { return argument }
        let descriptor = argument == "-" ? 0 : open(String(argument.dropFirst()), O_RDONLY)
        guard descriptor >= 0 else {
            throw ConfigurationError("'\(argument.dropFirst())' cannot be read: \(String(cString: strerror(errno)))")
        }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while case let count = read(descriptor, &chunk, chunk.count), count > 0 { bytes += chunk[..<count] }
        if descriptor != 0 { close(descriptor) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Connects, makes one call, disconnects. Unlike a worker it gives up when the engine cannot be reached.
private struct SingleCall: Sendable {
    enum Failure: Error {
        case unreachable(String)
        case timeout
        case function(InvocationError)
    }

    let options: WorkerOptions
    let function: String
    let payload: JSONValue
    let action: CallAction

    /// What stands against reaching the engine, for people.
    private static func reason(_ error: any Error, _ url: WebSocketURL) -> String {
        let place = "\(url.host):\(url.port)"
        let cure = "start one with `iii-core up`, or name the right one with --address and --port"
        switch error {
        case let error as NIOConnectionError:
            guard let failure = error.connectionErrors.last else { return "the host \(url.host) is not known; \(cure)" }
            let text = (failure.error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(failure.error)"
            return "no engine at \(place) (\(text)); \(cure)"
        case let error as IOError: return "no engine at \(place) (\(String(cString: strerror(error.errnoCode)))); \(cure)"
        case ChannelError.connectTimeout: return "no answer from \(place); \(cure)"
        default: return "\(error)"
        }
    }

    func perform(timeout: TimeAmount) async -> Result<JSONValue?, Failure> {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        var quiet = Logger(label: "trigger")
        quiet.logLevel = .critical
        let logger = quiet
        let promise = loop.makePromise(of: Result<JSONValue?, Failure>.self)
        let hasLeft = loop.makePromise(of: Void.self)
        loop.execute {
            let link = WorkerLink(options: options, on: loop, logger: logger)
            link.onConnectFailure = { promise.succeed(.failure(.unreachable(Self.reason($0, options.url)))) }
            link.onReady = {
                link.call(FunctionID(own: function), action: action, writeData: { $0.writeBytes(payload.bytes) }) { outcome in
                    switch outcome {
                    case .result(let bytes): promise.succeed(.success(bytes.flatMap { try? JSONValue(parsing: $0) }))
                    case .failure(let error): promise.succeed(.failure(.function(error)))
                    }
                }
            }
            link.start()
            let bound = NIOLoopBound(link, eventLoop: loop)
            let deadline = loop.scheduleTask(in: timeout) { promise.succeed(.failure(.timeout)) }
            promise.futureResult.whenComplete { _ in
                deadline.cancel()
                bound.value.stop { hasLeft.succeed(()) }
            }
        }
        let outcome = (try? await promise.futureResult.get()) ?? .failure(.timeout)
        // The process ends next: what nobody waits for must be with the engine by then.
        try? await hasLeft.futureResult.get()
        return outcome
    }
}
