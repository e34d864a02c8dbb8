/// Decides when changed files start a pipeline of `iii-exec` anew. Pure.
///
/// A change is due `debounce` after the last event of it, and `patience` after the first, so that endless writing does not put it off
/// for ever. Files that change while the commands run, or until `calm` after the last of them was started, may be of the pipeline's own
/// making; then it would start itself for ever. The first `free` restarts in a row happen all the same. Each one after them waits until
/// the last command runs, so that the pipeline gets there at all, and then for 1, 2, 4, at most 30 seconds.
package struct WatchRestarts: Sendable {
    package static let debounce: Duration = .milliseconds(150)
    package static let patience: Duration = .seconds(1)
    package static let calm: Duration = .seconds(2)
    package static let free = 3
    package static let maximumDelay: Duration = .seconds(30)

    private struct Change: Sendable {
        var began: Duration
        var latest: Duration
        var first: String
        var paths: Set<String>
    }

    /// A pipeline seems to start itself.
    package struct Brake: Sendable, Equatable {
        package var path: String
        package var restarts: Int
        package var delay: Duration
    }

    private var change: Change?
    /// Restarts with nothing but their own doing between them.
    private var restarts = 0
    /// When the last command was started; nil while those before it run.
    private var completedAt: Duration?

    package init() {}

    /// Returns what to warn of: once for each restart that is put off.
    package mutating func changed(_ paths: [String], now: Duration) -> Brake? {
        guard let first = paths.first else { return nil }
        if var change {
            change.latest = now
            if change.paths.count < 1000 { change.paths.formUnion(paths) }
            self.change = change
            return nil
        }
        if let completedAt, now - completedAt >= Self.calm { restarts = 0 }
        change = Change(began: now, latest: now, first: first, paths: Set(paths.prefix(1000)))
        return restarts < Self.free ? nil : Brake(path: first, restarts: restarts, delay: delay)
    }

    /// The first command is about to run, whatever the reason.
    package mutating func began() { completedAt = nil }

    /// The last command runs, or there will be none because one before it has failed.
    package mutating func completed(now: Duration) { completedAt = now }

    package var deadline: Duration? {
        guard let change else { return nil }
        let due = min(change.latest + Self.debounce, change.began + Self.patience)
        guard restarts >= Self.free else { return due }
        return completedAt.map { max(due, $0 + delay) }
    }

    /// What has changed, once it is time to start anew: one path, and how many there are besides.
    package mutating func take(now: Duration) -> (path: String, others: Int)? {
        guard let change, let deadline, now >= deadline else { return nil }
        self.change = nil
        restarts += 1
        return (change.first, change.paths.count - 1)
    }

    private var delay: Duration {
        let exponent = min(restarts - Self.free, 5)
        return min(.seconds(1 << max(exponent, 0)), Self.maximumDelay)
    }
}
