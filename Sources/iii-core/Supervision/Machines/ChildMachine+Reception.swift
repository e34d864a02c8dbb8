/// What the clients of a child's listening socket meet, which the core keeps open across its restarts.
package enum Reception: Sendable, Equatable {
    /// The child's: it accepts, or will in a moment, and clients wait in the kernel's queue until then.
    case child
    /// Nobody will serve soon: the core answers 503 in its place, with this `Retry-After`.
    case unavailable(retryAfter: Duration)
    /// Ended on purpose: the address is given back and clients are refused.
    case closed
}

extension ChildMachine {
    /// How long clients may be left waiting without an answer.
    package static let patience: Duration = .seconds(3)
    /// A back-off that is known to last longer is answered from its beginning.
    static let longBackoff: Duration = .seconds(1)
    /// For states that end by an act of the operator.
    static let operatorRetry: Duration = .seconds(30)

    package func reception(now: Duration) -> Reception {
        switch state {
        case .ready, .degraded: return .child
        case .disabled, .stopped: return .closed
        case .failed: return .unavailable(retryAfter: Self.operatorRetry)
        case .stopping where afterStop == .stay: return .unavailable(retryAfter: Self.operatorRetry)
        case .backoff:
            let rest = (timer ?? now) - now
            return rest > Self.longBackoff || hasBeenVacantTooLong(now) ? .unavailable(retryAfter: max(rest, .seconds(1))) : .child
        case .waiting, .starting, .stopping:
            return hasBeenVacantTooLong(now) ? .unavailable(retryAfter: .seconds(1)) : .child
        }
    }

    /// When `reception` changes by time alone.
    package func receptionDeadline(now: Duration) -> Duration? {
        guard let vacantSince, case .child = reception(now: now) else { return nil }
        return vacantSince + Self.patience
    }

    private func hasBeenVacantTooLong(_ now: Duration) -> Bool { vacantSince.map { now - $0 >= Self.patience } ?? false }
}
