import Glibc
import IIIHTTPClient
import IIIProtocol
import IIISettings
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// The `iii-http-functions` core worker: functions that are remote HTTP endpoints
/// (docs/reference/worker-protocol.md#http-functions).
///
/// It owns no function ids of its own. After connecting it attaches to the core, which hands it every HTTP-invoked function and
/// delivers their calls to it; after a reconnect all is handed over again. Each call is checked against the URL policy, sent by
/// the transfer thread, and answered exactly once. Confined to the link's event loop.
public final class HTTPFunctions: CoreWorker {
    public static var role: String { "outbound" }
    public static var settings: SettingGroup { HTTPFunctionsSettings.group }
    /// The config entry this role serves.
    public static let entryName = "iii-http-functions"

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        package let values: OutboundConfiguration
    }

    private let context: CoreWorkerContext
    private let settings: OutboundConfiguration
    private let resolver: NameResolver
    private let transfers: TransferThread
    /// Whether libcurl goes through a proxy of the environment, which then resolves names, too. In all other cases we do: a slow
    /// look-up of libcurl's own would hold up its thread when a call gives up on it.
    private let usesProxies: Bool
    private var endpoints = EndpointTable()
    private var calls: [ObjectIdentifier: ActiveCall] = [:]
    /// What a message to the core may hold besides the frame's own members; nil before the core has said.
    private var maximumResult: Int?
    private var onIdle: (() -> Void)?
    private let succeeded: OutcomeMetrics
    private let failed: OutcomeMetrics
    private let refused: CounterInstrument

    /// Calls that ended in one way.
    private struct OutcomeMetrics {
        let count: CounterInstrument
        let duration: HistogramInstrument

        init(_ status: String, _ store: MetricStore) {
            let labels = [("status", status)]
            count = store.counter(
                "iii.http_functions.calls.total", labels: labels, description: "Calls of remote endpoints that have ended")
            duration = store.histogram(
                "iii.http_functions.duration", labels: labels, description: "From a call's arrival to its answer", unit: "s")
        }
    }

    /// Room for the members around a result in its frame, trace context included.
    private static let frameOverhead = 64 << 10
    /// Before the drain's deadline, so that the answers still reach the core.
    private static let drainMargin = TimeAmount.milliseconds(300)

    public static func configuration(from json: JSONValue) throws -> Configuration {
        do throws(InvalidSettings) {
            return Configuration(values: OutboundConfiguration(try HTTPFunctionsSettings.group.read(json)))
        } catch { throw ConfigurationError(error.description) }
    }

    public init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        settings = configuration.values
        resolver = NameResolver(eventLoop: context.eventLoop)
        succeeded = OutcomeMetrics("ok", context.metrics)
        failed = OutcomeMetrics("error", context.metrics)
        refused = context.metrics.counter(
            "iii.http_functions.refused.total", description: "Calls beyond max_concurrent_requests")
        // A proxy would connect for us to an address that nobody has checked.
        usesProxies =
            !settings.policy.blocksPrivateAddresses
            && ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].contains { Self.variable($0)?.isEmpty == false }
        transfers = TransferThread(
            maximumConnections: settings.maximumConcurrentRequests, certificateFile: settings.certificateFile, usesProxies: usesProxies)
        let active = context.metrics.gauge("iii.http_functions.calls.active", description: "Calls of remote endpoints under way")
        let known = context.metrics.gauge("iii.http_functions.endpoints", description: "Remote endpoints that can be called")
        context.whenCollecting { [self] in
            active.set(calls.count)
            known.set(endpoints.count)
        }
    }

    public func registerFunctions(on link: WorkerLink) {
        link.registerFunction("builtin::\(context.name)::register_function", description: "Takes over an HTTP-invoked function") {
            [self] call in register(call)
        }
        link.registerFunction("builtin::\(context.name)::unregister_function", description: "Gives an HTTP-invoked function up") {
            [self] call in
            let input = call.data
            if let key = Self.key(input) { endpoints.remove(key) }
            call.reply([:])
        }
        link.onOtherCall = { [self] function, call in invoke(function, call) }
    }

    public func sessionLost() { endpoints.removeAll() }

    /// The core knows our two functions; from now on it hands over what others have registered.
    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {
        let answer = try await context.link.ask("core::http_functions::attach", timeout: .seconds(10))
        maximumResult = answer["max_message_bytes"]?.integer.map { max(Int($0) - Self.frameOverhead, 1024) }
    }

    // MARK: Registrations

    private static func key(_ input: JSONValue) -> EndpointTable.Key? {
        guard let id = input["function_id"]?.string else { return nil }
        return EndpointTable.Key(namespace: input["namespace"]?.string ?? "default", functionID: id)
    }

    private func register(_ call: IncomingCall) {
        let input = call.data
        guard let key = Self.key(input) else { return call.fail(InvocationError(.invalidArguments, "function_id is missing")) }
        let ticket = endpoints.begin(key)
        do throws(InvocationError) {
            let endpoint = try RemoteEndpoint(
                functionID: key.functionID, invocation: input["invocation"] ?? .null, environment: Self.variable)
            let url = try settings.policy.check(endpoint.url)
            guard settings.policy.needsResolution(url) else { return accept(key, endpoint, ticket, call) }
            let isReplay = input["is_replay"]?.bool ?? false
            resolver.addresses(of: url.host) { [self] addresses in
                do throws(InvocationError) {
                    try settings.policy.check(addresses: addresses)
                } catch {
                    // A name server that is away for a moment must not take functions that were accepted once; each call asks it again.
                    guard isReplay && addresses.isEmpty else { return refuse(key, error, ticket, call) }
                }
                accept(key, endpoint, ticket, call)
            }
        } catch {
            refuse(key, error, ticket, call)
        }
    }

    private func accept(_ key: EndpointTable.Key, _ endpoint: RemoteEndpoint, _ ticket: Int, _ call: IncomingCall) {
        guard endpoints.accept(key, endpoint, ticket: ticket) else {
            return call.fail(InvocationError(.invalidArguments, "a newer message about this function came before it was checked"))
        }
        call.reply([:])
    }

    private func refuse(_ key: EndpointTable.Key, _ error: InvocationError, _ ticket: Int, _ call: IncomingCall) {
        endpoints.refuse(key, ticket: ticket)
        call.fail(error)
    }

    private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    // MARK: Calls

    private func invoke(_ function: FunctionID, _ incoming: IncomingCall) {
        // The core delivers calls of the default namespace only; others will carry theirs
        // (docs/reference/worker-protocol.md#namespaces).
        guard let endpoint = endpoints[.init(namespace: "default", functionID: function.text)] else {
            return incoming.fail(InvocationError(.functionNotFound, "Function \(function) not found"))
        }
        guard calls.count < settings.maximumConcurrentRequests else {
            let limit = settings.maximumConcurrentRequests
            refused.add()
            return incoming.fail(
                InvocationError(.tooManyInFlight, "iii-http-functions runs \(limit) calls already (max_concurrent_requests)"))
        }
        let url: HTTPURL
        do throws(InvocationError) { url = try settings.policy.check(endpoint.url) } catch { return incoming.fail(error) }
        let call = ActiveCall(incoming, endpoint, deadline: .now() + endpoint.timeout)
        calls[ObjectIdentifier(call)] = call
        guard url.address == nil, !usesProxies else { return transfer(call, url, pinned: []) }
        let bound = NIOLoopBound((self, call), eventLoop: context.eventLoop)
        call.lookUpTimeout = context.eventLoop.scheduleTask(deadline: call.deadline) {
            let (worker, call) = bound.value
            worker.finish(call, .failure(InvocationError(.httpRequestFailed, "the request timed out while its host was looked up")))
        }
        resolver.addresses(of: url.host) { [self] addresses in
            guard calls[ObjectIdentifier(call)] != nil else { return }
            guard !addresses.isEmpty || settings.policy.blocksPrivateAddresses else {
                return finish(call, .failure(InvocationError(.httpRequestFailed, "cannot connect: the host '\(url.host)' has no address")))
            }
            do throws(InvocationError) {
                try settings.policy.check(addresses: addresses)
                transfer(call, url, pinned: addresses)
            } catch {
                finish(call, .failure(error))
            }
        }
    }

    private func transfer(_ call: ActiveCall, _ url: HTTPURL, pinned: [IPAddress]) {
        call.lookUpTimeout?.cancel()
        let remote = RemoteCall(
            endpoint: call.endpoint, invocationID: call.incoming.invocationID, payload: call.incoming.payload,
            trace: call.incoming.trace)
        let (settings, deadline, maximumResult) = (settings, call.deadline, maximumResult)
        let bound = NIOLoopBound((self, call), eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        transfers.submit {
            let body = remote.body
            return TransferRequest(
                url: url, method: remote.endpoint.method, headers: remote.headers(for: body, timestamp: Int64(time(nil))), body: body,
                pinned: pinned, blocksPrivateAddresses: settings.policy.blocksPrivateAddresses,
                timeoutMilliseconds: Int((deadline - .now()).nanoseconds / 1_000_000),
                maximumResponseBytes: settings.maximumResponseBytes)
        } finish: { outcome in
            let result = RemoteResult(outcome).fitting(maximumResult)
            eventLoop.execute {
                let (worker, call) = bound.value
                worker.finish(call, result)
            }
        }
    }

    /// Answers a call, once: whatever comes later finds it gone.
    private func finish(_ call: ActiveCall, _ result: RemoteResult) {
        guard calls.removeValue(forKey: ObjectIdentifier(call)) != nil else { return }
        call.lookUpTimeout?.cancel()
        var metrics = succeeded
        if case .failure = result { metrics = failed }
        metrics.count.add()
        metrics.duration.record(Double((NIODeadline.now() - call.began).nanoseconds) / 1e9)
        switch result {
        case .value(let bytes): call.incoming.reply(raw: bytes)
        case .none: call.incoming.reply(nil)
        case .failure(let error): call.incoming.fail(error)
        }
        guard calls.isEmpty, let idle = onIdle else { return }
        onIdle = nil
        idle()
    }

    // MARK: Drain

    /// New calls wait in the core for the next process; running ones finish, or fail shortly before the deadline.
    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        // The answer comes behind every call that was on its way.
        _ = try? await context.link.ask("core::http_functions::detach", timeout: .seconds(2))
        guard !calls.isEmpty else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let timeout = context.eventLoop.scheduleTask(deadline: deadline - Self.drainMargin) { bound.value.abandonCalls() }
        await withCheckedContinuation { idle in onIdle = { idle.resume() } }
        timeout.cancel()
    }

    public var status: String { "\(calls.count) calls under way" }

    private func abandonCalls() {
        for call in Array(calls.values) {
            finish(call, .failure(InvocationError(.httpRequestFailed, "iii-http-functions is stopping and waits no longer for the remote")))
        }
    }
}

/// A call that is not answered yet.
private final class ActiveCall {
    let incoming: IncomingCall
    let endpoint: RemoteEndpoint
    let began = NIODeadline.now()
    let deadline: NIODeadline
    var lookUpTimeout: Scheduled<Void>?

    init(_ incoming: IncomingCall, _ endpoint: RemoteEndpoint, deadline: NIODeadline) {
        self.incoming = incoming
        self.endpoint = endpoint
        self.deadline = deadline
    }
}
