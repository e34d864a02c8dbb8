import NIOCore

/// What one listener may hold at a time.
package struct AcceptLimits: Sendable, Equatable {
    /// Connections of any kind; further ones wait in the kernel's backlog. nil = bounded by descriptors only.
    package var maximumConnections: Int?
    /// Connections that have not said what they want: TLS or request head unfinished, upgrade undecided. Default 1024.
    package var maximumHandshakes = 1024

    package init(maximumConnections: Int? = nil, maximumHandshakes: Int = 1024) {
        self.maximumConnections = maximumConnections
        self.maximumHandshakes = maximumHandshakes
    }
}

/// Which connections a listener holds, and whether it may take another: a value without I/O and clock.
///
/// At a limit it accepts nothing, so that clients wait in the kernel; a handshake that has taken longer than `patience` gives
/// its place to one who waits. Silent clients therefore cost honest ones a second at most, not the whole handshake timeout.
package struct AcceptLimiter {
    package typealias ID = UInt64

    package enum Next: Equatable {
        case accept(atMost: Int)
        /// Close this one, tell `closed`, and ask again.
        case evict(ID)
        /// Ask again then, or when something has been established or closed.
        case wait(Reason, until: NIODeadline?)
    }

    package enum Reason: Sendable {
        case connections
        case handshakes
        case descriptors
    }

    /// How long a handshake is undisturbed although others wait.
    package static let patience = TimeAmount.seconds(1)
    /// Pause after the system has refused a descriptor, and between two looks for one.
    package static let pause = TimeAmount.milliseconds(100)

    package var limits: AcceptLimits
    /// Open connections, handshakes among them.
    package private(set) var connectionCount = 0
    private var handshakes: [ID: NIODeadline] = [:]
    /// In the order of acceptance, with those that have ended since.
    private var order = CircularBuffer<ID>()
    private var lastID: ID = 0
    private var pausedUntil: NIODeadline?

    package init(limits: AcceptLimits) { self.limits = limits }

    package var handshakeCount: Int { handshakes.count }

    package mutating func accepted(now: NIODeadline) -> ID {
        lastID += 1
        connectionCount += 1
        handshakes[lastID] = now
        order.append(lastID)
        return lastID
    }

    /// The handshake is over. Does nothing for one that is closed.
    package mutating func established(_ id: ID) {
        guard handshakes.removeValue(forKey: id) != nil else { return }
        compact()
    }

    /// Once for every accepted connection.
    package mutating func closed(_ id: ID) {
        connectionCount -= 1
        handshakes[id] = nil
        compact()
    }

    /// The system has no descriptor for another connection.
    package mutating func descriptorsRefused(now: NIODeadline) { pausedUntil = now + Self.pause }

    /// `descriptors`: how many the process has left for connections.
    package func next(now: NIODeadline, descriptors: Int) -> Next {
        let oldest = order.first { handshakes[$0] != nil }
        let oldestSince = oldest.flatMap { handshakes[$0] }
        func full(_ reason: Reason, until: NIODeadline? = nil) -> Next {
            if let oldest, let oldestSince, now - oldestSince >= Self.patience { return .evict(oldest) }
            return .wait(reason, until: until ?? oldestSince.map { $0 + Self.patience })
        }
        if let pausedUntil, now < pausedUntil { return full(.descriptors, until: pausedUntil) }
        if descriptors <= 0 { return full(.descriptors, until: now + Self.pause) }
        let room = limits.maximumConnections.map { $0 - connectionCount } ?? .max
        if room <= 0 { return full(.connections) }
        let handshakeRoom = limits.maximumHandshakes - handshakes.count
        if handshakeRoom <= 0 { return full(.handshakes) }
        return .accept(atMost: min(descriptors, room, handshakeRoom))
    }

    /// Keeps `order` within a small multiple of what is alive.
    private mutating func compact() {
        while let first = order.first, handshakes[first] == nil { order.removeFirst() }
        guard order.count > 2 * handshakes.count + 64 else { return }
        order = CircularBuffer(order.filter { handshakes[$0] != nil })
    }
}
