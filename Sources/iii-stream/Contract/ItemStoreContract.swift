import IIIItems
import IIIProtocol
import Logging
import NIOCore
import NIOPosix

/// What every `ItemStore` has to do, as cases that a test runs one by one against a store that it opens:
///
/// ```swift
/// @Test(arguments: ItemStoreContract.cases) func keeps(_ promise: ItemStoreContract.Case) async throws {
///     try await promise.run { context in try await MyStore(context) }
/// }
/// ```
public enum ItemStoreContract {
    /// A promise that a store did not keep.
    public struct Broken: Error, CustomStringConvertible {
        public let description: String
    }

    public struct Case: Sendable, CustomStringConvertible {
        /// What is promised.
        public let description: String
        let body: @Sendable (StoreUnderTest) async throws -> Void

        /// Opens an empty store with `open`, tries it, closes it.
        public func run(_ open: OpenItemStore) async throws {
            let store = try await StoreUnderTest(open)
            do { try await body(store) } catch {
                await store.store.close()
                throw error
            }
            await store.store.close()
        }
    }

    public static let cases: [Case] = [
        Case(description: "what was stored comes back byte by byte") { store in
            let texts = [
                #"{"b":1,"a":[1.0,1,true,null,-0.0,5e-324]}"#, "9007199254740993", "18446744073709551615", "98765432109876543210", "1e400",
                "1.0",
                "true", "null", #""\u00e9é""#, "[]", "{}",
            ]
            for text in texts {
                let change = try await store.set("s", "k", text)
                try demand(change.new?.text == Array(text.utf8), "the answer to a write has the value")
                try demand(try await store.get("s", "k") == text, "\(text) comes back as it is")
            }
        },
        Case(description: "a change says what was there before") { store in
            try demand(try await store.set("s", "k", "1").old == nil, "nothing was there")
            try demand(try await store.set("s", "k", "null").old?.text == Array("1".utf8), "the old value")
            let removed = try await store.change("s", "k") { _ in ItemEdit(.remove) }
            try demand(removed.old?.text == Array("null".utf8) && removed.new == nil && removed.isChanged, "a stored null is a value")
            let again = try await store.change("s", "k") { _ in ItemEdit(.remove) }
            try demand(again.old == nil && !again.isChanged, "removing nothing changes nothing")
            try demand(try await store.get("s", "k") == nil, "it is gone")
        },
        Case(description: "what decide throws is the failure, and nothing happens") { store in
            _ = try await store.set("s", "k", "1")
            do {
                _ = try await store.change("s", "k") { _ in throw Broken(description: "on purpose") }
                throw Broken(description: "the failure got lost")
            } catch let error as Broken where error.description == "on purpose" {}
            try demand(try await store.get("s", "k") == "1", "the value is as it was")
            let kept = try await store.change("s", "k") { _ in ItemEdit(.keep, notes: Array("n".utf8)) }
            try demand(!kept.isChanged && kept.notes == Array("n".utf8), "notes are handed on")
        },
        Case(description: "concurrent changes of one item lose nothing") { store in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<200 {
                    group.addTask {
                        _ = try await store.change("s", "n") { old in
                            let value = old.flatMap { Int(String(decoding: $0.text, as: UTF8.self)) } ?? 0
                            return ItemEdit(.store(Array("\(value + 1)".utf8)))
                        }
                    }
                }
                try await group.waitForAll()
            }
            try demand(try await store.get("s", "n") == "200", "every change counts")
        },
        Case(description: "completions come in the order of the commits, with rising revisions") { store in
            let revisions = try await store.burst(300)
            try demand(zip(revisions, revisions.dropFirst()).allSatisfy { $0 < $1 }, "revisions rise in the order of completions")
            try demand(try await store.get("s", "k") == "299", "the last completion says what is stored")
        },
        Case(description: "revisions are never used twice for a key") { store in
            let first = try await store.set("s", "k", "1").revision
            let removed = try await store.change("s", "k") { _ in ItemEdit(.remove) }.revision
            let second = try await store.set("s", "k", "1")
            try demand(first < removed && removed < second.revision, "they rise over a delete")
            try demand(second.new?.revision == second.revision, "the item has the revision of its change")
        },
        Case(description: "items are listed in the order in which they were first stored") { store in
            for key: ItemName in ["c", "a", "b", "d"] { _ = try await store.set("s", key, "\"\(key.text)\"") }
            _ = try await store.set("s", "c", "\"c2\"")
            _ = try await store.change("s", "d") { _ in ItemEdit(.remove) }
            try demand(try await store.keys("s") == ["c", "a", "b"], "a changed item keeps its place")
            _ = try await store.change("s", "c") { _ in ItemEdit(.remove) }
            _ = try await store.set("s", "c", "3")
            try demand(try await store.keys("s") == ["a", "b", "c"], "one that comes back is the last")
            try demand(try await store.keys("unknown").isEmpty, "an unknown group is empty")
        },
        Case(description: "pages go on behind the last one, whatever was removed meanwhile") { store in
            for key: ItemName in ["a", "b", "c", "d", "e"] { _ = try await store.set("s", key, "1") }
            let first = try await store.list("s", ItemPage(limit: 2))
            try demand(first.entries.map(\.key) == ["a", "b"] && first.end == .limit, "the first page")
            _ = try await store.change("s", "b") { _ in ItemEdit(.remove) }
            let second = try await store.list("s", ItemPage(limit: 2, after: first.entries[1].place))
            try demand(second.entries.map(\.key) == ["c", "d"] && second.end == .limit, "the second page")
            let last = try await store.list("s", ItemPage(limit: 2, after: second.entries[1].place))
            try demand(last.entries.map(\.key) == ["e"] && last.end == .complete, "the last page")
            let cut = try await store.list("s", ItemPage(maximumBytes: 2))
            try demand(cut.entries.count == 2 && cut.end == .bytes, "a page has an end in bytes")
        },
        Case(description: "pages show what begins with a prefix, in either order") { store in
            for key: ItemName in ["ab", "b", "aa", "a", "a\u{10FFFF}", "a%", "", "aab", "a\u{0}"] { _ = try await store.set("s", key, "1") }
            func names(_ order: ItemPage.Order, _ prefix: ItemName) async throws -> [ItemName] {
                try await store.list("s", ItemPage(limit: 100, order: order, prefix: prefix)).entries.map(\.key)
            }
            try demand(try await names(.stored(after: 0), "aa") == ["aa", "aab"], "a prefix in the order of storing")
            try demand(
                try await names(.name(after: nil), "a") == ["a", "a\u{0}", "a%", "aa", "aab", "ab", "a\u{10FFFF}"], "a prefix by name")
            try demand(try await names(.name(after: "aa"), "a") == ["aab", "ab", "a\u{10FFFF}"], "behind a name")
            try demand(
                try await names(.name(after: "a"), "") == ["a\u{0}", "a%", "aa", "aab", "ab", "a\u{10FFFF}", "b"], "without a prefix")
            let page = try await store.list("s", ItemPage(limit: 2, order: .name(after: nil)))
            try demand(page.entries.map(\.key) == ["", "a"] && page.end == .limit, "the first names of all")
            let counts = (try await store.count("s"), try await store.count("unknown"))
            try demand(counts == (9, 0), "they are counted")
        },
        Case(description: "a batch is one step, where the store can do that at all") { store in
            _ = try await store.set("s", "b", "0")
            do {
                let changes = try await store.setAll("s", ["a", "b", "c"], "1")
                try demand(changes.map { $0.old?.text } == [nil, Array("0".utf8), nil], "each says what was there")
                try demand(zip(changes, changes.dropFirst()).allSatisfy { $0.revision < $1.revision }, "revisions rise in their order")
                try demand(try await store.keys("s") == ["b", "a", "c"], "new ones are listed in their order")
            } catch let error as InvocationError where error.code == ErrorCode.functionUnavailable.rawValue {
                return
            }
            do {
                _ = try await store.setAll("s", ["a", "d", "e"], "2", failingAt: "e")
                throw Broken(description: "the failure got lost")
            } catch let error as Broken where error.description == "on purpose" {}
            try demand(try await store.get("s", "a") == "1", "after a failure nothing has changed")
            try demand(try await store.get("s", "d") == nil, "and nothing was added")
        },
        Case(description: "a group is there as long as it has items") { store in
            for name in ["b", "a*", "a", "x[1]", #"c:\d"#, ""] { _ = try await store.set(ItemName(name), "k", "1") }
            let all: [ItemName] = ["", "a", "a*", "b", #"c:\d"#, "x[1]"]
            try demand(try await store.groups() == all, "sorted by bytes, none taken for a pattern")
            _ = try await store.change("a", "k") { _ in ItemEdit(.remove) }
            try demand(try await store.groups() == all.filter { $0 != "a" }, "an empty one is gone at once")
        },
        Case(description: "names that differ in a byte are different names") { store in
            let names: [ItemName] = ["e\u{301}", "\u{e9}", "A", "a", "a ", "a:b", "a:b:c", "a\u{0}b"]
            for (index, name) in names.enumerated() { _ = try await store.set(name, name, "\(index)") }
            for (index, name) in names.enumerated() {
                try demand(try await store.get(name, name) == "\(index)", "\(name.text.utf8.map { $0 }) is a name of its own")
            }
            try demand(try await store.groups().count == names.count, "and a group of its own")
        },
        Case(description: "what has expired is not there, and its removal is told once") { store in
            _ = try await store.set("s", "k", "1", expiry: .after(500))
            _ = try await store.set("s", "other", "2")
            _ = try await store.set("t", "k", "1", expiry: .after(500))
            store.clock.advance(499)
            try demand(try await store.get("s", "k") == "1", "it lives until its deadline")
            store.clock.advance(1)
            try demand(try await store.get("s", "k") == nil, "not there from its deadline on")
            try demand(try await store.keys("s") == ["other"], "nor in a list")
            try demand(try await store.groups() == ["s"], "nor its group")
            let change = try await store.set("s", "k", "3")
            try demand(change.old == nil && change.expired?.text == Array("1".utf8), "the next change tells that it had expired")
            let rest = try await store.removeExpired()
            try demand(rest.map(\.address.group.name) == ["t"] && rest[0].item.text == Array("1".utf8), "the others are told when removed")
            try demand(try await store.removeExpired().isEmpty, "once")
        },
        Case(description: "a new value lives as long as is said with it") { store in
            _ = try await store.set("s", "k", "1", expiry: .after(100))
            _ = try await store.set("s", "k", "2", expiry: .unchanged)
            store.clock.advance(100)
            try demand(try await store.get("s", "k") == nil, "unchanged keeps the deadline")
            _ = try await store.set("s", "k", "3", expiry: .after(100))
            _ = try await store.set("s", "k", "4", expiry: .never)
            store.clock.advance(1000)
            try demand(try await store.get("s", "k") == "4", "never takes it away")
        },
    ]

    static func demand(_ condition: Bool, _ what: String) throws {
        guard condition else { throw Broken(description: what) }
    }
}
