import Glibc
import IIIProtocol
import IIITelemetry
import Logging
import NIOCore

/// One accepted connection, as its pipeline knows it. Confined to the listener's loop.
package final class AcceptedConnection {
    let id: AcceptLimiter.ID
    let channel: any Channel
    private weak var gate: AcceptGate?

    init(id: AcceptLimiter.ID, channel: any Channel, gate: AcceptGate) {
        self.id = id
        self.channel = channel
        self.gate = gate
    }

    /// It has said what it wants and counts as a handshake no more. Idempotent.
    package func established() { gate?.established(id) }
}

/// In front of a listening channel's acceptor: asks `AcceptLimiter` before every batch, and does what it says.
///
/// NIO goes on polling a listening socket whose accept fails for want of a descriptor, at 100 % CPU; the gate takes the socket
/// out of the poll instead. Confined to the listener's loop.
final class AcceptGate: ChannelInboundHandler {
    typealias InboundIn = any Channel
    typealias InboundOut = any Channel

    private(set) var limiter: AcceptLimiter
    var counters = ServerCounters()
    private let descriptors: DescriptorBudget
    private let share: DescriptorLimit.Share
    private let logger: Logger
    private var context: ChannelHandlerContext?
    private var connections: [ObjectIdentifier: AcceptedConnection] = [:]
    private var byID: [AcceptLimiter.ID: AcceptedConnection] = [:]
    private var isAccepting = false
    /// A batch is asked for.
    private var isReading = false
    private var isWaiting = false
    private var retry: Scheduled<Void>?
    private var batch: UInt = 0
    private var warnings = WarningAllowance(2)

    init(limits: AcceptLimits, descriptors: DescriptorBudget, share: DescriptorLimit.Share, logger: Logger) {
        limiter = AcceptLimiter(limits: limits)
        self.descriptors = descriptors
        self.share = share
        self.logger = logger
    }

    // MARK: For the server

    func start() {
        isAccepting = true
        proceed()
    }

    func apply(_ limits: AcceptLimits) {
        limiter.limits = limits
        proceed()
    }

    /// The record of a channel that was accepted here.
    func connection(of channel: any Channel) -> AcceptedConnection? { connections[ObjectIdentifier(channel)] }

    func established(_ id: AcceptLimiter.ID) {
        limiter.established(id)
        if isWaiting { proceed() }
    }

    private func closed(_ connection: AcceptedConnection) {
        guard byID.removeValue(forKey: connection.id) != nil else { return }
        connections[ObjectIdentifier(connection.channel)] = nil
        limiter.closed(connection.id)
        if isWaiting { proceed() }
    }

    // MARK: Accepting

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { ended() }

    func channelActive(context: ChannelHandlerContext) {
        proceed()
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    private func ended() {
        isAccepting = false
        retry?.cancel()
        retry = nil
        context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let channel = Self.unwrapInboundIn(data)
        let connection = AcceptedConnection(id: limiter.accepted(now: .now()), channel: channel, gate: self)
        counters.accepted += 1
        descriptors.taken()
        connections[ObjectIdentifier(channel)] = connection
        byID[connection.id] = connection
        let bound = NIOLoopBound((self, connection), eventLoop: context.eventLoop)
        channel.closeFuture.whenComplete { _ in
            let (gate, connection) = bound.value
            gate.descriptors.givenBack()
            gate.closed(connection)
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        context.fireChannelReadComplete()
        proceed()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError else { return context.fireErrorCaught(error) }
        switch error.errnoCode {
        case EMFILE, ENFILE, ENOBUFS, ENOMEM:
            isReading = false
            limiter.descriptorsRefused(now: .now())
            // Off the poll: the channel still believes in a read that has not happened. Only a change of this option does it.
            try? context.channel.syncOptions?.setOption(.autoRead, value: true)
            try? context.channel.syncOptions?.setOption(.autoRead, value: false)
        case ECONNABORTED: break
        default: logger.error(.acceptFailed, "connections cannot be accepted", metadata: ["error": "\(error)"])
        }
    }

    private func proceed() {
        guard isAccepting, !isReading, let context, context.channel.isActive else { return }
        retry?.cancel()
        retry = nil
        while true {
            let now = NIODeadline.now()
            switch limiter.next(now: now, descriptors: descriptors.room(for: share, now: now)) {
            case .accept(let count):
                isWaiting = false
                isReading = true
                if batch != UInt(count) {
                    batch = UInt(count)
                    try? context.channel.syncOptions?.setOption(.maxMessagesPerRead, value: batch)
                }
                return context.read()
            case .evict(let id):
                counters.handshakesEvicted += 1
                guard let connection = byID[id] else { return }
                // Counted as closed at once: the close itself may take a turn of the loop.
                closedByUs(connection)
            case .wait(let reason, let until):
                wait(reason, until: until, context)
                return
            }
        }
    }

    private func closedByUs(_ connection: AcceptedConnection) {
        let waited = isWaiting
        isWaiting = false
        closed(connection)
        isWaiting = waited
        connection.channel.close(promise: nil)
    }

    private func wait(_ reason: AcceptLimiter.Reason, until: NIODeadline?, _ context: ChannelHandlerContext) {
        if !isWaiting {
            counters.acceptPauses += 1
            if reason == .descriptors { counters.descriptorPauses += 1 }
            if let suppressed = warnings.take(now: .now()) { warn(reason, suppressed) }
        }
        isWaiting = true
        guard let until else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        retry = context.eventLoop.scheduleTask(deadline: until) {
            bound.value.retry = nil
            bound.value.proceed()
        }
    }

    private func warn(_ reason: AcceptLimiter.Reason, _ suppressed: Int) {
        let counts: Logger.Metadata = [
            "connections": "\(limiter.connectionCount)", "handshakes": "\(limiter.handshakeCount)", "suppressed": "\(suppressed)",
        ]
        switch reason {
        case .descriptors:
            logger.warning(
                .descriptorsExhausted,
                "new connections wait: this process has no more than \(descriptors.limit.limit) file descriptors; raise the limit (ulimit -n, LimitNOFILE=)",
                metadata: counts)
        case .connections:
            logger.warning(.connectionLimitReached, "new connections wait: max_connections is reached", metadata: counts)
        case .handshakes:
            logger.warning(
                .connectionLimitReached,
                "new connections wait: \(limiter.limits.maximumHandshakes) others have not finished their handshake",
                metadata: counts)
        }
    }
}
