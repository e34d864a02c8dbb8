import NIOCore

/// What all TLS connections of one listener share: the current context, counters, and where events are told.
///
/// Another context holds for connections that are accepted from then on. Confined to the listener's event loop.
package final class TLSEndpoint {
    package private(set) var context: TLSServerContext
    /// From the first byte of a connection to the end of its handshake.
    package var handshakeTimeout: TimeAmount
    package private(set) var counters = TLSCounters()
    private let report: (TLSEvent, TLSCounters) -> Void

    package init(_ context: TLSServerContext, handshakeTimeout: TimeAmount, report: @escaping (TLSEvent, TLSCounters) -> Void) {
        self.context = context
        self.handshakeTimeout = handshakeTimeout
        self.report = report
    }

    package func use(_ context: TLSServerContext) { self.context = context }

    func happened(_ event: TLSEvent) {
        counters.count(event)
        report(event, counters)
    }
}

/// What may become of a TLS connection, for log and counters.
package enum TLSEvent: Equatable, Sendable {
    case established(version: String, isResumed: Bool)
    /// The handshake failed, or the peer left in the middle of it.
    case handshakeFailed(String)
    case handshakeTimedOut
    /// The first bytes were those of plain HTTP.
    case plaintextRefused
    /// An established connection broke the protocol.
    case connectionFailed(String)
    /// The peer's end came without close_notify: what it sent may have been cut short by somebody else.
    case truncated
}

/// How often each event has happened since the listener began.
package struct TLSCounters: Equatable, Sendable {
    package private(set) var established = 0
    package private(set) var resumed = 0
    package private(set) var handshakesFailed = 0
    package private(set) var handshakesTimedOut = 0
    package private(set) var plaintextRefused = 0
    package private(set) var connectionsFailed = 0
    package private(set) var truncated = 0

    package init() {}

    package static func + (left: TLSCounters, right: TLSCounters) -> TLSCounters {
        var sum = left
        sum.established += right.established
        sum.resumed += right.resumed
        sum.handshakesFailed += right.handshakesFailed
        sum.handshakesTimedOut += right.handshakesTimedOut
        sum.plaintextRefused += right.plaintextRefused
        sum.connectionsFailed += right.connectionsFailed
        sum.truncated += right.truncated
        return sum
    }

    mutating func count(_ event: TLSEvent) {
        switch event {
        case .established(_, let isResumed):
            established += 1
            if isResumed { resumed += 1 }
        case .handshakeFailed: handshakesFailed += 1
        case .handshakeTimedOut: handshakesTimedOut += 1
        case .plaintextRefused: plaintextRefused += 1
        case .connectionFailed: connectionsFailed += 1
        case .truncated: truncated += 1
        }
    }
}

/// An outbound user event: the close that follows is to look like an accident, without close_notify, because what was being
/// sent is not complete. Harmless on a plain connection.
package struct TLSUncleanClose: Sendable {
    package init() {}
}
