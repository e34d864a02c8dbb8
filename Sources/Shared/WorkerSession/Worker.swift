@preconcurrency import Dispatch
import FoundationEssentials
import Glibc
import IIIProtocol
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
///     let worker = try Worker()
///     worker.function("hello::greet") { (input: Greeting) in
///         ["greeting": "Hello, \(input.name)!"]
///     }
///     worker.trigger(type: "http", function: "hello::greet", config: ["api_path": "/greet", "http_method": "POST"])
///     try await worker.run()
///
/// Registrations may be made before or after connecting and survive every reconnect (1, 2, 4, 8 … 30 s, ± 30 %). Calls made
/// while offline wait for the connection up to their timeout. Handlers run as Swift tasks, concurrently. An error that a
/// handler throws reaches the caller as `invocation_failed`, or with its own code if it is an `InvocationError`.
public final class Worker: Sendable {
    /// The trace context of the call that the current task serves; calls made inside a handler carry it on.
    @TaskLocal static var trace: (traceparent: String?, baggage: String?) = (nil, nil)

    public let options: WorkerOptions
    private let loop: any EventLoop
    private let link: WorkerLink
    private let logger: Logger

    /// Reads address and name from the environment: see `WorkerOptions`.
    public convenience init(name: String? = nil) throws {
        self.init(options: try WorkerOptions(name: name))
    }

    public init(options: WorkerOptions, logger: Logger = Logger(label: "iii-worker")) {
        self.options = options
        self.logger = logger
        loop = MultiThreadedEventLoopGroup.singleton.next()
        link = WorkerLink(options: options, on: loop, logger: logger)
    }

    // MARK: Offering

    /// Offers a function whose input and output are `Codable`.
    public func function<Input: Decodable & Sendable, Output: Encodable & Sendable>(
        _ id: String, description: String? = nil, metadata: JSONValue? = nil, _ handler: @escaping @Sendable (Input) async throws -> Output
    ) {
        rawFunction(id, description: description, metadata: metadata) { payload in
            let input: Input
            do {
                input = try JSONDecoder().decode(Input.self, from: Data(payload))
            } catch {
                throw InvocationError(.deserializationError, "Failed to deserialize input for \(id): \(error)")
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
        onLoop { link in
            link.registerFunction(id, description: description, metadata: metadata) { call in
                let payload = call.payload
                let context = (call.traceparent, call.baggage)
                let answer = NIOLoopBound(call, eventLoop: link.eventLoop)
                let loop = link.eventLoop
                Task {
                    do {
                        let result = try await Self.$trace.withValue(context) { try await handler(payload) }
                        loop.execute { answer.value.reply(raw: result) }
                    } catch let error as InvocationError {
                        loop.execute { answer.value.fail(error) }
                    } catch {
                        let failure = InvocationError(.invocationFailed, "\(error)")
                        loop.execute { answer.value.fail(failure) }
                    }
                }
            }
        }
    }

    /// Offers a function that answers at once: it runs on the worker's event loop, without a task and without a change of thread,
    /// which makes it the cheapest kind. It must neither block nor compute for long: meanwhile this worker does nothing else.
    public func function(
        _ id: String, description: String? = nil, metadata: JSONValue? = nil,
        immediate handler: @escaping @Sendable (JSONValue) throws -> JSONValue?
    ) {
        onLoop { link in
            link.registerFunction(id, description: description, metadata: metadata) { call in
                do {
                    call.reply(raw: try handler(call.data)?.bytes)
                } catch let error as InvocationError {
                    call.fail(error)
                } catch {
                    call.fail(InvocationError(.invocationFailed, "\(error)"))
                }
            }
        }
    }

    public func unregisterFunction(_ id: String) { onLoop { $0.unregisterFunction(id) } }

    /// Offers a kind of event. `register` throws to refuse a trigger; both run on the worker's event loop and must not block.
    public func triggerType(
        _ type: TriggerTypeDeclaration, register: @escaping @Sendable (TriggerBinding) throws(InvocationError) -> Void,
        unregister: @escaping @Sendable (_ triggerID: String) -> Void
    ) {
        onLoop { $0.registerTriggerType(type, register: register, unregister: unregister) }
    }

    /// Binds a function to a kind of event; the returned id takes it back.
    @discardableResult
    public func trigger(type: String, function: String, config: JSONValue = [:], metadata: JSONValue? = nil) -> String {
        let id = UUIDBits.random().text
        onLoop { $0.registerTrigger(type: type, function: function, config: config, metadata: metadata, id: id) }
        return id
    }

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
        let context = Self.trace
        return try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<[UInt8]?, any Error>) in
            onLoop { link in
                link.whenConnected(within: limit) { isConnected in
                    guard isConnected else {
                        return continuation.resume(
                            throwing: InvocationError(.timeout, "The engine at \(link.options.url) was not reached in time"))
                    }
                    link.call(
                        function, action: action, traceparent: context.traceparent, baggage: context.baggage, timeout: deadline - .now(),
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

    // MARK: Running

    /// Starts connecting in the background.
    public func connect() { onLoop { $0.start() } }

    /// Connects and serves until SIGTERM, SIGINT or `shutDown`, then finishes running handlers (at most 10 s) and returns.
    public func run() async throws {
        connect()
        let signals = AsyncStream<Void> { continuation in
            let sources = [SIGTERM, SIGINT].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler { continuation.yield() }
                source.resume()
                return source
            }
            continuation.onTermination = { _ in sources.forEach { $0.cancel() } }
        }
        for await _ in signals { break }
        await shutDown()
    }

    /// Takes the functions back so that no new call comes, waits for running handlers, and closes the link.
    public func shutDown(deadline: Duration = .seconds(10)) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            onLoop { link in
                let once = Once { link.stop { continuation.resume() } }
                link.withdrawFunctions()
                link.whenIdle { once.run() }
                let bound = NIOLoopBound(once, eventLoop: link.eventLoop)
                link.eventLoop.scheduleTask(in: TimeAmount(deadline)) { bound.value.run() }
            }
        }
    }

    /// Runs `work` on the loop and waits for what it promises.
    func onLink<T: Sendable>(_ work: @escaping @Sendable (WorkerLink, EventLoopPromise<T>) -> Void) async throws -> T {
        let promise = loop.makePromise(of: T.self)
        onLoop { work($0, promise) }
        return try await promise.futureResult.get()
    }

    private func onLoop(_ work: @escaping @Sendable (WorkerLink) -> Void) {
        let link = link
        if loop.inEventLoop { work(link) } else { loop.execute { work(link) } }
    }
}

/// Runs its work at most once. Confined to a loop.
private final class Once {
    private var work: (() -> Void)?
    init(_ work: @escaping () -> Void) { self.work = work }
    func run() {
        let work = self.work
        self.work = nil
        work?()
    }
}

extension WorkerLink {
    /// Tells the engine to send no more calls; handlers stay, for those already on their way.
    func withdrawFunctions() {
        for id in registeredFunctionIDs { withdrawFunction(id) }
    }
}
