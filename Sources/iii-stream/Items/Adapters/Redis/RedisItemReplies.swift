import IIIProtocol
import IIIRedis

/// What the scripts answer, read. A reply of another shape is an error, never a trap.
enum RedisItemReplies {
    static let unreadable = RedisError(.failed, "Redis has answered a script with something else than the script's answer")

    /// What a change has come to.
    enum Outcome {
        /// For each step what it has changed.
        case made([ItemChange])
        /// Nothing was changed, since other values are there than those that were decided about.
        case others([Other])
        /// It is another change's turn for so many milliseconds.
        case turn(Int)
        case full
    }

    /// What is there instead of what was assumed.
    struct Other {
        /// Which step.
        let index: Int
        let item: StoredItem?
        let isReadable: Bool
    }

    /// What a step was sent with.
    struct Sent {
        let edit: ItemEdit
        /// What was decided about; the script has compared it unless the edit is unconditional.
        let old: StoredItem?
    }

    static func outcome(_ value: RedisValue, of steps: [Sent]) throws(RedisError) -> Outcome {
        guard let parts = value.array, let word = parts.first?.text else { throw unreadable }
        switch word {
        case "turn": return .turn(max(1, parts.last?.int ?? 1))
        case "full": return .full
        case "other":
            var others: [Other] = []
            for part in parts.dropFirst() {
                guard let part = part.array, part.count == 3, let number = part[0].int, steps.indices.contains(number - 1) else {
                    throw unreadable
                }
                let text = part[1].bytes
                others.append(
                    Other(
                        index: number - 1, item: try text.map { text throws(RedisError) in try item(text, part[2]) },
                        isReadable: text.map(isJSON) ?? true))
            }
            return .others(others)
        case "ok" where parts.count == steps.count + 1:
            var changes: [ItemChange] = []
            for (part, step) in zip(parts.dropFirst(), steps) { changes.append(try change(part, step)) }
            return .made(changes)
        default: throw unreadable
        }
    }

    private static func change(_ value: RedisValue, _ step: Sent) throws(RedisError) -> ItemChange {
        guard let parts = value.array, parts.count == 7, let revision = parts[0].int, let changed = parts[1].int else { throw unreadable }
        var old = step.old
        if step.edit.isUnconditional {
            old = nil
            // What is no JSON counts as nothing.
            if let text = parts[2].bytes, isJSON(text) { old = try item(text, parts[3]) }
        }
        var change = ItemChange(old: old, new: nil, revision: revision, isChanged: changed == 1, notes: step.edit.notes)
        if !parts[4].isNull {
            switch step.edit.action {
            case .store(let text): change.new = try item(text, parts[4])
            case .keep, .remove: change.new = old
            }
        }
        if let text = parts[5].bytes, isJSON(text) { change.expired = try item(text, parts[6]) }
        return change
    }

    static func reading(_ value: RedisValue) throws(RedisError) -> (revision: Int, item: StoredItem?, isReadable: Bool) {
        guard let parts = value.array, let revision = parts.first?.int else { throw unreadable }
        guard parts.count == 3, let text = parts[1].bytes else { return (revision, nil, true) }
        return (revision, try item(text, parts[2]), isJSON(text))
    }

    /// The entries, and the keys of those that cannot be served.
    static func listing(_ value: RedisValue) throws(RedisError) -> (listing: ItemListing, unreadable: Int) {
        guard let parts = value.array, parts.count >= 2, parts.count % 3 == 2, let revision = parts[0].int, let word = parts[1].text else {
            throw unreadable
        }
        var list = ItemListing(entries: [], end: word == "limit" ? .limit : word == "bytes" ? .bytes : .complete, revision: revision)
        list.entries.reserveCapacity(parts.count / 3)
        var count = 0
        for index in stride(from: 2, to: parts.count, by: 3) {
            guard let key = parts[index].bytes, let text = parts[index + 1].bytes else { throw unreadable }
            guard let key = ItemName(bytes: key), isJSON(text) else {
                count += 1
                continue
            }
            let facts = try facts(parts[index + 2])
            list.entries.append(.init(key: key, item: facts.item(text), place: facts.place))
        }
        return (list, count)
    }

    static func expired(_ value: RedisValue) throws(RedisError) -> [ExpiredItem] {
        guard let parts = value.array, parts.count % 4 == 0 else { throw unreadable }
        var items: [ExpiredItem] = []
        for index in stride(from: 0, to: parts.count, by: 4) {
            guard let mortal = parts[index].bytes, let text = parts[index + 1].bytes, let revision = parts[index + 3].int else {
                throw unreadable
            }
            guard let address = RedisItemKeys.address(mortal: mortal), isJSON(text) else { continue }
            items.append(ExpiredItem(address: address, item: try item(text, parts[index + 2]), revision: revision))
        }
        return items
    }

    /// The groups that members name; what is none is left out.
    static func groups(_ value: RedisValue) throws(RedisError) -> [ItemGroup] {
        guard let parts = value.array else { throw unreadable }
        return parts.compactMap { $0.bytes.flatMap(RedisItemKeys.group) }
    }

    private static func item(_ text: [UInt8], _ facts: RedisValue) throws(RedisError) -> StoredItem { try Self.facts(facts).item(text) }

    /// What is known of a value.
    private struct Facts {
        var numbers: [Int] = []

        var place: Int { numbers[3] }

        func item(_ text: [UInt8]) -> StoredItem {
            StoredItem(
                text: text, revision: numbers[2], createdAt: numbers[4], updatedAt: numbers[5],
                expiresAt: numbers[1] == 0 ? nil : numbers[1])
        }
    }

    /// `length expires revision place created updated turn until`.
    private static func facts(_ value: RedisValue) throws(RedisError) -> Facts {
        guard let bytes = value.bytes else { throw unreadable }
        var facts = Facts()
        facts.numbers.reserveCapacity(6)
        var number = 0
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                let (grown, isTooLarge) = number.multipliedReportingOverflow(by: 10)
                guard !isTooLarge, grown <= Int.max - 9 else { throw unreadable }
                number = grown + Int(byte - UInt8(ascii: "0"))
            case UInt8(ascii: " "):
                facts.numbers.append(number)
                if facts.numbers.count == 6 { return facts }
                number = 0
            default: throw unreadable
            }
        }
        throw unreadable
    }

    /// Others may write what they like into a key of the reference's layout; only JSON may go on from here.
    private static func isJSON(_ text: [UInt8]) -> Bool { text.withUnsafeBytes { JSONText.isValid($0) } }
}
