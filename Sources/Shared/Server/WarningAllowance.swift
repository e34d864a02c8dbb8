import NIOCore

/// Lets a peer cause a few lines in the log now and then, not a flood. Of each peer's own, so that its noise hides nobody
/// else's. A value; time is an argument.
package struct WarningAllowance {
    package static let interval = TimeAmount.minutes(1)

    private let maximum: Int
    private let interval: TimeAmount
    private var began: NIODeadline?
    private var count = 0
    private var suppressed = 0

    /// `maximum`: lines in each `interval`; a minute by default.
    package init(_ maximum: Int, each interval: TimeAmount = WarningAllowance.interval) {
        self.maximum = maximum
        self.interval = interval
    }

    /// nil when the line is to be left out, else how many have been left out before it.
    package mutating func take(now: NIODeadline) -> Int? {
        if began.map({ now - $0 >= interval }) ?? true {
            began = now
            count = 0
        }
        guard count < maximum else {
            suppressed += 1
            return nil
        }
        count += 1
        defer { suppressed = 0 }
        return suppressed
    }
}
