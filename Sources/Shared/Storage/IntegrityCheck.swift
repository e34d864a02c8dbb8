import CSQLite

/// SQLite's `quick_check` on a thread and a connection of its own, beside the running store.
final class IntegrityCheck: @unchecked Sendable {
    private let connection: SQLiteConnection
    private let thread: StoreThread

    private static let maximumFindings = 10

    /// `done` gets the first findings; none means that the file is intact. Not called when it was cancelled.
    init(path: String, done: @escaping @Sendable ([String]) -> Void) throws(StorageError) {
        let connection = try SQLiteConnection(path: path, access: .readOnly, busyTimeout: .seconds(1))
        self.connection = connection
        let box = Box(connection: connection)
        thread = try StoreThread(name: "iii-store-check") {
            guard let findings = Self.findings(box.connection) else { return }
            done(findings)
        }
    }

    private struct Box: @unchecked Sendable {
        let connection: SQLiteConnection
    }

    /// nil when it was interrupted.
    static func findings(_ connection: SQLiteConnection, isFull: Bool = false) -> [String]? {
        do throws(StorageError) {
            let lines = try connection.values(
                "PRAGMA \(isFull ? "integrity_check" : "quick_check")(\(maximumFindings))", limit: maximumFindings)
            return lines == ["ok"] ? [] : lines
        } catch {
            return error.code == .timedOut ? nil : [error.message]
        }
    }

    func cancel() {
        sqlite3_interrupt(connection.pointer)
        thread.waitForEnd()
        connection.close()
    }
}
