/// When a zone's clocks change: the transitions of a TZif file (RFC 8536) and the rule at its end for what comes later. Pure.
public struct ZoneRules: Sendable, Equatable {
    /// A stretch of time with one offset.
    struct Stretch: Equatable {
        /// Epoch seconds; `Int.min` for the first one.
        var start: Int
        /// First second after it; `Int.max` for the last one.
        var end: Int
        /// Local time minus UTC, in seconds.
        var offset: Int
        /// The offset before it; its own for the first one.
        var offsetBefore: Int
    }

    public static let utc = ZoneRules(transitions: [], firstOffset: 0, footer: nil)

    private let transitions: [(at: Int, offset: Int)]
    private let firstOffset: Int
    private let footer: ZoneFooter?

    public static func == (left: ZoneRules, right: ZoneRules) -> Bool {
        left.firstOffset == right.firstOffset && left.footer == right.footer
            && left.transitions.elementsEqual(right.transitions) { $0.at == $1.at && $0.offset == $1.offset }
    }

    private init(transitions: [(at: Int, offset: Int)], firstOffset: Int, footer: ZoneFooter?) {
        self.transitions = transitions
        self.firstOffset = firstOffset
        self.footer = footer
    }

    /// Reads a TZif file of version 1 to 4; nil for what is none.
    public init?(tzif bytes: [UInt8]) {
        var reader = TZifReader(bytes)
        guard let first = reader.header() else { return nil }
        var counts = first
        var size = 4
        if first.version >= 2 {
            // The first block has 32-bit times, for old readers; the second one is whole.
            guard reader.skip(first.bodySize(timeSize: 4)), let second = reader.header() else { return nil }
            counts = second
            size = 8
        }
        guard let body = reader.body(counts, timeSize: size) else { return nil }
        var footer: ZoneFooter?
        if size == 8, let text = reader.footer(), !text.isEmpty {
            guard let rule = ZoneFooter(text) else { return nil }
            footer = rule
        }
        self.init(transitions: body.transitions, firstOffset: body.firstOffset, footer: footer)
    }

    /// The stretch that holds `time` (epoch seconds).
    func stretch(at time: Int) -> Stretch {
        // The number of transitions at or before `time`.
        var low = 0
        var high = transitions.count
        while low < high {
            let middle = (low + high) / 2
            if transitions[middle].at <= time { low = middle + 1 } else { high = middle }
        }
        let lastOffset = transitions.last?.offset ?? firstOffset
        if low < transitions.count {
            let end = transitions[low].at
            if low == 0 { return Stretch(start: .min, end: end, offset: firstOffset, offsetBefore: firstOffset) }
            return Stretch(
                start: transitions[low - 1].at, end: end, offset: transitions[low - 1].offset, offsetBefore: offsetBefore(low - 1))
        }
        let listedEnd = transitions.last?.at ?? .min
        guard let footer else {
            return Stretch(
                start: listedEnd, end: .max, offset: lastOffset, offsetBefore: transitions.isEmpty ? lastOffset : offsetBefore(low - 1))
        }
        return footer.stretch(
            at: time, after: listedEnd, offset: lastOffset, offsetBefore: transitions.isEmpty ? lastOffset : offsetBefore(low - 1))
    }

    private func offsetBefore(_ index: Int) -> Int { index == 0 ? firstOffset : transitions[index - 1].offset }
}

/// The bytes of a TZif file, front to back.
private struct TZifReader {
    struct Counts {
        var version: Int
        var isUTC: Int, isStandard: Int, leap: Int, times: Int, types: Int, characters: Int

        func bodySize(timeSize: Int) -> Int {
            times * (timeSize + 1) + types * 6 + characters + leap * (timeSize + 4) + isStandard + isUTC
        }
    }

    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func skip(_ count: Int) -> Bool {
        guard count >= 0, position + count <= bytes.count else { return false }
        position += count
        return true
    }

    mutating func header() -> Counts? {
        guard position + 44 <= bytes.count, Array(bytes[position..<position + 4]) == Array("TZif".utf8) else { return nil }
        let digit = bytes[position + 4]
        let version = digit == 0 ? 1 : Int(digit) - 0x30
        guard (1...4).contains(version) else { return nil }
        position += 20
        var numbers: [Int] = []
        for _ in 0..<6 { numbers.append(integer(4)) }
        guard numbers.allSatisfy({ (0...100_000).contains($0) }), numbers[4] > 0 else { return nil }
        return Counts(
            version: version, isUTC: numbers[0], isStandard: numbers[1], leap: numbers[2], times: numbers[3], types: numbers[4],
            characters: numbers[5])
    }

    mutating func body(_ counts: Counts, timeSize: Int) -> (transitions: [(at: Int, offset: Int)], firstOffset: Int)? {
        guard position + counts.bodySize(timeSize: timeSize) <= bytes.count else { return nil }
        let times = (0..<counts.times).map { _ in integer(timeSize) }
        let kinds = (0..<counts.times).map { _ in integer(1) & 0xFF }
        var offsets: [Int] = []
        for _ in 0..<counts.types {
            offsets.append(integer(4))
            position += 2
        }
        position += counts.characters + counts.leap * (timeSize + 4) + counts.isStandard + counts.isUTC
        guard kinds.allSatisfy({ $0 < offsets.count }), offsets.allSatisfy({ abs($0) < 200_000 }) else { return nil }
        var transitions: [(at: Int, offset: Int)] = []
        var offset = offsets[0]
        for (time, kind) in zip(times, kinds) {
            guard time > transitions.last?.at ?? .min else { return nil }
            // A change of name or of the season's flag alone is no change of the clock.
            if offsets[kind] != offset { transitions.append((time, offsets[kind])) }
            offset = offsets[kind]
        }
        return (transitions, offsets[0])
    }

    mutating func footer() -> String? {
        guard position < bytes.count, bytes[position] == 0x0A, let end = bytes[(position + 1)...].firstIndex(of: 0x0A) else { return nil }
        return String(decoding: bytes[(position + 1)..<end], as: UTF8.self)
    }

    /// A signed integer, most significant byte first.
    private mutating func integer(_ size: Int) -> Int {
        var value: UInt64 = 0
        for _ in 0..<size {
            value = value << 8 | UInt64(bytes[position])
            position += 1
        }
        let shift = UInt64(64 - size * 8)
        return Int(Int64(bitPattern: value << shift) >> Int64(shift))
    }
}
