import FoundationEssentials
import IIIProtocol
import IIITelemetry
import IIITransport
import Logging
import NIOCore
import NIOPosix

/// A worker: a process that offers functions to the engine and calls others.
///
///     import IIIWorker
///
///     struct Greeting: Decodable, Sendable { var name: String }
///
///     await WorkerClient.main { worker in
///         worker.function("hello::greet") { (input: Greeting) in
///             ["greeting": "Hello, \(input.name)!"]
///         }
///         worker.trigger(type: "http", function: "hello::greet", config: ["api_path": "/greet", "http_method": "POST"])
///     }
///
/// Registrations may be made before or after connecting and survive every reconnect (1, 2, 4, 8 … 30 s, ± 30 %). Calls made
/// while offline wait for the connection up to their timeout. Handlers run as Swift tasks, concurrently. An error that a
/// handler throws reaches the caller as `invocation_failed`, or with its own code if it is an `InvocationError`. It is a `Service` of
/// swift-service-lifecycle, for programs that run several.
///
/// (The engine's own `Worker` is its side of the connection this class opens.)
public final class WorkerClient: Sendable {
    /// As it was made with.
    public let options: WorkerOptions
    /// Spans and metrics of this worker. Handlers are recorded and metrics sent by themselves; two lines let swift-metrics and
    /// swift-distributed-tracing write here too:
    ///
    ///     MetricsSystem.bootstrap(worker.telemetry.metricsFactory)
    ///     InstrumentationSystem.bootstrap(worker.telemetry.tracer)
    public let telemetry: Telemetry
    private let loop: any EventLoop
    private let link: WorkerLink
    let logger: Logger
    /// Ends `run`.
    let endings = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(1))

    /// Reads address and name from the environment: see `WorkerOptions`.
    public convenience init(name: String? = nil) throws {
        self.init(options: try WorkerOptions(name: name))
    }

    /// Connects to nothing yet: `run` or `connect` does.
    public init(options: WorkerOptions, logger: Logger = Logger(label: "iii-worker")) {
        self.options = options
        self.logger = logger
        loop = MultiThreadedEventLoopGroup.singleton.next()
        link = WorkerLink(options: options, on: loop, logger: logger)
        telemetry = Telemetry(resource: options.resource, sampler: options.sampler)
    }

    // MARK: Offering

    /// Offers a function whose input and output are `Codable`. Input that does not fit `Input` is the caller's mistake: it fails with
    /// `INVALID_ARGUMENTS`, naming the member, and the handler does not run.
    public func function<Input: Decodable & Sendable, Output: Encodable & Sendable>(
        _ id: String, description: String? = nil, metadata: JSONValue? = nil, _ handler: @escaping @Sendable (Input) async throws -> Output
    ) {
        rawFunction(id, description: description, metadata: metadata) { payload in
            let input: Input
            do {
                input = try JSONDecoder().decode(Input.self, from: Data(payload))
            } catch {
                throw InvocationError(.invalidArguments, "invalid input for \(id): \(DecodingFailure(error))")
            }
            return [UInt8](try JSONEncoder().encode(try await handler(input)))
        }
    }

    /// Offers a function on decoded JSON; returning nil answers without a result.
    public func function(
        _ id: String, description: String? = nil, metadata: JSONValue? = nil,
        json handler: @escaping @Sendable (JSONValue) async throws -> JSONValue?
    ) {
        rawFunction(id, description: description, metadata: metadata) { try await handler(try JSONValue(parsing: $0))?.bytes }
    }

    /// Offers a function on JSON text: the fastest form, nothing is decoded for you.
    public func rawFunction(
        _ id: String, description: String? = nil, metadata: JSONValue? = nil,
        _ handler: @escaping @Sendable ([UInt8]) async throws -> [UInt8]?
    ) {
        onLoop { [telemetry] link in
            link.registerFunction(
                id, description: description, metadata: metadata,
                async: { payload in
                    let span = Self.span(telemetry, id, payload.trace)
                    guard span.isRecording else { return try await handler(payload.bytes) }
                    do {
                        let result = try await span.context.whileCurrent { try await handler(payload.bytes) }
                        span.end(.ok)
                        return result
                    } catch {
                        span.fail(InvocationError(thrown: error))
                        throw error
                    }
                })
        }
    }

    private static func span(_ telemetry: Telemetry, _ id: String, _ parent: TraceContext) -> TraceSpan {
        let span = telemetry.span("execute \(id)", parent: parent)
        span.set("faas.invoked_name", .string(id))
        return span
    }

    /// Offers a function that answers at once: it runs on the worker's event loop, without a task and without a change of thread,
    /// which makes it the cheapest kind. It must neither block nor compute for long: meanwhile this worker does nothing else.
    public func function(
        _ id: String, description: String? = nil, metadata: JSONValue? = nil,
        immediate handler: @escaping @Sendable (JSONValue) throws -> JSONValue?
    ) {
        onLoop { [telemetry] link in
            link.registerFunction(id, description: description, metadata: metadata) { call in
                let span = Self.span(telemetry, id, call.trace)
                do {
                    let result = try handler(call.data)
                    call.reply(raw: result?.bytes)
                    span.end(.ok)
                } catch {
                    let failure = InvocationError(thrown: error)
                    call.fail(failure)
                    span.fail(failure)
                }
            }
        }
    }

    /// Calls of it that are running go on.
    public func unregisterFunction(_ id: String) { onLoop { $0.unregisterFunction(id) } }

    /// Offers a kind of event: see `TriggerProvider` for what is promised about the two closures. `accept` throws to refuse a trigger,
    /// `release` returns whether the binding ends.
    public func triggerType<Value: Sendable>(
        _ type: TriggerTypeDeclaration,
        accept: @escaping @Sendable (TriggerBinding, _ current: Value?) async throws -> Value,
        release: @escaping @Sendable (TriggerBinding, Value, UnregistrationReason) async -> Bool = { _, _, _ in true }
    ) {
        onLoop { link in _ = TriggerProvider(type, on: link, asyncAccept: accept, asyncRelease: release) }
    }

    /// Binds a function to a kind of event; the returned id takes it back.
    @discardableResult
    public func trigger(type: String, function: String, config: JSONValue = [:], metadata: JSONValue? = nil) -> String {
        let id = UUIDBits.random().text
        onLoop { $0.registerTrigger(type: type, function: function, config: config, metadata: metadata, id: id) }
        return id
    }

    /// Takes back a trigger of this worker.
    public func unregisterTrigger(_ id: String) { onLoop { $0.unregisterTrigger(id) } }

    // MARK: Calling

    /// Calls a function and decodes its result.
    public func call<Input: Encodable & Sendable, Output: Decodable>(
        _ function: String, _ input: Input, returning: Output.Type = Output.self, timeout: Duration? = nil
    ) async throws -> Output {
        let payload = [UInt8](try JSONEncoder().encode(input))
        let result = try await send(FunctionID(own: function), .synchronous, payload, timeout)
        return try JSONDecoder().decode(Output.self, from: Data(result ?? Array("null".utf8)))
    }

    /// Calls a function; nil when it returned nothing.
    public func call(_ function: String, json input: JSONValue = [:], timeout: Duration? = nil) async throws -> JSONValue? {
        try await send(FunctionID(own: function), .synchronous, input.bytes, timeout).map { try JSONValue(parsing: $0) }
    }

    /// Starts a function and does not wait: returns when the call has been handed to the connection.
    public func void(_ function: String, json input: JSONValue = [:]) async throws {
        _ = try await send(FunctionID(own: function), .void, input.bytes, nil)
    }

    /// Puts a call into a queue; returns the receipt once the queue has accepted it.
    public func enqueue(_ function: String, json input: JSONValue = [:], queue: String, timeout: Duration? = nil) async throws -> String {
        let result = try await send(FunctionID(own: function), .enqueue(queue: queue), input.bytes, timeout)
        return try result.flatMap { try JSONValue(parsing: $0)["messageReceiptId"]?.string } ?? ""
    }

    private func send(_ function: FunctionID, _ action: CallAction, _ payload: [UInt8], _ timeout: Duration?) async throws -> [UInt8]? {
        let limit = timeout.map { TimeAmount($0) } ?? options.callTimeout
        let deadline = NIODeadline.now() + limit
        let trace = TraceContext.current
        return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<[UInt8]?, any Error>) in
            onLoop { link in
                link.whenConnected(within: limit) { isConnected in
                    guard isConnected else {
                        return continuation.resume(
                            throwing: InvocationError(.timeout, "The engine at \(link.options.url) was not reached in time"))
                    }
                    link.call(
                        function, action: action, trace: trace, timeout: deadline - .now(),
                        writeData: { $0.writeBytes(payload) }
                    ) { outcome in
                        switch outcome {
                        case .result(let bytes): continuation.resume(returning: bytes.map { Array($0) })
                        case .failure(let error): continuation.resume(throwing: error)
                        }
                    }
                }
            }
        }
    }

    /// Runs `work` on the loop and waits for what it promises.
    func onLink<T: Sendable>(_ work: @escaping @Sendable (WorkerLink, EventLoopPromise<T>) -> Void) async throws -> T {
        let promise = loop.makePromise(of: T.self)
        onLoop { work($0, promise) }
        return try await promise.futureResult.get()
    }

    func onLoop(_ work: @escaping @Sendable (WorkerLink) -> Void) {
        let link = link
        if loop.inEventLoop { work(link) } else { loop.execute { work(link) } }
    }
}
