import NIOCore

/// What the machines of one connection want done, in order, and which timer of the main slot runs.
///
/// One queue for all of them, because the order among their actions matters. A pure value; its storage is kept for the
/// connection's life, so that a request costs no allocation.
struct ExchangeEffects {
    private var actions: [ExchangeAction] = []
    private var first = 0
    private var failures = CircularBuffer<GatewayError>()
    /// Of the main slot; a timer that fires without running has been overtaken.
    private(set) var running: ExchangeTimer?

    mutating func emit(_ action: ExchangeAction) { actions.append(action) }

    /// The next thing to do; nil when there is nothing.
    mutating func next() -> ExchangeAction? {
        guard first < actions.count else { return nil }
        let action = actions[first]
        first += 1
        if first == actions.count {
            first = 0
            actions.removeAll(keepingCapacity: true)
        }
        return action
    }

    /// Withdraws what nobody has begun to do. False when it is done, or being done.
    mutating func takeBack(_ action: ExchangeAction) -> Bool {
        guard let index = actions[first...].firstIndex(of: action) else { return false }
        actions.remove(at: index)
        return true
    }

    /// Keeps the error for the `answer(.failure)` that follows.
    mutating func note(_ failure: GatewayError) { failures.append(failure) }

    /// The error of the oldest `answer(.failure)` that is not written.
    mutating func takeFailure() -> GatewayError { failures.popFirst() ?? .coreUnavailable }

    // MARK: Timers

    mutating func start(_ timer: ExchangeTimer) {
        if timer.slot == .main { running = timer }
        emit(.start(timer))
    }

    mutating func cancelMainTimer() {
        guard running != nil else { return }
        running = nil
        emit(.cancel(.main))
    }

    /// What runs in the main slot does not count any more.
    mutating func forgetMainTimer() { running = nil }

    /// False when the timer does not count any more.
    mutating func fired(_ timer: ExchangeTimer) -> Bool {
        guard timer.slot == .main else { return true }
        guard running == timer else { return false }
        running = nil
        return true
    }
}
