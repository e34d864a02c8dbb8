import Synchronization

/// Counts what happens. One relaxed atomic addition.
public final class CounterInstrument: Sendable {
    private let count = Atomic<Int64>(0)

    /// At 0.
    public init() {}

    /// The count so far.
    public var value: Int64 { count.load(ordering: .relaxed) }

    /// Negative amounts are ignored: a counter only grows.
    public func add(_ amount: Int64 = 1) {
        if amount > 0 { count.wrappingAdd(amount, ordering: .relaxed) }
    }
}

extension CounterInstrument {
    /// Takes over a total that is counted elsewhere; one that is smaller than before is ignored.
    package func advance(to total: Int) { add(Int64(total) - value) }
}

/// Says how something stands.
public final class GaugeInstrument: Sendable {
    private let bits = Atomic<UInt64>(0)

    /// At 0.
    public init() {}

    /// What it says now.
    public var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }

    /// Says how it stands now. Any thread.
    public func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }
    /// The same for a whole number.
    public func set(_ value: Int) { set(Double(value)) }

    /// Changes it by `amount`, which may be negative. Any thread; nothing is lost between two of them.
    public func add(_ amount: Double) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (exchanged, original) = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
            if exchanged { return }
            old = original
        }
    }
}

/// How values are spread over ranges with fixed bounds. Two relaxed atomic additions.
public final class HistogramInstrument: @unchecked Sendable {
    /// Upper limits for durations in seconds.
    public static let secondsBounds: [Double] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
    ]

    /// The upper limit of each range but the last, ascending.
    public let bounds: [Double]
    /// One more than `bounds`, in memory of its own: only atomics are touched, so any thread may.
    private let counts: UnsafeMutablePointer<Atomic<UInt64>>
    private let sum = GaugeInstrument()

    /// `bounds` must be ascending; a value counts in the first range whose bound it does not exceed.
    public init(bounds: [Double] = HistogramInstrument.secondsBounds) {
        self.bounds = bounds
        counts = .allocate(capacity: bounds.count + 1)
        for index in 0...bounds.count { (counts + index).initialize(to: Atomic(0)) }
    }

    deinit {
        counts.deinitialize(count: bounds.count + 1)
        counts.deallocate()
    }

    /// What is not a number is ignored.
    public func record(_ value: Double) {
        guard !value.isNaN else { return }
        let index = bounds.firstIndex { value <= $0 } ?? bounds.count
        counts[index].wrappingAdd(1, ordering: .relaxed)
        sum.add(value)
    }

    /// The same in seconds.
    public func record(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        record(Double(seconds) + Double(attoseconds) * 1e-18)
    }

    var value: MetricFamily.Value {
        .histogram(bounds: bounds, counts: (0...bounds.count).map { counts[$0].load(ordering: .relaxed) }, sum: sum.value)
    }
}
