import IIIItems
import IIIProtocol
import IIIServer
import IIITelemetry
import IIITransport
import IIIWorker
import Logging
import NIOCore

/// The port for clients: who may connect, who may join what, and what is left of a client when it has gone.
///
/// Every subscription that a join trigger was asked about and that was accepted has exactly one leave, whatever ends it. Confined to the
/// event loop.
final class StreamPort: @unchecked Sendable {
    private let context: CoreWorkerContext
    private let coalescer: WriteCoalescer
    var settings: StreamConfiguration { didSet { apply() } }
    /// Set once, right after both are made.
    unowned var hub: StreamHub
    let counters: StreamCounters
    /// What waits for all sockets together.
    let ledger: QueueLedger
    var joins = TriggerIndex<JoinFilter>()
    var leaves = TriggerIndex<JoinFilter>()
    private var server: WebSocketServer?
    private var sockets: [ObjectIdentifier: StreamSocket] = [:]
    private var gauge = StallGauge(period: .seconds(1), now: .now())
    private var heartbeat: CoreWorkerTimer?
    /// Joins that are being decided: revoked ones must not come alive.
    private var deciding: [ObjectIdentifier: (socket: StreamSocket, target: ClientMessage.Target, isRevoked: Bool)] = [:]
    private var isDraining = false

    private static let authenticationTimeout = TimeAmount.seconds(5)
    private static let joinTimeout = TimeAmount.seconds(10)
    private static let health = PeerHealth.Limits(
        pingInterval: .seconds(25), silence: .seconds(75), writeStall: .seconds(30), highWater: 0)

    /// What a join or leave trigger wants: one stream, or all.
    struct JoinFilter: Sendable {}

    init(_ settings: StreamConfiguration, hub: StreamHub, context: CoreWorkerContext) {
        self.settings = settings
        self.hub = hub
        self.context = context
        counters = StreamCounters(context.metrics)
        ledger = QueueLedger(limit: settings.maximumTotalQueuedBytes)
        coalescer = WriteCoalescer(eventLoop: context.eventLoop)
    }

    var socketCount: Int { sockets.count }
    private func apply() {
        server?.apply(settings.serverSettings)
        server?.apply(tls: settings.tls)
        ledger.limit = settings.maximumTotalQueuedBytes
        hub.keepHistory(settings.historyLimits)
    }

    var coalesced: Int { sockets.values.reduce(gone.coalesced) { $0 + $1.queue.coalesced } }
    var dropped: Int { sockets.values.reduce(gone.dropped) { $0 + $1.queue.dropped } }
    private var gone = (coalesced: 0, dropped: 0)

    // MARK: Listening

    func open(on loop: isolated WorkerLoop) async throws {
        let socket: ServerSocket =
            InheritedSockets.current().descriptor(named: "stream").map { .inherited($0) }
            ?? .address(host: settings.host, port: settings.port)
        var options = ServerOptions()
        options.promisedConnections = (key: "max_connections", value: settings.maximumConnections)
        options.keepsAlive = true
        let (eventLoop, logger, settings) = (context.eventLoop, context.logger, settings)
        let serverOptions = options
        do {
            let server = try await eventLoop.flatSubmit { [self] in
                WebSocketServer.open(
                    socket, on: eventLoop, settings: settings.serverSettings, options: serverOptions, tls: settings.tls,
                    logger: logger, routes: routes)
            }.get()
            self.server = server
            logger.info("Stream API listening on address: \(settings.host):\(server.localAddress?.port ?? settings.port)")
        } catch {
            throw ListenFailure(description: ServerSocket.message(for: error, host: settings.host, port: settings.port))
        }
        heartbeat = context.schedule(every: .seconds(1)) { [self] in
            let (now, excuse) = (NIODeadline.now(), gauge.tick(.now()))
            for socket in sockets.values { socket.judge(now, Self.health, excuse: excuse) }
            hub.tick()
            relieve()
        }
    }

    /// Too much waits for all sockets together although each of them is kept little: the one with the most has to go.
    private func relieve() {
        guard ledger.isOver, let heaviest = sockets.values.max(by: { $0.weight < $1.weight }) else { return }
        counters.stalled.add()
        context.logger.warning(
            .droppedForRoom, "a client was dropped: too much waits for all of them together",
            metadata: ["max_total_queued_bytes": "\(ledger.limit)", "waiting": "\(ledger.total)", "of_this_one": "\(heaviest.weight)"])
        heaviest.drop(.tryAgainLater)
    }

    private struct ListenFailure: Error, CustomStringConvertible { let description: String }

    private var routes: WebSocketServer.Routes {
        WebSocketServer.Routes(
            decide: { [unowned self] request, reply in admit(request, reply) },
            answer: { head in
                switch StreamPath(String(head.uri.prefix { $0 != "?" })) {
                case .root, .group: nil
                case .unknown: HTTPAnswer(.notFound)
                case .malformed: HTTPAnswer(.badRequest, "the path has a part that is empty, a dot segment, or not decodable\n")
                }
            })
    }

    // MARK: Who may connect

    private func admit(_ request: UpgradeRequest, _ reply: UpgradeReply) {
        var target: ClientMessage.Target?
        switch StreamPath(request.path) {
        case .root: break
        case .group(let stream, let group, let item):
            var generator = SystemRandomNumberGenerator()
            target = ClientMessage.Target(
                subscription: UUIDBits.random(using: &generator).text, group: ItemGroup(stream: stream, name: group), id: item)
        case .unknown: return reply.settle(.refuse(HTTPAnswer(.notFound)))
        case .malformed:
            return reply.settle(.refuse(HTTPAnswer(.badRequest, "the path has a part that is empty, a dot segment, or not decodable\n")))
        }
        guard !isDraining else { return reply.settle(.refuse(HTTPAnswer(.serviceUnavailable, headers: [("retry-after", "1")]))) }
        guard let function = settings.authentication else { return accept(request, reply, target, context: ItemResults.null, expiry: nil) }
        let input = Self.authenticationInput(request)
        context.link.call(function, timeout: Self.authenticationTimeout, writeData: { $0.writeBytes(input) }) { [self] outcome in
            switch AuthenticationVerdict(outcome) {
            case .accepted(let context, let expiry): accept(request, reply, target, context: context, expiry: expiry)
            case .refused(let reason), .unavailable(let reason):
                if settings.allowsUnauthenticated, !reason.isRefusal {
                    return accept(request, reply, target, context: ItemResults.null, expiry: nil)
                }
                counters.refused.add()
                if !reason.isRefusal {
                    context.logger.warning(
                        .authenticationFailed, "a client was refused because the auth function did not decide",
                        metadata: ["function_id": "\(function)", "reason": "\(reason.text)"])
                }
                reply.settle(.refuse(HTTPAnswer(reason.isUnavailable ? .serviceUnavailable : .unauthorized, "not authorized\n")))
            }
        }
    }

    private static func authenticationInput(_ request: UpgradeRequest) -> [UInt8] {
        var fields: [String: JSONValue] = [:]
        for (name, value) in request.fields where value.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { fields[name] = .string(value) }
        var query: [String: [JSONValue]] = [:]
        for part in request.query.split(separator: "&", omittingEmptySubsequences: true) {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let name = pair.first, !name.isEmpty else { continue }
            query[name, default: []].append(.string(pair.count > 1 ? pair[1] : ""))
        }
        let address = request.remoteAddress.flatMap { address in
            address.ipAddress.map { $0.contains(":") ? "[\($0)]:\(address.port ?? 0)" : "\($0):\(address.port ?? 0)" }
        }
        let input: JSONValue = [
            "headers": .object(fields), "path": .string(request.path), "query_params": .object(query.mapValues { .array($0) }),
            "addr": .string(address ?? ""),
        ]
        return input.bytes
    }

    private func accept(_ request: UpgradeRequest, _ reply: UpgradeReply, _ target: ClientMessage.Target?, context: [UInt8], expiry: Int?) {
        var limits = WebSocketLimits()
        limits.maximumFrameLength = settings.maximumMessageBytes
        limits.maximumMessageLength = settings.maximumMessageBytes
        // Frames wait elsewhere: what is above the appetite are answers to pings that nobody reads.
        limits.maximumQueuedBytes = 1 << 20
        let socket = StreamSocket(port: self, authContext: context, implicitTarget: target, limits: limits, coalescer: coalescer)
        if let expiry {
            let bound = NIOLoopBound(socket, eventLoop: self.context.eventLoop)
            self.context.eventLoop.scheduleTask(in: .milliseconds(Int64(max(0, expiry - WallClock.milliseconds())))) {
                bound.value.close(.policyViolation, reason: "the authorization has expired")
            }
        }
        // Browsers close a connection that selects nothing of what they offer; the token itself is never sent back.
        let offered = request.offeredProtocols.first { $0.lowercased() == "authorization" }
        reply.settle(.accept(socket, subprotocol: offered))
    }

    func opened(_ socket: StreamSocket) { sockets[ObjectIdentifier(socket)] = socket }

    func closed(_ socket: StreamSocket) {
        sockets[ObjectIdentifier(socket)] = nil
        gone.coalesced += socket.queue.coalesced
        gone.dropped += socket.queue.dropped
        for subscription in socket.subscriptions.values { end(subscription, isDeliberate: socket.hasClosedCleanly) }
        socket.subscriptions = [:]
    }

    // MARK: Joining and leaving

    /// Asks the join triggers, subscribes, and has the snapshot sent; `completion` when the next message may be looked at.
    func join(_ socket: StreamSocket, _ target: ClientMessage.Target, completion: @escaping () -> Void) {
        guard socket.subscriptions.count < settings.maximumSubscriptions || socket.subscriptions[target.subscription] != nil else {
            socket.complain(
                "too_many_subscriptions", "a socket may have \(settings.maximumSubscriptions) subscriptions", target.group, target.id,
                target.subscription)
            return completion()
        }
        let ticket = DecidingJoin()
        deciding[ObjectIdentifier(ticket)] = (socket, target, false)
        ask(joins.matching(target.group.stream) { _ in true }[...], Self.payload(target, socket.authContext), isRefused: false) {
            [self] isRefused in
            let isRevoked = deciding.removeValue(forKey: ObjectIdentifier(ticket))?.isRevoked ?? false
            withExtendedLifetime(ticket) {
                decided(socket, target, isRefused: isRefused || isRevoked, wasAccepted: !isRefused, completion: completion)
            }
        }
    }

    private final class DecidingJoin {}

    private func decided(
        _ socket: StreamSocket, _ target: ClientMessage.Target, isRefused: Bool, wasAccepted: Bool, completion: @escaping () -> Void
    ) {
        // A join under an id that is in use ends the one before, also where it is refused itself.
        if let old = socket.subscriptions.removeValue(forKey: target.subscription) {
            // Its user stays where it is if this one goes on there.
            let goesOn = !isRefused && old.group == target.group && target.options.presence != nil
            end(old, isDeliberate: !goesOn)
        }
        if isRefused {
            if wasAccepted { tellLeave(target, socket.authContext) }
            let answered = target.options.wantsAnswer ? target.subscription : nil
            socket.send(hub.frame(.unauthorized, for: target.group, id: target.id, subscription: answered))
            if socket.implicitTarget?.subscription == target.subscription {
                socket.close(.policyViolation, reason: "not authorized")
            }
            return completion()
        }
        guard !socket.isEnded, socket.phase == .open else {
            tellLeave(target, socket.authContext)
            return completion()
        }
        // The next message waits for the snapshot.
        let subscription = Subscription(target, on: socket, onSettled: completion)
        socket.subscriptions[target.subscription] = subscription
        hub.add(subscription)
    }

    /// Answers whether there was such a subscription.
    func leave(_ socket: StreamSocket, _ id: String) -> Bool {
        guard let subscription = socket.subscriptions.removeValue(forKey: id) else { return false }
        end(subscription, isDeliberate: true)
        return true
    }

    private func end(_ subscription: Subscription, isDeliberate: Bool) {
        hub.remove(subscription, isDeliberate: isDeliberate)
        subscription.socket.forget(subscription.group)
        tellLeave(
            ClientMessage.Target(subscription: subscription.id, group: subscription.group, id: subscription.item),
            subscription.socket.authContext)
    }

    /// The snapshot of a subscription cannot be read.
    func snapshotFailed(_ subscription: Subscription, _ error: any Error) {
        context.logger.warning(.snapshotFailed, "a snapshot cannot be read; its subscription ends", metadata: ["error": "\(error)"])
        let socket = subscription.socket
        socket.complain("snapshot_failed", "the snapshot cannot be read", subscription.group, subscription.item, subscription.id)
        if socket.subscriptions[subscription.id] === subscription { socket.subscriptions[subscription.id] = nil }
        end(subscription, isDeliberate: true)
    }

    /// A socket has caught up: tells it what it was not told meanwhile.
    func tellAgain(_ socket: StreamSocket, _ missed: (groups: Set<ItemGroup>, lagged: [ItemGroup: Int], unsure: Set<ItemGroup>)) {
        for (group, count) in missed.lagged { socket.send(hub.frame(.lagged(count), for: group, id: nil)) }
        for group in missed.unsure where socket.subscriptions.values.contains(where: { $0.group == group }) {
            socket.send(hub.frame(.presenceState(hub.presence(in: group).json), for: group, id: nil))
        }
        for subscription in socket.subscriptions.values where missed.groups.contains(subscription.group) {
            counters.resyncs.add()
            hub.synchronise(subscription)
        }
    }

    /// Asks join triggers one after the other, all of them.
    private func ask(
        _ triggers: ArraySlice<TriggerIndex<JoinFilter>.Entry>, _ payload: [UInt8], isRefused: Bool, completion: @escaping (Bool) -> Void
    ) {
        guard let trigger = triggers.first else { return completion(isRefused) }
        context.calls.fire(trigger.target, condition: trigger.condition, payload: payload, timeout: Self.joinTimeout) { [self] outcome in
            var isRefused = isRefused
            switch outcome {
            case .completed(let result): isRefused = isRefused || Self.isVeto(result)
            case .skipped: break
            case .conditionFailed(let error), .failed(let error):
                isRefused = isRefused || !settings.allowsFailedJoins
                context.logger.warning(
                    .deliveryFailed, "a function of stream:join failed",
                    metadata: ["function_id": "\(trigger.target.functionID)", "error": "\(error.code)"])
            }
            ask(triggers.dropFirst(), payload, isRefused: isRefused, completion: completion)
        }
    }

    private static func isVeto(_ result: UnsafeRawBufferPointer?) -> Bool {
        guard let result, let value = try? JSONValue(parsing: result) else { return false }
        return value["unauthorized"]?.bool == true
    }

    private func tellLeave(_ target: ClientMessage.Target, _ clientContext: [UInt8]) {
        let matching = leaves.matching(target.group.stream) { _ in true }
        guard !matching.isEmpty else { return }
        let payload = Self.payload(target, clientContext)
        for trigger in matching {
            context.calls.fire(trigger.target, condition: trigger.condition, payload: payload, timeout: Self.joinTimeout) {
                [context] outcome in
                guard case .failed(let error) = outcome else { return }
                context.logger.warning(
                    .deliveryFailed, "a function of stream:leave failed",
                    metadata: ["function_id": "\(trigger.target.functionID)", "error": "\(error.code)"])
            }
        }
    }

    private static func payload(_ target: ClientMessage.Target, _ context: [UInt8]) -> [UInt8] {
        var text = JSONObjectText()
        text.set("subscription_id", .string(target.subscription))
        text.set("stream_name", .string(target.group.stream.text))
        text.set("group_id", .string(target.group.name.text))
        text.set("id", JSONValue(target.id?.text))
        text.set("context", raw: context)
        return text.finish()
    }

    // MARK: Revocation and the end

    /// Which subscriptions `stream::disconnect` means; all that are given must fit.
    struct Revocation {
        var subscription: String?
        var stream: ItemName?
        var group: ItemName?
        var context: JSONObjectNode?

        func fits(_ id: String, _ target: ItemGroup, _ context: [UInt8]) -> Bool {
            if let subscription, subscription != id { return false }
            if let stream, stream != target.stream { return false }
            if let group, group != target.name { return false }
            guard let wanted = self.context else { return true }
            let own = JSONNode(context)
            return wanted.all.allSatisfy { member in own.member(member.name).map { JSONEquality.areEqual($0, member.value) } ?? false }
        }
    }

    /// Ends what fits, joins that are being decided included; answers how many there were.
    func revoke(_ revocation: Revocation) -> Int {
        var count = 0
        for subscription in hub.all where revocation.fits(subscription.id, subscription.group, subscription.socket.authContext) {
            count += 1
            let socket = subscription.socket
            if socket.subscriptions[subscription.id] === subscription { socket.subscriptions[subscription.id] = nil }
            socket.send(hub.frame(.unauthorized, for: subscription.group, id: subscription.item))
            end(subscription, isDeliberate: true)
        }
        for (key, join) in deciding where revocation.fits(join.target.subscription, join.target.group, join.socket.authContext) {
            count += 1
            deciding[key]?.isRevoked = true
        }
        return count
    }

    /// Takes no more clients, tells the leave triggers of all that are there, and closes them.
    func drain() {
        isDraining = true
        server?.close()
        heartbeat = nil
        for socket in sockets.values {
            for subscription in socket.subscriptions.values { end(subscription, isDeliberate: true) }
            socket.subscriptions = [:]
            socket.close(.serviceRestart)
        }
    }
}
