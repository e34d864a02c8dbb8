import NIOCore

/// Delays between attempts to reconnect: doubling from the first to a maximum, each ± 30 % (protocol.md §9). Pure.
struct ReconnectBackoff {
    let first: TimeAmount
    let maximum: TimeAmount
    private var attempts = 0

    init(first: TimeAmount, maximum: TimeAmount) {
        self.first = first
        self.maximum = maximum
    }

    mutating func next(using generator: inout some RandomNumberGenerator) -> TimeAmount {
        // Capped before it is converted, so no number of attempts overflows.
        let doubled = Double(first.nanoseconds) * Double(1 << min(attempts, 30))
        let capped = min(doubled, Double(maximum.nanoseconds))
        attempts += 1
        return .nanoseconds(Int64(capped * Double.random(in: 0.7...1.3, using: &generator)))
    }

    mutating func reset() { attempts = 0 }
}
