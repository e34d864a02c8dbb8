import IIISignals

/// Log records in memory, bounded in number, bytes and age; the oldest arrivals go first. Pure: time is an argument.
struct LogTable: Sendable {
    struct Limits: Sendable, Equatable {
        var maximumRecords = 1_000
        var maximumBytes = 64 << 20
        /// Nanoseconds; 0: none.
        var maximumAge: UInt64 = 3_600_000_000_000
    }

    struct Entry: Sendable {
        /// The number of its arrival, from 1 on; the position of cursors and tails.
        let sequence: UInt64
        let record: LogRecord
        let receivedNanoseconds: UInt64
        let cost: Int

        /// What it is filtered, ordered and shown by.
        var nanoseconds: UInt64 { record.effectiveNanoseconds(received: receivedNanoseconds) }
    }

    var limits: Limits
    private var entries: [Entry] = []
    private var first = 0
    private(set) var bytes = 0
    private(set) var lastSequence: UInt64 = 0

    init(limits: Limits) { self.limits = limits }

    var count: Int { entries.count - first }

    /// In the order of their arrival.
    var all: ArraySlice<Entry> { entries[first...] }

    mutating func add(_ records: [LogRecord], now: UInt64) {
        for record in records {
            lastSequence += 1
            let entry = Entry(sequence: lastSequence, record: record, receivedNanoseconds: now, cost: record.cost)
            bytes += entry.cost
            entries.append(entry)
        }
        makeRoom()
    }

    private mutating func makeRoom() {
        while count > 0, count > limits.maximumRecords || bytes > limits.maximumBytes {
            bytes -= entries[first].cost
            first += 1
        }
        guard first > 512, first * 2 > entries.count else { return }
        entries.removeFirst(first)
        first = 0
    }

    /// Lets go of what is older than the limit, by its time or that of its arrival, whichever is earlier.
    mutating func expire(now: UInt64) {
        guard limits.maximumAge > 0, now > limits.maximumAge else { return }
        let horizon = now - limits.maximumAge
        let kept = entries[first...].filter { min($0.nanoseconds, $0.receivedNanoseconds) >= horizon }
        guard kept.count != count else { return }
        entries = kept
        first = 0
        bytes = kept.reduce(0) { $0 + $1.cost }
    }

    mutating func apply(_ limits: Limits) {
        self.limits = limits
        makeRoom()
    }

    mutating func clear() {
        entries = []
        first = 0
        bytes = 0
    }
}
