/// Decides when a file that is being saved is whole. Pure.
///
/// A save may cut the file first and write it later, in pieces, with the file open for as long as it likes. A content counts once it
/// has not changed for `debounce` and everybody who wrote it has closed it; whoever keeps it open without writing is waited for
/// `writerPatience`. Somebody may also save in two steps, so what takes something away can be held back until the file has been
/// still for longer (`hold`).
package struct SaveStability: Sendable {
    package static let debounce: Duration = .milliseconds(500)
    package static let writerPatience: Duration = .seconds(10)
    /// For `hold`.
    package static let removalPatience: Duration = .seconds(3)

    /// What tells one content from another without reading it.
    package struct Fingerprint: Sendable, Equatable {
        package var device: UInt64
        package var inode: UInt64
        package var size: Int64
        package var mode: UInt32
        package var seconds: Int
        package var nanoseconds: Int
    }

    private var last: Fingerprint?
    private var lastChange: Duration?
    private var isPending = false
    private var isOpenForWriting = false
    private var heldUntil: Duration?

    package init(_ fingerprint: Fingerprint?) { last = fingerprint }

    /// When `isDue` may be true; nil when nothing has changed.
    package var deadline: Duration? {
        guard isPending, let lastChange else { return nil }
        return max(lastChange + (isOpenForWriting ? Self.writerPatience : Self.debounce), heldUntil ?? .zero)
    }

    /// How the file looks now; nil while it is gone, which is no change: its return is.
    package mutating func observed(_ fingerprint: Fingerprint?, now: Duration) {
        guard let fingerprint, fingerprint != last else { return }
        // Whoever writes the one that was here before, does not write this one.
        if fingerprint.inode != last?.inode || fingerprint.device != last?.device { isOpenForWriting = false }
        last = fingerprint
        changed(now)
    }

    package mutating func written(now: Duration) {
        isOpenForWriting = true
        changed(now)
    }

    package mutating func closed() { isOpenForWriting = false }

    private mutating func changed(_ now: Duration) {
        lastChange = now
        heldUntil = nil
        isPending = true
    }

    /// True once per change, when its time has come.
    package mutating func isDue(now: Duration) -> Bool {
        guard let deadline, now >= deadline else { return false }
        isPending = false
        return true
    }

    /// Somebody has read the file as it is now, for whatever reason.
    package mutating func wasRead() { isPending = false }

    /// Comes back to a change that was due, when the file has been still for `duration`; false when it has been already.
    package mutating func hold(for duration: Duration, now: Duration) -> Bool {
        guard let lastChange, now < lastChange + duration else { return false }
        heldUntil = lastChange + duration
        isPending = true
        return true
    }
}
