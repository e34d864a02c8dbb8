import IIIProtocol
import IIIServer
import IIISettings
import IIITLS
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// The `iii-http` core worker: binds the listener, owns the trigger type `http`, and turns requests into invocations.
///
/// It accepts connections only once the core has replayed all known triggers, so a restart shows no 404 in between, and an
/// older process of its entry has stopped accepting. While the link is down it answers 503 and keeps its routes; what the
/// core does not replay within `replayTime` after a reconnect is removed. On drain it stops accepting, answers what is in
/// flight and then ends (docs/reference/http.md#changes-while-it-runs).
public final class HTTPGateway: CoreWorker {
    public static var role: String { "http" }
    public static var settings: SettingGroup { HTTPSettings.group }

    private let core: GatewayCore
    private let context: CoreWorkerContext
    private var configuration: Configuration
    private let publisher: OpenAPIPublisher
    private var listener: Server?
    /// A newer process accepts in its place.
    private var hasYielded = false
    private var triggers: TriggerProvider<Bound>?

    /// After an engine's restart its workers take a second or more to come back; until then their routes answer as they did.
    private static let sweepDelay = TimeAmount.seconds(5)

    /// A client that is going to use its connection again has done so by then, or has learnt that it is closed.
    private static let idleGrace = TimeAmount.seconds(5)

    /// What a trigger has come to.
    private enum Bound: Sendable {
        case route
        /// A method outside the seven: accepted, and never routed.
        case nothing
    }

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
            logger: context.logger, telemetry: context.telemetry, writeLine: StandardOutput.writeLine)
        publisher = OpenAPIPublisher(core: core, link: context.link, workerName: context.name)
        for warning in configuration.values.warnings { context.logger.warning(.configurationSuspicious, "\(warning)") }
        core.tls.apply(configuration.tls, handshakeTimeout: configuration.values.headerTimeout)
        // A socket that was handed down has been warned about by whoever bound it.
        if configuration.values.isPublic, configuration.tls == nil, InheritedSockets.current().descriptor(named: "http") == nil {
            context.logger.warning(
                .listensPublicly, "iii-http listens on a public address without TLS; put a proxy in front or set host to 127.0.0.1")
        }
        context.whenCollecting { [self] in core.collectMetrics(listener?.reading) }
    }

    /// Binds the socket; what comes waits in the kernel's backlog until the routes are complete.
    public func start(on loop: isolated WorkerLoop) async throws {
        do {
            let channel = try await HTTPListener.open(core, inherited: InheritedSockets.current().descriptor(named: "http")).get()
            let port = channel.localAddress?.port ?? configuration.values.port
            context.logger.info("API listening on address: \(configuration.values.host):\(port)")
            listener = channel
        } catch {
            throw ListenFailure(description: HTTPListener.message(for: error, configuration.values))
        }
    }

    private struct ListenFailure: Error, CustomStringConvertible { let description: String }

    public func registerTriggerTypes(on link: WorkerLink) {
        triggers = TriggerProvider(
            HTTPTriggerType.declaration, on: link, sweepDelay: Self.sweepDelay,
            accept: { [self] binding, _ throws(InvocationError) in try bind(binding) },
            release: { [self] binding, _, reason in unbind(binding.id, reason) })
    }

    /// Private ones: the core tells of channels that functions open, and of functions that change.
    public func registerFunctions(on link: WorkerLink) {
        link.registerFunction(channelOpenedFunction, description: "A channel of a request was opened") { [self] call in
            channelOpened(call.data)
            call.reply(nil)
        }
        publisher.registerWatcher()
    }

    /// The routes are complete: from now on a path without one is a 404.
    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {
        // References made before are void: they were signed under the key of an engine that may know nothing of us any more.
        core.references = ChannelRefMint(key: session.channelKey)
        announceReferences(context.link)
        publisher.linked()
        core.areRoutesComplete = true
    }

    public func sessionLost() { core.areRoutesComplete = false }

    /// Everything but the address applies to the next request; the address belongs to whoever bound the socket.
    public func reconfigure(_ new: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        if new.values.host != configuration.values.host || new.values.port != configuration.values.port {
            return .refused("another address needs another listener")
        }
        let old = configuration
        configuration = new
        core.apply(new.values)
        core.tls.apply(new.tls, handshakeTimeout: new.values.headerTimeout)
        for warning in new.values.warnings { context.logger.warning(.configurationSuspicious, "\(warning)") }
        if new.values.openAPIPath != nil, old.values.openAPIPath == nil { publisher.linked() }
        for route in core.routes.live { warnIfShadowed(route) }
        return .applied
    }

    public func startServing() {
        guard let listener, !hasYielded, !core.isDraining else { return }
        listener.startAccepting()
    }

    public func stopServing(on loop: isolated WorkerLoop) async {
        hasYielded = true
        try? await listener?.close().get()
    }

    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        listener?.close()
        let latest = min(deadline, .now() + configuration.values.shutdownGrace)
        await withCheckedContinuation { drained in core.drain(deadline: latest) { drained.resume() } }
    }

    public var status: String {
        var parts = ["\(core.routes.count) routes", "\(core.slots.count) connections"]
        let memory = core.memory
        if memory.total > 0 { parts.append("\(memory.total) bytes buffered") }
        if memory.refusals + memory.cuts > 0 { parts.append("\(memory.refusals) refused and \(memory.cuts) cut for memory") }
        if core.heldCount > 0 { parts.append("\(core.heldCount) waiting for a worker") }
        return parts.joined(separator: ", ")
    }

    /// A successor accepts on the same socket. Every connection that this process has accepted is served to its end: the next
    /// response closes it, and one that stays idle is closed after `idleGrace`, when no request can be on its way any more.
    public func handOver(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        try? await listener?.close().get()
        await withCheckedContinuation { (drained: CheckedContinuation<Void, Never>) in
            // What the last turn has accepted is in the pipeline before this runs.
            let bound = NIOLoopBound((self, drained), eventLoop: context.eventLoop)
            context.eventLoop.execute {
                let (gateway, drained) = bound.value
                gateway.core.drain(idleGrace: Self.idleGrace, deadline: deadline) { drained.resume() }
            }
        }
    }

    // MARK: Triggers

    private func bind(_ binding: TriggerBinding) throws(InvocationError) -> Bound {
        do throws(InvocationError) {
            return try bindRoute(binding)
        } catch {
            // Refused, an update leaves the old route in force, as long as it has a function.
            core.routes.noteRefusal(triggerID: binding.id)
            throw error
        }
    }

    private func bindRoute(_ binding: TriggerBinding) throws(InvocationError) -> Bound {
        switch try TriggerConfiguration(binding) {
        case .unsupportedMethod(let method):
            context.logger.warning(.methodUnsupported, "Unsupported HTTP method: \(method)", metadata: ["trigger_id": "\(binding.id)"])
            unbind(binding.id, .unregistered)
            return .nothing
        case .route(let route):
            do { try core.add(route) } catch { throw TriggerConfiguration.refusal(error.message) }
            context.logger.info("[REGISTERED] Endpoint \(route.description) → \(route.functionID.text)")
            warnIfShadowed(route)
            publisher.changed()
            return .route
        }
    }

    private func warnIfShadowed(_ route: Route) {
        guard core.settings.ownEndpoints.shadows(route) else { return }
        context.logger.warning(
            .routeUnreachable,
            "route '\(route.description)' is never reached: its path is one of the gateway's own (health_path_prefix, openapi_path)",
            metadata: ["trigger_id": "\(route.triggerID)", "function_id": "\(route.functionID.text)"])
    }

    /// A trigger that went with its worker is remembered for a while: the worker may be restarting.
    private func unbind(_ triggerID: String, _ reason: UnregistrationReason) {
        guard let route = reason == .disconnected ? core.depart(triggerID: triggerID) : core.routes.remove(triggerID: triggerID) else {
            return
        }
        publisher.changed()
        context.logger.info("Unregistering router \(route.method.name):\(route.pattern.key)")
    }

    // MARK: Channels

    private var channelOpenedFunction: String { "builtin::\(context.name)::channel_opened" }

    /// From now on the core takes the references of this process for genuine (docs/reference/core-workers.md#corechannelsannounce).
    private func announceReferences(_ link: WorkerLink) {
        let input: JSONValue = ["prefix": .string(core.references.prefix), "function_id": .string(channelOpenedFunction)]
        link.call("core::channels::announce", writeData: { $0.writeBytes(input.bytes) }) { [logger = context.logger] outcome in
            guard case .failure(let error) = outcome, error.code != ErrorCode.disconnected.rawValue else { return }
            logger.error(
                .streamsUnavailable, "bodies cannot be streamed: the core does not take channel references", metadata: ["error": "\(error)"]
            )
        }
    }

    private func channelOpened(_ event: JSONValue) {
        guard let ref = ChannelRef(json: event), !core.channelOpened(ref) else { return }
        // The request is over: whoever came late must not wait for the other end.
        let input: JSONValue = ["channel_ids": [.string(ref.channelID)]]
        context.link.call("core::channels::retire", action: .void, writeData: { $0.writeBytes(input.bytes) }) { _ in }
    }
}
