import IIIItems
import IIIProtocol

/// Who is in a group, once for each user however many connections that one has. Pure: the time is an argument.
///
/// Whoever leaves on purpose is gone at once; whose connection breaks stays for a grace, within which coming back is no news.
struct GroupPresence {
    struct Member {
        /// What the newest connection says about the user.
        var value: [UInt8]
        let since: Int
        var connections: Set<ObjectIdentifier>
        /// When the last connection broke; nil while there are any.
        var lostAt: Int?
    }

    /// What has become of members: who is there with another value than before stands in both.
    struct Diff {
        var joins: [(key: ItemName, value: [UInt8])] = []
        var leaves: [(key: ItemName, value: [UInt8])] = []

        var isEmpty: Bool { joins.isEmpty && leaves.isEmpty }

        var json: [UInt8] {
            var text = JSONObjectText()
            text.set("joins", raw: GroupPresence.object(joins))
            text.set("leaves", raw: GroupPresence.object(leaves))
            return text.finish()
        }
    }

    /// Milliseconds for which a lost connection may come back.
    static let grace = 10_000
    /// Most members of a group.
    static let maximumMembers = 2000
    /// Longest value, in bytes.
    static let maximumValueBytes = 4096

    private(set) var members: [ItemName: Member] = [:]
    private var lost = 0

    var isEmpty: Bool { members.isEmpty }

    func hasRoom(for key: ItemName) -> Bool { members[key] != nil || members.count < Self.maximumMembers }

    mutating func join(_ key: ItemName, _ value: [UInt8], _ connection: ObjectIdentifier, now: Int) -> Diff {
        guard var member = members[key] else {
            members[key] = Member(value: value, since: now, connections: [connection])
            return Diff(joins: [(key, value)])
        }
        if member.lostAt != nil { lost -= 1 }
        let old = member.value
        member.lostAt = nil
        member.value = value
        member.connections.insert(connection)
        members[key] = member
        return old == value ? Diff() : Diff(joins: [(key, value)], leaves: [(key, old)])
    }

    mutating func leave(_ key: ItemName, _ connection: ObjectIdentifier, isDeliberate: Bool, now: Int) -> Diff {
        guard var member = members[key], member.connections.remove(connection) != nil else { return Diff() }
        if member.connections.isEmpty {
            guard !isDeliberate else {
                members[key] = nil
                return Diff(leaves: [(key, member.value)])
            }
            member.lostAt = now
            lost += 1
        }
        members[key] = member
        return Diff()
    }

    /// Lets go of whoever did not come back.
    mutating func expire(now: Int) -> Diff {
        var diff = Diff()
        guard lost > 0 else { return diff }
        for (key, member) in members {
            guard let lostAt = member.lostAt, now - lostAt >= Self.grace else { continue }
            diff.leaves.append((key, member.value))
            members[key] = nil
            lost -= 1
        }
        return diff
    }

    /// All who are there, by key.
    var json: [UInt8] { Self.object(members.sorted { $0.key < $1.key }.map { ($0.key, $0.value.value) }) }

    private static func object(_ members: [(key: ItemName, value: [UInt8])]) -> [UInt8] {
        var text = JSONObjectText()
        for (key, value) in members { text.set(key.text, raw: value) }
        return text.finish()
    }
}
