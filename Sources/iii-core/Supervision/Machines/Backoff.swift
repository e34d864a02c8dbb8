import IIIConfiguration

/// The growing pause before the next start of a child (docs/reference/supervisor.md#restarts). Pure; randomness is handed in.
package struct Backoff: Sendable, Equatable {
    private let settings: RestartSettings
    /// Delays handed out since the last reset.
    package private(set) var attempts = 0

    package init(_ settings: RestartSettings) { self.settings = settings }

    /// The next delay: `delay × factor^attempts`, at most `maximumDelay`, then spread by ±`jitter`.
    package mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        let base = Double(settings.delay.wholeMilliseconds)
        let cap = Double(settings.maximumDelay.wholeMilliseconds)
        var delay = base
        for _ in 0..<attempts where delay < cap { delay *= settings.factor }
        attempts += 1
        delay = min(delay, cap)
        if settings.jitter > 0 { delay *= Double.random(in: (1 - settings.jitter)...(1 + settings.jitter), using: &random) }
        return .milliseconds(Int64(min(max(delay, 0), cap)))
    }

    package mutating func reset() { attempts = 0 }
}
