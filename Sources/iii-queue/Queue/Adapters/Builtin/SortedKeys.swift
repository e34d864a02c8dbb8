/// A sorted list of pairs that is mostly appended to and mostly emptied from the front; both cost little. Pure.
struct SortedKeys {
    struct Key: Comparable, Hashable {
        let rank: Int
        let sequence: Int

        static func < (a: Key, b: Key) -> Bool { (a.rank, a.sequence) < (b.rank, b.sequence) }
    }

    private var keys: [Key] = []
    /// The first `start` places are free.
    private var start = 0

    var count: Int { keys.count - start }
    var isEmpty: Bool { count == 0 }
    var first: Key? { isEmpty ? nil : keys[start] }
    var all: ArraySlice<Key> { keys[start...] }

    mutating func insert(_ rank: Int, _ sequence: Int) {
        let key = Key(rank: rank, sequence: sequence)
        let place = index(of: key)
        guard place == keys.count || keys[place] != key else { return }
        if start > 0, place - start < keys.count - place {
            for index in start..<place { keys[index - 1] = keys[index] }
            start -= 1
            keys[place - 1] = key
        } else {
            keys.insert(key, at: place)
        }
    }

    mutating func remove(_ rank: Int, _ sequence: Int) {
        let key = Key(rank: rank, sequence: sequence)
        let place = index(of: key)
        guard place < keys.count, keys[place] == key else { return }
        if place - start < keys.count - place {
            for index in stride(from: place, to: start, by: -1) { keys[index] = keys[index - 1] }
            start += 1
            if start > 1024, start > keys.count / 2 {
                keys.removeFirst(start)
                start = 0
            }
        } else {
            keys.remove(at: place)
        }
    }

    /// Where `key` is or would be.
    private func index(of key: Key) -> Int {
        guard let last = keys.last, start < keys.count, key <= last else { return keys.count }
        var low = start
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
