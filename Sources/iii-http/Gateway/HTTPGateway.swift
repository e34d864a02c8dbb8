import IIIProtocol
import IIIServer
import IIISettings
import IIITLS
import IIIWorker
import Logging
import NIOCore

/// The `iii-http` core worker: binds the listener, owns the trigger type `http`, and turns requests into invocations.
///
/// It accepts connections only once the core has replayed all known triggers, so a restart shows no 404 in between, and an older
/// process of its entry has stopped accepting. While
/// the link is down it answers 503 and keeps its routes; what the core does not replay within `replayTime` after a
/// reconnect is removed. On drain it stops accepting, answers what is in flight and then ends (http.md §20.1).
public final class HTTPGateway: CoreWorker {
    public static var role: String { "http" }

    private let core: GatewayCore<WorkerLink>
    private let context: CoreWorkerContext
    private var configuration: Configuration
    private let publisher: OpenAPIPublisher
    private var listener: Server?
    /// A newer process accepts in its place.
    private var hasYielded = false
    private var areRoutesReplayed = false
    private var hasConnectedBefore = false
    /// Counts link sessions; a route carries the one that registered it.
    private var generation: UInt64 = 1

    /// Far more than the core needs to replay its largest permitted table.
    private static let replayTime = TimeAmount.seconds(5)
    /// A client that is going to use its connection again has done so by then, or has learnt that it is closed.
    private static let idleGrace = TimeAmount.seconds(5)
    /// Cheap and known to every core: its answer shows that everything sent before it has arrived.
    private static let barrier = FunctionID("core::metrics::snapshot")

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        package let values: HTTPConfiguration
        /// What `tls` names, loaded and checked; nil without.
        package let tls: TLSServerContext?
    }

    public static func configuration(from json: JSONValue) throws -> Configuration {
        do {
            let values = HTTPConfiguration(try HTTPSettings.group.read(json))
            return Configuration(values: values, tls: try values.tls.map { try TLSServerContext($0, environment: ServerTLS.environment) })
        } catch let error as InvalidSettings {
            throw ConfigurationError(error.description)
        } catch let error as TLSFailure {
            throw ConfigurationError(error.description)
        }
    }

    public init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.configuration = configuration
        self.context = context
        core = GatewayCore(
            configuration: configuration.values, link: context.link, eventLoop: context.eventLoop, channelKey: context.channelKey,
            logger: context.logger, writeLine: StandardOutput.writeLine)
        publisher = OpenAPIPublisher(core: core, workerName: context.name)
        for warning in configuration.values.warnings { context.logger.warning("\(warning)") }
        core.tls.apply(configuration.tls, handshakeTimeout: configuration.values.headerTimeout)
        // A socket that was handed down has been warned about by whoever bound it.
        if configuration.values.isPublic, configuration.tls == nil, InheritedSockets.current().descriptor(named: "http") == nil {
            context.logger.warning("iii-http listens on a public address without TLS; put a proxy in front or set host to 127.0.0.1")
        }
        listen()
    }

    public func registerTriggerTypes(on link: WorkerLink) {
        link.registerTriggerType(
            HTTPTriggerType.declaration,
            register: { [self] binding throws(InvocationError) in try register(binding) },
            unregister: { [self] triggerID in unregister(triggerID) })
    }

    /// One private function: the core tells of channels that functions open. The routes are complete when the barrier comes back.
    public func registerFunctions(on link: WorkerLink) {
        link.registerFunction(channelOpenedFunction, description: "A channel of a request was opened") { [self] call in
            channelOpened(call.data)
            call.reply(nil)
        }
        announceReferences(link)
        publisher.registerWatcher(on: link)
        publisher.linked()
        awaitReplay(link)
    }

    /// Everything but the address applies to the next request; the address belongs to whoever bound the socket.
    public func reconfigure(_ new: Configuration) -> Reconfiguration {
        if new.values.host != configuration.values.host || new.values.port != configuration.values.port {
            return .refused("another address needs another listener")
        }
        let old = configuration
        configuration = new
        core.apply(new.values)
        core.tls.apply(new.tls, handshakeTimeout: new.values.headerTimeout)
        for warning in new.values.warnings { context.logger.warning("\(warning)") }
        if new.values.openAPIPath != nil, old.values.openAPIPath == nil { publisher.linked() }
        for route in core.routes.live { warnIfShadowed(route) }
        return .applied
    }

    public func linkStateChanged(isConnected: Bool) {
        core.areRoutesComplete = false
        guard isConnected else {
            hasConnectedBefore = true
            return
        }
        guard hasConnectedBefore else { return }
        generation += 1
        let replayed = generation
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.replayTime) { bound.value.removeRoutes(before: replayed) }
        // The link says our registrations again right after this; the barrier has to come behind them.
        context.eventLoop.execute {
            let gateway = bound.value
            gateway.publisher.linked()
            gateway.awaitReplay(gateway.context.link)
        }
    }

    public func startServing() {
        guard let listener, !hasYielded, !core.isDraining else { return }
        listener.startAccepting()
    }

    public func stopServing(completion: @escaping () -> Void) {
        hasYielded = true
        guard let listener else { return completion() }
        let bound = NIOLoopBound(completion, eventLoop: context.eventLoop)
        listener.close().whenComplete { _ in bound.value() }
    }

    public func drain(deadline: NIODeadline, completion: @escaping () -> Void) {
        listener?.close()
        let latest = min(deadline, .now() + configuration.values.shutdownGrace)
        core.drain(deadline: latest, completion: completion)
    }

    /// A successor accepts on the same socket. Every connection that this process has accepted is served to its end: the next
    /// response closes it, and one that stays idle is closed after `idleGrace`, when no request can be on its way any more.
    public func handOver(deadline: NIODeadline, completion: @escaping () -> Void) {
        let closed = listener?.close() ?? context.eventLoop.makeSucceededVoidFuture()
        let bound = NIOLoopBound((self, completion), eventLoop: context.eventLoop)
        closed.whenComplete { _ in
            // What the last turn has accepted is in the pipeline before this runs.
            bound.eventLoop.execute {
                let (gateway, completion) = bound.value
                gateway.core.drain(idleGrace: Self.idleGrace, deadline: deadline, completion: completion)
            }
        }
    }

    // MARK: Triggers

    private func register(_ binding: TriggerBinding) throws(InvocationError) {
        switch try TriggerConfiguration(binding, generation: generation) {
        case .unsupportedMethod(let method):
            context.logger.warning("Unsupported HTTP method: \(method)", metadata: ["trigger_id": "\(binding.id)"])
            unregister(binding.id)
        case .route(let route):
            do { try core.routes.add(route) } catch { throw TriggerConfiguration.refusal(error.message) }
            context.logger.info("[REGISTERED] Endpoint \(route.description) → \(route.functionID.text)")
            warnIfShadowed(route)
            publisher.changed()
        }
    }

    private func warnIfShadowed(_ route: Route) {
        guard core.settings.ownEndpoints.shadows(route) else { return }
        context.logger.warning(
            "route '\(route.description)' is never reached: its path is one of the gateway's own (health_path_prefix, openapi_path)",
            metadata: ["trigger_id": "\(route.triggerID)", "function_id": "\(route.functionID.text)"])
    }

    private func unregister(_ triggerID: String) {
        guard let route = core.routes.remove(triggerID: triggerID) else { return }
        publisher.changed()
        context.logger.info("Unregistering router \(route.method.name):\(route.pattern.key)")
    }

    private func removeRoutes(before generation: UInt64) {
        // Another reconnect has happened since: its own timer decides.
        guard generation == self.generation, context.link.isConnected else { return }
        let stale = core.routes.removeRoutes(registeredBefore: generation)
        if !stale.isEmpty { publisher.changed() }
        for route in stale {
            context.logger.info("Unregistering router \(route.method.name):\(route.pattern.key)")
        }
    }

    // MARK: Channels

    private var channelOpenedFunction: String { "builtin::\(context.name)::channel_opened" }

    /// From now on the core takes the references of this process for genuine (design.md §3).
    private func announceReferences(_ link: WorkerLink) {
        let input: JSONValue = ["prefix": .string(core.references.prefix), "function_id": .string(channelOpenedFunction)]
        link.call("core::channels::announce", writeData: { $0.writeBytes(input.bytes) }) { [logger = context.logger] outcome in
            guard case .failure(let error) = outcome, error.code != ErrorCode.disconnected.rawValue else { return }
            logger.error("bodies cannot be streamed: the core does not take channel references", metadata: ["error": "\(error)"])
        }
    }

    /// References made before are void: they were signed under the key of an engine that knows nothing of us any more.
    public func engineChanged(channelKey: [UInt8]) {
        core.references = ChannelRefMint(key: channelKey)
        announceReferences(context.link)
    }

    private func channelOpened(_ event: JSONValue) {
        guard let ref = ChannelRef(json: event), !core.channelOpened(ref) else { return }
        // The request is over: whoever came late must not wait for the other end.
        let input: JSONValue = ["channel_ids": [.string(ref.channelID)]]
        context.link.call("core::channels::retire", action: .void, writeData: { $0.writeBytes(input.bytes) }) { _ in }
    }

    // MARK: Listening

    private func listen() {
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        HTTPListener.open(core, inherited: InheritedSockets.current().descriptor(named: "http")).whenComplete { result in
            let gateway = bound.value
            switch result {
            case .success(let server): gateway.bound(server)
            case .failure(let error): gateway.context.fail(HTTPListener.message(for: error, gateway.configuration.values))
            }
        }
    }

    private func bound(_ server: Server) {
        listener = server
        let port = server.localAddress?.port ?? configuration.values.port
        context.logger.info("API listening on address: \(configuration.values.host):\(port)")
        announceIfReady()
    }

    private func awaitReplay(_ link: WorkerLink) {
        link.call(Self.barrier, timeout: Self.replayTime, writeData: { $0.writeStaticString("{}") }) { [self] outcome in
            // Any answer will do, even an error; only a lost link proves nothing.
            if case .failure(let error) = outcome, error.code == ErrorCode.disconnected.rawValue { return }
            areRoutesReplayed = true
            core.areRoutesComplete = true
            announceIfReady()
        }
    }

    private func announceIfReady() {
        guard listener != nil, areRoutesReplayed, !core.isDraining else { return }
        context.ready()
    }
}
