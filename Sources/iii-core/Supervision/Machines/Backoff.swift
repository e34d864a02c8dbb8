import IIIConfiguration

/// The growing pause before the next start of a child (spec §29.4). Pure; randomness is handed in.
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

/// A small reproducible generator (SplitMix64): the same seed gives the same delays in every run.
package struct SeededGenerator: RandomNumberGenerator, Sendable, Equatable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
