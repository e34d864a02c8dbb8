import IIIProtocol

/// What one listener has done since it began. Plain integers: they are only touched on its loop.
package struct ServerCounters: Sendable, Equatable {
    package var accepted = 0
    /// Ended by `handshake_timeout_ms`.
    package var handshakesTimedOut = 0
    /// Gave their place to a connection that waited.
    package var handshakesEvicted = 0
    /// The listener stopped accepting at a limit.
    package var acceptPauses = 0
    /// Of these: for want of descriptors.
    package var descriptorPauses = 0
    /// Upgrades that the rules for origins and hosts refused.
    package var originsRefused = 0
    /// The owner did not decide in time.
    package var decisionsTimedOut = 0

    package init() {}

    package static func + (left: ServerCounters, right: ServerCounters) -> ServerCounters {
        var sum = left
        sum.accepted += right.accepted
        sum.handshakesTimedOut += right.handshakesTimedOut
        sum.handshakesEvicted += right.handshakesEvicted
        sum.acceptPauses += right.acceptPauses
        sum.descriptorPauses += right.descriptorPauses
        sum.originsRefused += right.originsRefused
        sum.decisionsTimedOut += right.decisionsTimedOut
        return sum
    }

    package var json: [String: JSONValue] {
        [
            "sockets_accepted": JSONValue(accepted), "handshakes_timed_out": JSONValue(handshakesTimedOut),
            "handshakes_evicted": JSONValue(handshakesEvicted), "accept_pauses": JSONValue(acceptPauses),
            "descriptor_pauses": JSONValue(descriptorPauses), "origins_refused": JSONValue(originsRefused),
            "upgrade_decisions_timed_out": JSONValue(decisionsTimedOut),
        ]
    }
}
