/// How many bytes of its clients the gateway keeps: bodies that are half received or wait for their function, and answers that
/// are not taken. One total for all connections (`max_buffered_bytes`), so that many small shares cannot add up.
///
/// A pure value: the owner acts on it. Above the limit clients that take nothing are cut and new requests turned away, while
/// answers that are being written may go on; above twice the limit those are cut too.
struct MemoryBudget {
    var limit: Int
    private(set) var total = 0
    /// The largest total so far.
    private(set) var peak = 0
    /// Requests that were turned away, and connections that were cut, for want of memory.
    var refusals = 0
    var cuts = 0

    init(limit: Int) { self.limit = limit }

    var isExhausted: Bool { total > limit }
    var isOverrun: Bool { total > 2 * limit }

    mutating func change(from old: Int, to new: Int) {
        total += new - old
        peak = max(peak, total)
    }
}
