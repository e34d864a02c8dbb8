import IIIItems
import Testing

@testable import IIIStream

/// A user is there once, and whoever hears all differences knows who is.
@Suite struct PresenceTests {
    final class Connection {}

    static func text(_ diff: GroupPresence.Diff) -> String { String(decoding: diff.json, as: UTF8.self) }
    static let nothing = #"{"joins":{},"leaves":{}}"#
    static let one = Array("1".utf8)

    @Test func severalConnectionsOfAUserComeAndGoOnce() {
        var presence = GroupPresence()
        let tabs = [Connection(), Connection(), Connection()]
        let arrivals = tabs.map { Self.text(presence.join("u", Self.one, ObjectIdentifier($0), now: 0)) }
        #expect(arrivals == [#"{"joins":{"u":1},"leaves":{}}"#, Self.nothing, Self.nothing])
        let departures = tabs.map { Self.text(presence.leave("u", ObjectIdentifier($0), isDeliberate: true, now: 0)) }
        #expect(departures == [Self.nothing, Self.nothing, #"{"joins":{},"leaves":{"u":1}}"#])
    }

    @Test func aLostConnectionHasAGrace() {
        var presence = GroupPresence()
        let (first, second) = (Connection(), Connection())
        _ = presence.join("u", Self.one, ObjectIdentifier(first), now: 0)
        #expect(presence.leave("u", ObjectIdentifier(first), isDeliberate: false, now: 100).isEmpty)
        #expect(presence.expire(now: 100 + GroupPresence.grace - 1).isEmpty)
        #expect(presence.join("u", Self.one, ObjectIdentifier(second), now: 5000).isEmpty)
        #expect(presence.expire(now: 1_000_000).isEmpty)
        _ = presence.leave("u", ObjectIdentifier(second), isDeliberate: false, now: 1_000_000)
        #expect(Self.text(presence.expire(now: 1_000_000 + GroupPresence.grace)) == #"{"joins":{},"leaves":{"u":1}}"#)
        #expect(presence.isEmpty)
    }

    @Test func anotherValueIsOneDifference() {
        var presence = GroupPresence()
        let connection = Connection()
        _ = presence.join("u", Self.one, ObjectIdentifier(connection), now: 0)
        let diff = presence.join("u", Array("2".utf8), ObjectIdentifier(connection), now: 0)
        #expect(Self.text(diff) == #"{"joins":{"u":2},"leaves":{"u":1}}"#)
    }

    @Test func aGroupHasAnEnd() {
        var presence = GroupPresence()
        let connections = (0..<GroupPresence.maximumMembers).map { _ in Connection() }
        for (number, connection) in connections.enumerated() {
            _ = presence.join(ItemName("u\(number)"), Self.one, ObjectIdentifier(connection), now: 0)
        }
        #expect(!presence.hasRoom(for: "another"))
        #expect(presence.hasRoom(for: "u7"))
    }

    /// Whoever applies every difference to what there was holds what there is.
    @Test(arguments: 0..<20) func differencesAddUp(seed: UInt64) {
        var random = SeededChance(seed)
        var presence = GroupPresence()
        var seen: [ItemName: [UInt8]] = [:]
        var connections: [(ItemName, Connection)] = []
        func apply(_ diff: GroupPresence.Diff) {
            for (key, _) in diff.leaves { seen[key] = nil }
            for (key, value) in diff.joins { seen[key] = value }
        }
        for step in 0..<500 {
            if random.next(2) == 0 || connections.isEmpty {
                let (key, connection) = (ItemName("u\(random.next(8))"), Connection())
                connections.append((key, connection))
                let value = Array("\(random.next(3))".utf8)
                apply(presence.join(key, value, ObjectIdentifier(connection), now: step * 100))
            } else {
                let (key, connection) = connections.remove(at: random.next(connections.count))
                let isDeliberate = random.next(2) == 0
                apply(presence.leave(key, ObjectIdentifier(connection), isDeliberate: isDeliberate, now: step * 100))
            }
            apply(presence.expire(now: step * 100))
            #expect(seen == presence.members.mapValues(\.value))
        }
    }
}
