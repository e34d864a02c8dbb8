/// What registrations occupy, per worker and in all, in bytes. Pure.
///
/// A registration costs the length of its message plus what the tables need for any: counting entries alone would let ten
/// thousand of them hold ten thousand times the longest message. Built-ins are counted but never refused.
package final class RegistrationLedger {
    /// Which limit stands against a registration.
    package enum Limit: Equatable, Sendable { case perWorker, total }

    /// What a record takes beside its text.
    package static let overhead = 512
    /// Defaults 32 MiB and 64 MiB.
    package var maximumPerWorker: Int
    package var maximumTotal: Int
    package private(set) var total = 0

    package init(maximumPerWorker: Int = 32 << 20, maximumTotal: Int = 64 << 20) {
        self.maximumPerWorker = maximumPerWorker
        self.maximumTotal = maximumTotal
    }

    /// Why `worker` may not have `new` bytes in place of `old`; nil when it may. Saying the same or less again is always allowed.
    package func objection(to worker: Worker?, replacing old: Int, with new: Int) -> Limit? {
        guard new > old, worker?.isPrivileged != true else { return nil }
        if let worker, worker.registeredBytes + new - old > maximumPerWorker { return .perWorker }
        return total + new - old > maximumTotal ? .total : nil
    }

    package func change(_ worker: Worker?, by delta: Int) {
        total += delta
        worker?.registeredBytes += delta
    }
}
