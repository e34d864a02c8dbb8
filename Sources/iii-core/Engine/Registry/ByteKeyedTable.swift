import Glibc
import IIIProtocol

/// A hash table keyed by bytes that can be searched with bytes that are not yet a key.
///
/// `Dictionary` would need a `String` or array made for every message just to look up its function id; this looks up the
/// range of the receive buffer. Open addressing, linear probing; hashes are seeded per process, so that peers who choose
/// ids cannot aim for collisions.
struct ByteKeyedTable<Value> {
    private struct Entry {
        var hash: UInt64
        var key: [UInt8]
        var value: Value
    }

    private enum Slot {
        static var empty: Int32 { -1 }
        static var deleted: Int32 { -2 }
    }

    private var slots: [Int32] = Array(repeating: Slot.empty, count: 16)
    private var entries: [Entry?] = []
    private var freeEntries: [Int32] = []
    private var usedSlots = 0
    private(set) var count = 0
    private let seed = UInt64.random(in: .min ... .max)

    subscript(key: UnsafeRawBufferPointer) -> Value? {
        guard let slot = find(key, hash: hash(key)) else { return nil }
        return entries[Int(slots[slot])]?.value
    }

    subscript(key: String) -> Value? {
        var key = key
        return key.withUTF8 { self[UnsafeRawBufferPointer($0)] }
    }

    mutating func insert(_ value: Value, for key: String) {
        let bytes = Array(key.utf8)
        let hash = bytes.withUnsafeBytes { self.hash($0) }
        if let slot = bytes.withUnsafeBytes({ find($0, hash: hash) }) {
            entries[Int(slots[slot])]?.value = value
            return
        }
        if (usedSlots + 1) * 4 > slots.count * 3 { rebuild() }
        let entry = Entry(hash: hash, key: bytes, value: value)
        let index: Int32
        if let free = freeEntries.popLast() {
            index = free
            entries[Int(free)] = entry
        } else {
            index = Int32(entries.count)
            entries.append(entry)
        }
        place(index, hash: hash)
        count += 1
    }

    mutating func remove(_ key: String) {
        var key = key
        let slot = key.withUTF8 { bytes in
            let raw = UnsafeRawBufferPointer(bytes)
            return find(raw, hash: hash(raw))
        }
        guard let slot else { return }
        let index = slots[slot]
        slots[slot] = Slot.deleted
        entries[Int(index)] = nil
        freeEntries.append(index)
        count -= 1
    }

    var values: [Value] { entries.compactMap { $0?.value } }

    private mutating func place(_ index: Int32, hash: UInt64) {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] >= 0 { slot = (slot &+ 1) & mask }
        if slots[slot] == Slot.empty { usedSlots += 1 }
        slots[slot] = index
    }

    private mutating func rebuild() {
        let capacity = count * 2 >= slots.count / 2 ? slots.count * 2 : slots.count
        slots = Array(repeating: Slot.empty, count: capacity)
        usedSlots = 0
        for (index, entry) in entries.enumerated() {
            if let entry { place(Int32(index), hash: entry.hash) }
        }
    }

    private func find(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Int? {
        let mask = slots.count &- 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let index = slots[slot]
            if index == Slot.empty { return nil }
            if index >= 0, let entry = entries[Int(index)], entry.hash == hash, entry.key.count == key.count,
                key.isEmpty || memcmp(entry.key, key.baseAddress.unsafelyUnwrapped, key.count) == 0
            {
                return slot
            }
            slot = (slot &+ 1) & mask
        }
    }

    /// Multiply-and-fold over eight bytes at a time.
    private func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        var state = seed ^ UInt64(truncatingIfNeeded: key.count)
        var index = 0
        while index &+ 8 <= key.count {
            state = Self.fold(state ^ key.loadUnaligned(fromByteOffset: index, as: UInt64.self), 0x9E37_79B9_7F4A_7C15)
            index &+= 8
        }
        var tail: UInt64 = 0
        while index < key.count {
            tail = tail << 8 | UInt64(key[index])
            index &+= 1
        }
        return Self.fold(state ^ tail, 0xD6E8_FEB8_6659_FD93 ^ seed)
    }

    @inline(__always)
    private static func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }
}
