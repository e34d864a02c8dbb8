import IIIItems
import IIIProtocol
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
    private(set) var queue = SocketQueue()
    /// A large frame under way, and how much of it has been handed on.
    private var partial: (bytes: [UInt8], offset: Int)?
    private var inbox = CircularBuffer<ClientMessage>()
    private var isBusy = false
    private var badMessages = 0
    private var joins: JoinAllowance
    private var health = PeerHealth(now: .now())
    private(set) var isEnded = false

    /// What the transport may hold of our frames before more is handed to it.
    private static let appetite = 256 << 10
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
        queue.append(frame, port.settings.socketLimits)
        pump()
    }

    private func pump() {
        guard phase == .open else { return }
        while queuedBytes < Self.appetite {
            if let (bytes, offset) = partial {
                partial = nil
                sendPiece(of: bytes, from: offset)
                continue
            }
            guard let frame = queue.popFirst() else { break }
            port.counters.sent.add()
            if frame.bytes.count <= Self.pieceLength { sendText(frame.bytes) } else { partial = (frame.bytes, 0) }
        }
        if partial == nil, queue.isEmpty, queuedBytes < Self.appetite { tellWhatWasLeftOut() }
        if queue.snapshotBytes < Self.snapshotRoom { handleNext() }
    }

    /// The next piece ends between two characters.
    private func sendPiece(of bytes: [UInt8], from offset: Int) {
        var end = min(bytes.count, offset + Self.pieceLength)
        while end < bytes.count, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        // Said before it is sent: sending may come back here.
        partial = end < bytes.count ? (bytes, end) : nil
        bytes.withUnsafeBytes { all in
            sendTextPiece(UnsafeRawBufferPointer(rebasing: all[offset..<end]), isFirst: offset == 0, isLast: end == bytes.count)
        }
    }

    private func tellWhatWasLeftOut() {
        guard !queue.stale.isEmpty || !queue.lagged.isEmpty else { return }
        let (stale, lagged) = queue.takeStale()
        port.tellAgain(self, stale, lagged)
    }

    package override func queuedBytesShrank() {
        health.progressed(.now())
        pump()
    }

    /// Once a second.
    func judge(_ now: NIODeadline, _ limits: PeerHealth.Limits, excuse: TimeAmount) {
        guard phase == .open else { return }
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

    // MARK: Receiving

    package override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        do throws(InputProblem) {
            let message = try ClientMessage(bytes)
            switch message {
            case .blank: return
            case .ping: sendText(Array(#"{"type":"pong"}"#.utf8))
            case .join, .leave:
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
        guard !isBusy, !inbox.isEmpty, queue.snapshotBytes < Self.snapshotRoom, phase == .open else { return }
        let message = inbox.removeFirst()
        if inbox.count < Self.maximumInbox / 2 { isHeld = false }
        switch message {
        case .leave(let subscription):
            port.leave(self, subscription)
            handleNext()
        case .join(let target):
            guard joins.take(.now()) else {
                complain(
                    "rate_limited", "more than \(JoinAllowance.perSecond) joins a second", target.group, target.id, target.subscription)
                return handleNext()
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
