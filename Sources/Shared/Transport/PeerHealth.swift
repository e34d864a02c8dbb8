import NIOCore

/// Whether the peer of a connection still lives and still takes what is sent to it. Pure: the time is an argument.
///
/// Time in which we ourselves did not run (a stopped or suspended process, a stalled disk) is nobody's silence: `StallGauge`
/// finds it and `excuse` takes it out of the account.
package struct PeerHealth: Sendable {
    package struct Limits: Sendable {
        /// A peer silent for this long is pinged, and given up after `silence`.
        package var pingInterval: TimeAmount
        package var silence: TimeAmount
        /// A peer for which more than `highWater` bytes wait, and that takes none for this long, is given up.
        package var writeStall: TimeAmount
        package var highWater: Int

        package init(pingInterval: TimeAmount, silence: TimeAmount, writeStall: TimeAmount = .hours(24), highWater: Int = .max) {
            self.pingInterval = pingInterval
            self.silence = silence
            self.writeStall = writeStall
            self.highWater = highWater
        }
    }

    package enum Verdict: Sendable { case fine, ping, silent, stalled }

    private var lastProgress: NIODeadline
    private var lastPing: NIODeadline

    package init(now: NIODeadline) {
        lastProgress = now
        lastPing = now
    }

    /// The peer took bytes.
    package mutating func progressed(_ now: NIODeadline) { lastProgress = now }

    /// `isRead`: whether its socket is being read; a peer we do not read cannot be heard. `ping` counts as sent.
    package mutating func judge(_ now: NIODeadline, lastInbound: NIODeadline, isRead: Bool, queuedBytes: Int, _ limits: Limits) -> Verdict {
        if queuedBytes <= limits.highWater {
            lastProgress = now
        } else if now - lastProgress > limits.writeStall {
            return .stalled
        }
        guard isRead else { return .fine }
        let silence = now - lastInbound
        if silence > limits.silence { return .silent }
        guard silence > limits.pingInterval, now - lastPing > limits.pingInterval else { return .fine }
        lastPing = now
        return .ping
    }

    /// `gap` of the time that has passed is our own doing.
    package mutating func excuse(_ gap: TimeAmount, now: NIODeadline) {
        lastProgress = min(now, lastProgress + gap)
    }
}

/// Finds the time in which this process did not run, from how late a periodic tick of its own comes. Pure.
package struct StallGauge: Sendable {
    /// Lateness below this is ordinary load.
    package static let tolerance = TimeAmount.milliseconds(500)
    private let period: TimeAmount
    private var last: NIODeadline

    package init(period: TimeAmount, now: NIODeadline) {
        self.period = period
        last = now
    }

    /// To be called at every tick. Returns how much of the time since the last one must not be held against any peer.
    package mutating func tick(_ now: NIODeadline) -> TimeAmount {
        let lateness = now - last - period
        last = now
        return lateness > Self.tolerance ? lateness : .zero
    }
}
