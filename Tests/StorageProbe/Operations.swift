import IIIProtocol
import IIIStorage

/// A reproducible sequence of writes: from the seed and the number of those that are stored follows everything the store must hold.
struct Operations {
    struct Operation {
        let item: Int
        /// nil deletes the item.
        let body: [UInt8]?
    }

    static let items = 200
    static let migrations = [
        Migration(
            sql: """
                CREATE TABLE items(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, body BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT;
                CREATE TABLE progress(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT
                """)
    ]

    let seed: UInt64

    subscript(number: Int) -> Operation {
        var generator = SeededGenerator(seed: seed &* 1_000_003 &+ UInt64(number))
        let item = Int.random(in: 0..<Self.items, using: &generator)
        guard Int.random(in: 0..<5, using: &generator) > 0 else { return Operation(item: item, body: nil) }
        let size = Int.random(in: 0..<10, using: &generator) == 0 ? 9000 : Int.random(in: 0..<600, using: &generator)
        let fill = UInt8.random(in: 0...255, using: &generator)
        return Operation(item: item, body: [UInt8](repeating: fill, count: size))
    }

    /// Item → number of the write that made it what it is, after the first `count` writes.
    func state(after count: Int) -> [Int: Int] {
        var state: [Int: Int] = [:]
        for number in 0..<count {
            let operation = self[number]
            state[operation.item] = operation.body == nil ? nil : number
        }
        return state
    }

    private static let set = SQL("INSERT OR REPLACE INTO items VALUES(?, ?, ?, ?)")
    private static let remove = SQL("DELETE FROM items WHERE id = ?")
    private static let note = SQL("INSERT OR REPLACE INTO progress VALUES(?, ?, ?)")
    private static let progress = SQL("SELECT id, number, checksum FROM progress")
    private static let all = SQL("SELECT id, number, body, checksum FROM items")

    func apply(_ number: Int, to transaction: borrowing Transaction) throws {
        let operation = self[number]
        if let body = operation.body {
            try transaction.run(Self.set) {
                $0.int(operation.item)
                $0.int(number)
                $0.bytes(body)
                $0.checksum()
            }
        } else {
            try transaction.run(Self.remove) { $0.int(operation.item) }
        }
        try transaction.run(Self.note) {
            $0.int(0)
            $0.int(number + 1)
            $0.checksum()
        }
    }

    /// How many writes the store says it has.
    static func stored(_ snapshot: borrowing Snapshot) throws -> Int? {
        try snapshot.first(progress) { row in row.isIntact(columns: 0..<2) ? row.int(1) : nil } ?? 0
    }

    /// What is wrong with the store if it holds `count` writes: rows that are known to be bad, and what is bad without anybody knowing.
    func compare(_ snapshot: borrowing Snapshot, count: Int) throws -> (detected: Int, wrong: [String]) {
        var expected = state(after: count)
        var detected = 0
        var wrong: [String] = []
        try snapshot.query(Self.all) { row in
            guard row.isIntact(columns: 0..<3) else {
                detected += 1
                return
            }
            let number = row.int(1)
            if expected.removeValue(forKey: row.int(0)) != number || row.bytes(2) != self[number].body {
                wrong.append("item \(row.int(0)) is of write \(number)")
            }
        }
        for (item, number) in expected { wrong.append("item \(item) of write \(number) is missing") }
        return (detected, wrong)
    }
}
