/// Counts failures in a sliding window, as OTP's restart intensity does (docs/reference/supervisor.md#restarts). Pure.
package struct RestartIntensity: Sendable, Equatable {
    package let maximum: Int
    package let window: Duration
    private var failures: [(time: Duration, weight: Int)] = []

    package init(maximum: Int, window: Duration) {
        self.maximum = maximum
        self.window = window
    }

    /// Adds a failure and says whether there are now more than `maximum` of them within the window.
    package mutating func record(at now: Duration, weight: Int = 1) -> Bool {
        failures.append((now, weight))
        failures.removeAll { now - $0.time > window }
        // More entries than this cannot change any answer.
        if failures.count > maximum + 1 { failures.removeFirst(failures.count - maximum - 1) }
        return load > maximum
    }

    /// Weight of the failures in the window, as of the last one.
    package var load: Int { failures.reduce(0) { $0 + $1.weight } }

    package mutating func reset() { failures.removeAll() }

    package static func == (left: RestartIntensity, right: RestartIntensity) -> Bool {
        left.maximum == right.maximum && left.window == right.window
            && left.failures.elementsEqual(right.failures) { $0.time == $1.time && $0.weight == $1.weight }
    }
}
