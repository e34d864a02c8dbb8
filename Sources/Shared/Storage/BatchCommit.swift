import CSQLite
import Glibc

/// Carries out a batch of writes in one transaction, so that one refused write never fails its neighbours.
///
/// First all of them together, without safeguards: that is the fast way, and nearly always the whole way. If one fails after it has
/// changed something, everything is rolled back and done again with a savepoint around each; if the commit itself finds no room, each gets a
/// transaction of its own. `failure` of each write says how it went.
struct BatchCommit {
    let connection: SQLiteConnection
    let quotaPages: Int?

    /// How often SQLite may end the transaction by itself before the rest of a batch is given up.
    private static let maximumRestarts = 8

    func commit(_ batch: ArraySlice<PendingWrite>) {
        for write in batch { write.failure = nil }
        switch together(batch) {
        case .done: return
        case .isolate: isolated(batch)
        case .separate: separately(batch)
        }
    }

    private enum Outcome {
        case done
        case isolate
        case separate
    }

    private func together(_ batch: ArraySlice<PendingWrite>) -> Outcome {
        do {
            try connection.beginWriting()
        } catch {
            for write in batch { write.failure = classified(error) }
            return .done
        }
        for write in batch {
            let before = connection.completedWrites
            do {
                try write.run(Transaction(connection: connection))
            } catch {
                write.failure = classified(error)
                guard connection.completedWrites == before, !connection.isOutsideTransaction else {
                    connection.rollBack()
                    if batch.count == 1 { return .done }
                    for write in batch { write.failure = nil }
                    return .isolate
                }
            }
        }
        return finish(batch)
    }

    private func finish(_ batch: ArraySlice<PendingWrite>) -> Outcome {
        do {
            try connection.commit()
            return .done
        } catch {
            let failure = classified(error)
            connection.rollBack()
            let code = (failure as? StorageError)?.code
            if batch.count > 1, code == .diskFull || code == .quotaExceeded { return .separate }
            for write in batch where write.failure == nil { write.failure = failure }
            return .done
        }
    }

    private func isolated(_ batch: ArraySlice<PendingWrite>) {
        for _ in 0..<Self.maximumRestarts {
            do {
                try connection.beginWriting()
                guard try runIsolated(batch) else { continue }
                if case .separate = finish(batch) { separately(batch) }
            } catch {
                connection.rollBack()
                for write in batch where write.failure == nil { write.failure = classified(error) }
            }
            return
        }
        let last = batch.last { $0.failure != nil }?.failure ?? StorageError(.ioError, "'\(connection.path)': transactions do not hold")
        for write in batch where write.failure == nil { write.failure = last }
    }

    /// Answers false when SQLite has ended the transaction: all that have not failed must be done again.
    private func runIsolated(_ batch: ArraySlice<PendingWrite>) throws -> Bool {
        for write in batch where write.failure == nil {
            try runIsolated(write)
            if connection.isOutsideTransaction { return false }
        }
        return true
    }

    /// One write within the open transaction; its failure leaves nothing of it there. Throws when the transaction itself is unusable.
    func runIsolated(_ write: PendingWrite) throws {
        try connection.beginItem()
        do {
            try write.run(Transaction(connection: connection))
        } catch {
            write.failure = classified(error)
            if !connection.isOutsideTransaction { try connection.undoItem() }
            return
        }
        try connection.endItem()
    }

    private func separately(_ batch: ArraySlice<PendingWrite>) {
        for write in batch where write.failure == nil { _ = together([write]) }
    }

    /// SQLite says "full" for a full disk and for a reached quota alike: the one with less room left was it.
    func classified(_ error: any Error) -> any Error {
        guard let failure = error as? StorageError, failure.code == .diskFull, let quotaPages,
            let pages = (try? connection.value("PRAGMA page_count")).flatMap({ Int($0) })
        else { return error }
        var system = statvfs()
        guard statvfs(connection.path, &system) == 0, Int(system.f_bavail) * Int(system.f_frsize) >= (quotaPages - pages) * 4096 else {
            return error
        }
        return StorageError(
            .quotaExceeded, "'\(connection.path)' has reached its quota of \(quotaPages * 4096) bytes; delete something, or raise the quota"
        )
    }
}
