import IIISignals

/// Metrics of workers in memory, one record per metric and frame, bounded in number, bytes, names and age. Pure: time is an argument.
struct MetricTable: Sendable {
    struct Limits: Sendable, Equatable {
        var maximumRecords = 10_000
        var maximumBytes = 64 << 20
        /// Different names; what comes under further ones is not kept.
        var maximumNames = 10_000
        /// Nanoseconds; 0: none.
        var maximumAge: UInt64 = 3_600_000_000_000
    }

    struct Entry: Sendable {
        let metric: Metric
        let receivedNanoseconds: UInt64
        let cost: Int
    }

    var limits: Limits
    private var entries: [Entry] = []
    private var first = 0
    private var names: [String: Int] = [:]
    private(set) var bytes = 0
    /// Metrics that found no room for their name.
    private(set) var refused = 0

    init(limits: Limits) { self.limits = limits }

    var count: Int { entries.count - first }

    /// In the order of their arrival.
    var all: ArraySlice<Entry> { entries[first...] }

    mutating func add(_ metrics: [Metric], now: UInt64) {
        for metric in metrics {
            // Ends of series are for whoever shows current values; here they are no points.
            var metric = metric
            metric.points.removeAll { $0.value == .gone }
            guard !metric.points.isEmpty else { continue }
            guard names[metric.name] != nil || names.count < limits.maximumNames else {
                refused += 1
                continue
            }
            names[metric.name, default: 0] += 1
            let entry = Entry(metric: metric, receivedNanoseconds: now, cost: metric.cost)
            bytes += entry.cost
            entries.append(entry)
        }
        makeRoom()
    }

    private mutating func forget(_ entry: Entry) {
        bytes -= entry.cost
        guard let left = names[entry.metric.name] else { return }
        names[entry.metric.name] = left > 1 ? left - 1 : nil
    }

    private mutating func makeRoom() {
        while count > 0, count > limits.maximumRecords || bytes > limits.maximumBytes {
            forget(entries[first])
            first += 1
        }
        guard first > 512, first * 2 > entries.count else { return }
        entries.removeFirst(first)
        first = 0
    }

    mutating func expire(now: UInt64) {
        guard limits.maximumAge > 0, now > limits.maximumAge else { return }
        let horizon = now - limits.maximumAge
        while count > 0, entries[first].receivedNanoseconds < horizon {
            forget(entries[first])
            first += 1
        }
    }

    mutating func apply(_ limits: Limits) {
        self.limits = limits
        makeRoom()
    }
}
