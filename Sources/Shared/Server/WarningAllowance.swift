import NIOCore

/// Lets a peer cause a few lines a minute in the log, not a flood. A value; time is an argument.
package struct WarningAllowance {
    package static let interval = TimeAmount.minutes(1)

    private let maximum: Int
    private var began: NIODeadline?
    private var count = 0
    private var suppressed = 0

    /// `maximum`: lines in each `interval`.
    package init(_ maximum: Int) { self.maximum = maximum }

    /// nil when the line is to be left out, else how many have been left out before it.
    package mutating func take(now: NIODeadline) -> Int? {
        if began.map({ now - $0 >= Self.interval }) ?? true {
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
