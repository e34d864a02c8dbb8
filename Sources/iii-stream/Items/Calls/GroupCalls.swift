import IIIProtocol
import IIIWorker
import NIOCore

/// What the functions of state and streams do alike with many items of one group: lists, pages, batches, counts.
///
/// Confined to the event loop. Inputs are read before anything happens, so what is thrown has changed nothing.
package struct GroupCalls {
    /// What the two families call things.
    package struct Words: Sendable {
        /// `key`, `item_id`; and of many.
        package var id: String
        package var ids: String
        /// `value`, `data`.
        package var value: String

        package init(id: String, ids: String, value: String) {
            self.id = id
            self.ids = ids
            self.value = value
        }
    }

    /// An error's code, and how its message begins.
    package typealias Failure = (code: ErrorCode, prefix: String)

    private let words: Words
    private let eventLoop: any EventLoop
    private let store: () throws -> any ItemStore
    private let changed: (ItemAddress, ItemChange, IncomingCall) -> Void

    /// Most items of a batch.
    package static let maximumBatch = 1000
    /// Items that `deleteGroup` removes in one go.
    private static let piece = 256

    /// `changed` tells everybody of a change once it is stored.
    package init(
        _ words: Words, on eventLoop: any EventLoop, store: @escaping () throws -> any ItemStore,
        changed: @escaping (ItemAddress, ItemChange, IncomingCall) -> Void
    ) {
        self.words = words
        self.eventLoop = eventLoop
        self.store = store
        self.changed = changed
    }

    // MARK: Reading

    package func list(_ group: ItemGroup, _ request: PageRequest, _ call: IncomingCall, _ failure: Failure) throws {
        try page(group, request, call, failure) { request.answer($0) }
    }

    /// `{"keys" | "ids", "next_cursor"}`.
    package func listNames(_ group: ItemGroup, as member: String, _ request: PageRequest, _ call: IncomingCall, _ failure: Failure) throws {
        try page(group, request, call, failure) { list in
            var result = JSONObjectText()
            result.set(member, .array(list.entries.map { .string($0.key.text) }))
            result.set("next_cursor", request.nextCursor(list))
            return result.finish()
        }
    }

    private func page(
        _ group: ItemGroup, _ request: PageRequest, _ call: IncomingCall, _ failure: Failure, _ answer: @escaping (ItemListing) -> [UInt8]
    ) throws {
        let bound = NIOLoopBound((call, answer), eventLoop: eventLoop)
        try store().list(group, request.page) { outcome in
            let (call, answer) = bound.value
            switch outcome {
            // A page ends early where its bytes do; a list without pages has to be whole.
            case .success(let list) where list.end == .bytes && (!request.isAsked || list.entries.isEmpty):
                call.fail(ItemLimits.listTooLarge)
            case .success(let list): call.reply(raw: answer(list))
            case .failure(let error): call.fail(.store(error, failure.code, failure.prefix))
            }
        }
    }

    package func count(_ group: ItemGroup, _ call: IncomingCall, _ failure: Failure) throws {
        let bound = NIOLoopBound(call, eventLoop: eventLoop)
        try store().count(group) { outcome in
            switch outcome {
            case .success(let count): bound.value.reply(["count": JSONValue(count)])
            case .failure(let error): bound.value.fail(.store(error, failure.code, failure.prefix))
            }
        }
    }

    /// `{"items": [{<id>, "value"}]}` of those that are there, in the order asked for.
    package func getMany(_ input: InputObject, _ group: ItemGroup, _ call: IncomingCall, _ failure: Failure) throws {
        let elements = try input.array(words.ids)
        try Self.check(elements.count)
        var names: [ItemName] = []
        for element in elements { names.append(try name(try InputObject.string(element))) }
        let reading = ManyReadings(words, names: names, group: group, store: try store(), call: call, failure: failure)
        reading.begin(on: eventLoop)
    }

    // MARK: Changing

    /// Stores all items of a batch in one step and answers `{"items": [{<id>, "old_value", "new_value", "revision"?}]}`.
    package func setMany(_ input: InputObject, _ group: ItemGroup, limit: ValueLimit, _ call: IncomingCall, _ failure: Failure) throws {
        let elements = try input.array("items")
        try Self.check(elements.count)
        let common = try ChangeOptions(input, expiry: .never)
        guard common.requiredRevision == nil, common.requiredValue == nil else {
            throw InputProblem("`if_revision` and `if_value` belong to the items of a batch, not beside them")
        }
        var steps: [ItemStep] = []
        var seen: Set<ItemName> = []
        for element in elements {
            let item = try InputObject(element, as: "an item")
            let key = try name(try item.string(words.id))
            guard seen.insert(key).inserted else { throw InputProblem("an item with `\(words.id)` of its own is named twice") }
            let value = Array(try item.value(words.value))
            try limit.check(value)
            var options = try ChangeOptions(item, expiry: common.expiry)
            options.skipsUnchanged = options.skipsUnchanged || common.skipsUnchanged
            steps.append(ItemStep(key: key, cost: value.count, decide: ItemEdits.set(value, options)))
        }
        let names = steps.map(\.key)
        let (id, addRevision) = (words.id, common.returnsRevision)
        let bound = NIOLoopBound((call, changed), eventLoop: eventLoop)
        try store().changeAll(in: group, steps) { outcome in
            let (call, changed) = bound.value
            switch outcome {
            case .failure(let error): call.fail(.store(error, failure.code, failure.prefix))
            case .success(let changes):
                let rows = zip(names, changes).map { name, change in
                    var row = JSONObjectText()
                    row.set(id, .string(name.text))
                    row.set("old_value", raw: change.old?.text)
                    row.set("new_value", raw: change.new?.text)
                    if addRevision { row.set("revision", JSONValue(change.new?.revision ?? change.revision)) }
                    return row.finish()
                }
                var result = JSONObjectText()
                result.set("items", rows: rows)
                call.reply(raw: result.finish())
                for (name, change) in zip(names, changes) { changed(ItemAddress(group: group, key: name), change, call) }
            }
        }
    }

    /// Removes every item that is there when its turn comes, told one by one; answers `{"deleted": n}`.
    package func deleteGroup(_ group: ItemGroup, _ call: IncomingCall, _ failure: Failure) throws {
        removePiece(of: group, behind: 0, removed: 0, try store(), call, failure)
    }

    private func removePiece(
        of group: ItemGroup, behind place: Int, removed: Int, _ store: any ItemStore, _ call: IncomingCall, _ failure: Failure
    ) {
        let bound = NIOLoopBound((self, call), eventLoop: eventLoop)
        store.list(group, ItemPage(limit: Self.piece, after: place)) { outcome in
            let (calls, call) = bound.value
            switch outcome {
            case .failure(let error): call.fail(.store(error, failure.code, failure.prefix))
            case .success(let list):
                guard let last = list.entries.last else { return call.reply(["deleted": JSONValue(removed)]) }
                let piece = RemovedPiece(left: list.entries.count, removed: removed) { removed, error in
                    if let error { return call.fail(.store(error, failure.code, failure.prefix)) }
                    // Not here: a store that answers on the spot would have all of them recurse.
                    calls.eventLoop.execute {
                        bound.value.0.removePiece(of: group, behind: last.place, removed: removed, store, bound.value.1, failure)
                    }
                }
                let shared = NIOLoopBound(piece, eventLoop: calls.eventLoop)
                for entry in list.entries {
                    let address = ItemAddress(group: group, key: entry.key)
                    store.change(address, cost: 0, { _ in ItemEdit(.remove) }) { outcome in
                        if case .success(let change) = outcome { bound.value.0.changed(address, change, bound.value.1) }
                        shared.value.done(outcome)
                    }
                }
            }
        }
    }

    // MARK: Input

    private func name(_ text: String) throws(InvocationError) -> ItemName {
        let name = ItemName(text)
        try ItemLimits.check(name, "`\(words.id)`")
        return name
    }

    private static func check(_ count: Int) throws(InvocationError) {
        guard count > maximumBatch else { return }
        throw InvocationError(.limitExceeded, "\(count) items, at most \(maximumBatch) are allowed in one batch")
    }
}

/// Removals that are under way together. Confined to the event loop.
private final class RemovedPiece {
    private var left: Int
    private var removed: Int
    private var error: (any Error)?
    private let completion: (Int, (any Error)?) -> Void

    init(left: Int, removed: Int, completion: @escaping (Int, (any Error)?) -> Void) {
        self.left = left
        self.removed = removed
        self.completion = completion
    }

    func done(_ outcome: Result<ItemChange, any Error>) {
        switch outcome {
        case .success(let change): removed += change.isChanged ? 1 : 0
        case .failure(let error): self.error = error
        }
        left -= 1
        if left == 0 { completion(removed, error) }
    }
}

/// Items of one call, read one after the other, so that what is held is what is going to be answered. Confined to the event loop.
private final class ManyReadings {
    private let words: GroupCalls.Words
    private let group: ItemGroup
    private let store: any ItemStore
    private let call: IncomingCall
    private let failure: GroupCalls.Failure
    private var names: ArraySlice<ItemName>
    private var rows: [[UInt8]] = []
    private var bytes = 0
    /// Readings that may be begun before the stack is unwound.
    private static let maximumDepth = 64

    init(
        _ words: GroupCalls.Words, names: [ItemName], group: ItemGroup, store: any ItemStore, call: IncomingCall,
        failure: GroupCalls.Failure
    ) {
        self.words = words
        self.names = names[...]
        self.group = group
        self.store = store
        self.call = call
        self.failure = failure
    }

    func begin(on eventLoop: any EventLoop) { next(NIOLoopBound(self, eventLoop: eventLoop), eventLoop, depth: 0) }

    private func next(_ bound: NIOLoopBound<ManyReadings>, _ eventLoop: any EventLoop, depth: Int) {
        guard let name = names.popFirst() else {
            var result = JSONObjectText()
            result.set("items", rows: rows)
            return call.reply(raw: result.finish())
        }
        guard depth < Self.maximumDepth else {
            names.insert(name, at: names.startIndex)
            return eventLoop.execute { bound.value.next(bound, eventLoop, depth: 0) }
        }
        store.read(ItemAddress(group: group, key: name)) { outcome in
            let reading = bound.value
            switch outcome {
            case .failure(let error): reading.call.fail(.store(error, reading.failure.code, reading.failure.prefix))
            case .success(let found):
                if let item = found.item {
                    var row = JSONObjectText()
                    row.set(reading.words.id, .string(name.text))
                    row.set("value", raw: item.text)
                    reading.rows.append(row.finish())
                    reading.bytes += item.text.count
                }
                guard reading.bytes <= ItemLimits.maximumListBytes else { return reading.call.fail(ItemLimits.listTooLarge) }
                reading.next(bound, eventLoop, depth: depth + 1)
            }
        }
    }
}
