/// Delays between attempts to reconnect: doubling from the first to a maximum, each ± 30 %
/// (docs/reference/worker-protocol.md#reconnecting). Pure.
package struct ReconnectBackoff: Sendable {
    private let first: Duration
    private let maximum: Duration
    private var attempts = 0

    package init(first: Duration, maximum: Duration) {
        self.first = first
        self.maximum = maximum
    }

    package mutating func next(using generator: inout some RandomNumberGenerator) -> Duration {
        // Capped before it is converted, so no number of attempts overflows.
        let capped = min(first / .nanoseconds(1) * Double(1 << min(attempts, 30)), maximum / .nanoseconds(1))
        attempts += 1
        return .nanoseconds(Int64(capped * Double.random(in: 0.7...1.3, using: &generator)))
    }

    package mutating func reset() { attempts = 0 }
}
