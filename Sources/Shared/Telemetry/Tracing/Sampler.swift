/// Whether a trace is recorded. Decided once, where the trace begins; everybody further down follows what the context says.
public struct Sampler: Sendable, Equatable {
    /// Share of traces begun here that are recorded, 0 to 1. Default 1. Those that are not tell their children so.
    public var ratio: Double
    /// Whether a caller's decision is followed. Default true.
    public var isParentBased: Bool
    /// Whether a call without a trace begins one. Default true.
    public var beginsTraces = true

    /// `ratio`: share of the traces that begin here, 0 to 1.
    public init(ratio: Double = 1, isParentBased: Bool = true) {
        self.ratio = ratio
        self.isParentBased = isParentBased
    }

    /// Records what belongs to a trace that somebody else records, and begins none.
    public static let following = {
        var sampler = Sampler()
        sampler.beginsTraces = false
        return sampler
    }()

    /// By the low-order bytes of the trace id, so that every process comes to the same decision.
    public func decides(traceLow: UInt64, parent: SpanContext?) -> Bool {
        if isParentBased, let parent { return parent.isSampled }
        if ratio >= 1 { return true }
        if !(ratio > 0) { return false }
        return Double(traceLow & (1 << 56 - 1)) < ratio * Double(UInt64(1) << 56)
    }
}
