/// Whether a client takes its output, from looks at what it has not taken yet (bytes).
struct OutputProgress {
    private var bytesAtIdle = 0
    private var bytesAtStall = 0

    /// A response is complete: the next look is the first of it.
    mutating func noteIdle() { bytesAtIdle = 0 }

    /// Whether the client has taken some of its last response since the look before.
    mutating func isSlow(_ buffered: Int) -> Bool {
        guard buffered > 0, buffered != bytesAtIdle else { return false }
        bytesAtIdle = buffered
        return true
    }

    mutating func noteStall(_ buffered: Int) { bytesAtStall = buffered }

    /// Whether it has taken nothing.
    func isStalled(_ buffered: Int) -> Bool { buffered > 0 && buffered >= bytesAtStall }
}
