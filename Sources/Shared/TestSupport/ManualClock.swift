import IIIProtocol

/// A clock that stands still until a test moves it.
public struct ManualClock: Sendable {
    /// Nanoseconds since the clock was made.
    public private(set) var now: Int64 = 0
    /// At 0.
    public init() {}
    /// Moves the clock forward.
    public mutating func advance(nanoseconds: Int64) { now += nanoseconds }
}
