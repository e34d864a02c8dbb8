import IIIItems
import IIIProtocol
import IIITelemetry
import IIITransport
import NIOCore

/// One client of the stream port.
///
/// Frames wait in a `SocketQueue` and go out as fast as the client takes them, large ones in pieces; nothing here waits for anybody. What the
/// client says is handled strictly in order, one message at a time; meanwhile it is not read for long. Confined to its event loop.
package final class StreamSocket: WebSocketConnection {
    private let port: StreamPort
    /// What the auth function has said about this client, as JSON text.
    let authContext: [UInt8]
    /// Joined by the address it has connected to.
    let implicitTarget: ClientMessage.Target?
    var subscriptions: [String: Subscription] = [:]
    private(set) var queue: SocketQueue
    /// A large frame under way, and how much of it has been handed on.
    private var partial: (frame: StreamFrame, offset: Int)?
    /// What the ledger has been told of the transport.
    private var accounted = 0
    /// Of the user where nobody has said another one: each connection is a user.
    private lazy var ownKey: ItemName = {
        var generator = SystemRandomNumberGenerator()
        return ItemName(UUIDBits.random(using: &generator).text)
    }()
    private var inbox = CircularBuffer<ClientMessage>()
    private var isBusy = false
    private var badMessages = 0
    private var joins: JoinAllowance
    private var health = PeerHealth(now: .now())
    private(set) var isEnded = false

    /// What the transport may hold of our frames before more is handed to it; less while too much waits for all sockets together.
    private static let appetite = 256 << 10
    private static let leanAppetite = 16 << 10
    private static let leanLimits = SocketQueue.Limits(frames: 32, bytes: 64 << 10)
    private static let pieceLength = 128 << 10
    private static let maximumInbox = 64
    private static let maximumBadMessages = 100
    /// Snapshots of so many bytes may wait before another one is asked for.
    private static let snapshotRoom = 4 << 20

    init(port: StreamPort, authContext: [UInt8], implicitTarget: ClientMessage.Target?, limits: WebSocketLimits, coalescer: WriteCoalescer)
    {
        self.port = port
        self.authContext = authContext
        self.implicitTarget = implicitTarget
        joins = JoinAllowance(now: .now())
        queue = SocketQueue(ledger: port.ledger)
        super.init(role: .server, limits: limits, coalescer: coalescer)
    }

    package override func connectionOpened() {
        port.opened(self)
        if let implicitTarget {
            inbox.append(.join(implicitTarget))
            handleNext()
        }
    }

    // MARK: Sending

    func send(_ frame: StreamFrame) {
        guard phase == .open else { return }
        // Most clients wait for nothing: then there is nothing to be ordered, merged or counted.
        if queue.isEmpty, partial == nil, !queue.hasLeftOut, queuedBytes < Self.leanAppetite, frame.bytes.count <= Self.pieceLength {
            port.counters.sent.add()
            sendText(frame.bytes)
            return account()
        }
        queue.append(frame, limits(port.settings.socketLimits))
        pump()
    }

    private func limits(_ usual: SocketQueue.Limits) -> SocketQueue.Limits {
        guard port.ledger.isOver else { return usual }
        return SocketQueue.Limits(
            frames: min(usual.frames, Self.leanLimits.frames), bytes: min(usual.bytes, Self.leanLimits.bytes))
    }

    /// These frames would wait here without any being left out.
    func hasRoom(for frames: [StreamFrame]) -> Bool {
        let limits = limits(port.settings.socketLimits)
        return queue.count + frames.count <= limits.frames && queue.bytes + frames.reduce(0) { $0 + $1.cost } <= limits.bytes
    }

    /// Under which a user is shown: what the auth function calls it, what the client calls itself, or this connection.
    func presenceKey(of subscription: Subscription) -> ItemName {
        if let input = try? InputObject(authContext[...]), let text = try? input.optional(port.settings.presenceKey) {
            return (try? InputObject.string(text)).map { ItemName($0) } ?? ItemName(String(decoding: text, as: UTF8.self))
        }
        return subscription.options.presenceKey ?? ownKey
    }

    private func pump() {
        guard phase == .open else { return }
        while queuedBytes < (port.ledger.isOver ? Self.leanAppetite : Self.appetite) {
            if let (frame, offset) = partial {
                sendPiece(of: frame, from: offset)
                continue
            }
            guard let frame = queue.popFirst() else { break }
            port.counters.sent.add()
            if frame.bytes.count <= Self.pieceLength {
                sendText(frame.bytes)
            } else {
                port.ledger.hold(frame)
                partial = (frame, 0)
            }
            account()
        }
        account()
        if partial == nil, queue.isEmpty, queuedBytes < Self.appetite { tellWhatWasLeftOut() }
        handleNext()
    }

    /// Tells the ledger what the transport holds.
    private func account() {
        let held = isEnded ? 0 : queuedBytes
        if held != accounted { port.ledger.transportChanged(by: held - accounted) }
        accounted = held
    }

    /// The next piece ends between two characters.
    private func sendPiece(of frame: StreamFrame, from offset: Int) {
        let bytes = frame.bytes
        var end = min(bytes.count, offset + Self.pieceLength)
        while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        // Said before it is sent: sending may come back here.
        partial = end < bytes.count ? (frame, end) : nil
        if partial == nil { port.ledger.release(frame) }
        bytes.withUnsafeBytes { all in
            sendTextPiece(UnsafeRawBufferPointer(rebasing: all[offset..<end]), isFirst: offset == 0, isLast: end == bytes.count)
        }
    }

    private func tellWhatWasLeftOut() {
        guard queue.hasLeftOut else { return }
        port.tellAgain(self, queue.takeStale())
    }

    package override func queuedBytesShrank() {
        health.progressed(.now())
        pump()
    }

    /// Once a second.
    func judge(_ now: NIODeadline, _ limits: PeerHealth.Limits, excuse: TimeAmount) {
        guard phase == .open else { return }
        // Joins may have waited for room that others had.
        handleNext()
        if excuse > .zero {
            self.excuse(excuse)
            health.excuse(excuse, now: now)
        }
        switch health.judge(now, lastInbound: lastInbound, isRead: isBeingRead, queuedBytes: queuedBytes, limits) {
        case .fine: break
        case .ping: sendPing()
        case .silent: drop(.goingAway)
        case .stalled:
            port.counters.stalled.add()
            drop(.tryAgainLater)
        }
    }

    /// Nobody listens to the group on this socket any more: nothing of it is to be told anew.
    func forget(_ group: ItemGroup) {
        if !subscriptions.values.contains(where: { $0.group == group }) { queue.forget(group) }
    }

    /// What is kept for it alone, about.
    var weight: Int { queue.bytes + queue.snapshotBytes + queuedBytes }

    // MARK: Receiving

    package override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        do throws(InputProblem) {
            let message = try ClientMessage(bytes)
            switch message {
            case .blank: return
            case .ping: sendText(Array(#"{"type":"pong"}"#.utf8))
            case .join, .leave, .presence:
                inbox.append(message)
                handleNext()
                if inbox.count >= Self.maximumInbox { isHeld = true }
            }
        } catch {
            badMessages += 1
            guard badMessages <= Self.maximumBadMessages else { return close(.policyViolation, reason: "too many bad messages") }
            complain("bad_message", error.message, ItemGroup(name: ""), nil, nil)
        }
    }

    func complain(_ code: String, _ message: String, _ group: ItemGroup, _ id: ItemName?, _ subscription: String?) {
        send(port.hub.frame(.error(code: code, message: message), for: group, id: id, subscription: subscription))
    }

    private func handleNext() {
        guard !isBusy, !inbox.isEmpty, queue.snapshotBytes < Self.snapshotRoom, !port.ledger.isOver, phase == .open else { return }
        let message = inbox.removeFirst()
        if inbox.count < Self.maximumInbox / 2 { isHeld = false }
        switch message {
        case .leave(let target):
            if port.leave(self, target.subscription), target.options.wantsAnswer {
                send(port.hub.frame(.left, for: target.group, id: target.id, subscription: target.subscription))
            }
            handleNext()
        case .presence(let subscription, let value):
            guard joins.take(.now()) else {
                complain(
                    "rate_limited", "more than \(JoinAllowance.perSecond) joins and presences a second", ItemGroup(name: ""), nil,
                    subscription)
                return handleNext()
            }
            if subscriptions[subscription].map({ port.hub.show(value, for: $0) }) != true {
                complain("bad_message", "the subscription has joined without presence", ItemGroup(name: ""), nil, subscription)
            }
            handleNext()
        case .join(let target):
            guard joins.take(.now()) else {
                complain(
                    "rate_limited", "more than \(JoinAllowance.perSecond) joins a second", target.group, target.id, target.subscription)
                return handleNext()
            }
            if target.options.resume == .malformed {
                complain(
                    "bad_message", "`resume` needs `epoch`, a text, and `seq`, a number", target.group, target.id, target.subscription)
            }
            isBusy = true
            port.join(self, target) { [self] in
                isBusy = false
                handleNext()
            }
        case .ping, .blank: handleNext()
        }
    }

    package override func connectionClosed() {
        isEnded = true
        inbox.removeAll()
        if let frame = partial?.frame { port.ledger.release(frame) }
        partial = nil
        queue.removeAll()
        account()
        port.closed(self)
    }
}

/// How often a socket may join. Pure.
struct JoinAllowance {
    static let perSecond = 50
    private var left = Double(perSecond)
    private var last: NIODeadline

    init(now: NIODeadline) { last = now }

    mutating func take(_ now: NIODeadline) -> Bool {
        left = min(Double(Self.perSecond), left + Double((now - last).nanoseconds) / 1e9 * Double(Self.perSecond))
        last = now
        guard left >= 1 else { return false }
        left -= 1
        return true
    }
}
