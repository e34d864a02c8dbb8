import IIIProtocol
import IIIRedis
import IIIWorker
import Logging
import NIOCore

/// Items in a Redis that several engines share: the adapter `redis`.
///
/// A change is decided about in this process and stored by a script if the value is still the one that was decided about; else it is decided
/// about again. Changes of one item are made one after the other here, so only other processes can come between; one that has lost
/// three times takes the *turn*, for which others wait. The scripts are made one after the other by the server, over one connection: completions
/// come in the order of the commits, and what scripts publish comes in that order to every engine.
///
/// Confined to the event loop.
package final class RedisItemStore: SharedItemStore, @unchecked Sendable {
    let client: RedisClient
    let keys: RedisItemKeys
    let logger: Logger
    private let settings: RedisItemStoreSettings
    private let now: @Sendable () -> Int
    /// Names this process where several write one item.
    let instance: String
    /// Items that are being changed, with what waits for each.
    private var lanes: [ItemAddress: CircularBuffer<PendingChange>] = [:]
    private var waiting = (changes: 0, bytes: 0)
    private var recent = RecentItems()
    private var feed: RedisItemFeed?
    private var hasWarned: NIODeadline?

    /// How often another process may come between before a change takes the turn, and before it is given up.
    private static let patience = 3
    private static let maximumAttempts = 200
    private static let maximumWaiting = (changes: 65_536, bytes: 64 << 20)
    /// Values that one sweep takes out, in bytes.
    private static let maximumSweep = 4 << 20

    private init(client: RedisClient, keys: RedisItemKeys, settings: RedisItemStoreSettings, context: ItemStoreContext, instance: String) {
        self.client = client
        self.keys = keys
        self.settings = settings
        self.instance = instance
        logger = context.logger
        now = context.now
    }

    /// Connects, looks at what others have left there, and listens. Throws what keeps it from working.
    package static func open(_ settings: RedisItemStoreSettings, _ context: ItemStoreContext) async throws -> RedisItemStore {
        guard let eventLoop = context.eventLoop else { throw ConfigurationError("the adapter redis needs an event loop of SwiftNIO") }
        let keys = try RedisItemKeys(prefix: settings.prefix, kind: context.layout)
        var settings = settings
        settings.client.clientName = context.entry
        var generator = SystemRandomNumberGenerator()
        let instance = UUIDBits.random(using: &generator).text
        let feed = context.layout == .streams ? RedisItemFeed(settings.client, keys, instance, on: eventLoop, logger: context.logger) : nil
        let client = try await RedisClient.open(
            settings.client, scripts: RedisItemScripts.all, on: eventLoop, logger: context.logger,
            consequence: "calls wait for it, \(settings.client.commandTimeout.nanoseconds / 1_000_000) ms at the most"
        ) { facts in
            feed?.commandsConnected(facts)
        }
        let store = RedisItemStore(client: client, keys: keys, settings: settings, context: context, instance: instance)
        do {
            try await RedisServerCheck.run(client, logger: context.logger)
            try await RedisItemAdoption.run(store)
            try await feed?.open(with: client)
        } catch {
            await store.close()
            throw error
        }
        try await eventLoop.submit { store.feed = feed }.get()
        return store
    }

    // MARK: Changes

    package func change(
        _ item: ItemAddress, cost: Int, _ decide: @escaping @Sendable (StoredItem?) throws -> ItemEdit,
        completion: @escaping @Sendable (Result<ItemChange, any Error>) -> Void
    ) {
        let step = ItemStep(key: item.key, cost: cost, decide: decide)
        let change = PendingChange(item.group, [step], lane: item, deadline: .now() + settings.client.commandTimeout) { result in
            completion(
                result.flatMap { changes in
                    guard let only = changes.first else { return .failure(RedisItemReplies.unreadable) }
                    return .success(only)
                })
        }
        guard lanes[item] != nil else {
            lanes[item] = []
            return attempt(change)
        }
        guard waiting.changes < Self.maximumWaiting.changes, waiting.bytes + cost <= Self.maximumWaiting.bytes else {
            return completion(
                .failure(RedisError(.overloaded, "\(waiting.changes) changes wait for others of the same items already; try again later")))
        }
        waiting.changes += 1
        waiting.bytes += cost
        lanes[item]?.append(change)
    }

    package func changeAll(
        in group: ItemGroup, _ steps: [ItemStep], completion: @escaping @Sendable (Result<[ItemChange], any Error>) -> Void
    ) {
        guard !steps.isEmpty else { return completion(.success([])) }
        attempt(PendingChange(group, steps, lane: nil, deadline: .now() + settings.client.commandTimeout, completion: completion))
    }

    /// Decides about what is known, or assumed, and has that stored.
    private func attempt(_ change: PendingChange) {
        client.eventLoop.preconditionInEventLoop()
        guard change.deadline > .now() else {
            return finish(change, .failure(RedisError(.notSent, "other changes of this item took too long; nothing was stored")))
        }
        if let lane = change.lane, !change.isKnown[0], let item = recent[lane] { change.assume(item) }
        var sent: [RedisItemReplies.Sent] = []
        sent.reserveCapacity(change.steps.count)
        for (index, step) in change.steps.enumerated() {
            do {
                sent.append(RedisItemReplies.Sent(edit: try step.decide(change.old[index]), old: change.old[index]))
            } catch {
                // What was assumed may be wrong.
                return change.isKnown[index] ? finish(change, .failure(error)) : look(change, at: index)
            }
        }
        send(sent, of: change) { [self] result in
            switch result {
            case .failure(let error): finish(change, .failure(explained(error, change.group)))
            case .success(let value):
                do throws(RedisError) {
                    obey(try RedisItemReplies.outcome(value, of: sent), change)
                } catch {
                    finish(change, .failure(error))
                }
            }
        }
    }

    private func obey(_ outcome: RedisItemReplies.Outcome, _ change: PendingChange) {
        switch outcome {
        case .made(let made): finish(change, .success(made))
        case .full: finish(change, .failure(ItemLimits.tooManyItems()))
        case .others(let others):
            guard others.allSatisfy(\.isReadable) else {
                noticeForeign(change.group, "a value is not JSON")
                return finish(change, .failure(Unreadable()))
            }
            // The first time it was only assumed what is there.
            if others.contains(where: { change.isKnown[$0.index] }) { change.attempts += 1 }
            guard change.attempts < Self.maximumAttempts else {
                let error = RedisError(
                    .rejected, "others have changed this item \(change.attempts) times meanwhile; nothing was stored, try again")
                return finish(change, .failure(error))
            }
            for other in others { change.learn(other.item, at: other.index) }
            attempt(change)
        case .turn(let milliseconds):
            // At odd moments, so that several who wait do not come back together.
            let pause = TimeAmount.microseconds(Int64.random(in: 500...(Int64(min(milliseconds, 10)) * 1000)))
            let bound = NIOLoopBound((self, change), eventLoop: client.eventLoop)
            client.eventLoop.scheduleTask(in: pause) { bound.value.0.attempt(bound.value.1) }
        }
    }

    /// Reads what is there, then decides about that.
    private func look(_ change: PendingChange, at index: Int) {
        read(ItemAddress(group: change.group, key: change.steps[index].key)) { [self] result in
            switch result {
            case .success(let reading):
                change.learn(reading.item, at: index)
                attempt(change)
            case .failure(let error): finish(change, .failure(error))
            }
        }
    }

    private func finish(_ change: PendingChange, _ result: Result<[ItemChange], any Error>) {
        for (index, step) in change.steps.enumerated() {
            let made = try? result.get()
            recent.remember(made?[index].new, at: ItemAddress(group: change.group, key: step.key))
        }
        change.completion(result)
        guard let lane = change.lane else { return }
        guard let next = lanes[lane]?.popFirst() else {
            lanes[lane] = nil
            return
        }
        waiting.changes -= 1
        waiting.bytes -= next.steps[0].cost
        attempt(next)
    }

    private func send(_ steps: [RedisItemReplies.Sent], of change: PendingChange, completion: @escaping RedisClient.Completion) {
        let isTold = feed != nil
        client.send(words: Self.leadingWords + 8 + 6 * steps.count, isWrite: true) {
            begin(RedisItemScripts.change, change.group, &$0)
            $0.add(RedisItemKeys.member(change.group))
            $0.add(ItemLimits.maximumItems)
            $0.add(change.number(at: instance))
            $0.add(change.attempts >= Self.patience ? 1 : 0)
            $0.add(isTold ? keys.channel : "")
            $0.add(RedisItemFrame.head)
            $0.add(RedisItemFrame.tail(database: settings.client.url.database))
            $0.add(RedisItemFrame.end)
            for (step, item) in zip(steps, change.steps) {
                $0.add(item.key.text)
                $0.add(step.edit.isUnconditional ? "*" : "\(step.old?.revision ?? 0)")
                switch step.edit.action {
                case .keep: $0.add("k")
                case .remove: $0.add("r")
                case .store: $0.add("s")
                }
                if case .store(let text) = step.edit.action { $0.add(text) } else { $0.add("") }
                switch step.edit.expiry {
                case .unchanged: $0.add("u")
                case .never: $0.add("n")
                case .after(let milliseconds): $0.add(milliseconds)
                }
                $0.add(isTold ? RedisItemFrame(ItemAddress(group: change.group, key: item.key)).middle : [])
            }
        } completion: {
            completion($0)
        }
    }

    /// Of a command that `begin` begins.
    private static let leadingWords = 11

    /// Script and keys of a group, then the time.
    private func begin(_ script: RedisScript, _ group: ItemGroup, _ arguments: inout RedisArguments) {
        arguments.add("EVALSHA")
        arguments.add(script.digest)
        arguments.add(7)
        for key in keys.all(of: group) { arguments.add(key) }
        arguments.add(time)
    }

    /// Empty: the server's own.
    private var time: String { settings.usesServerClock ? "" : "\(now())" }

    // MARK: Reading

    package func read(_ item: ItemAddress, completion: @escaping @Sendable (Result<ItemReading, any Error>) -> Void) {
        client.send(words: Self.leadingWords + 2, isRepeatable: true) {
            begin(RedisItemScripts.read, item.group, &$0)
            $0.add(item.key.text)
            $0.add(RedisItemKeys.member(item.group))
        } completion: { [self] result in
            completion(
                answer(result, item.group) { value throws(RedisError) in
                    try RedisItemReplies.reading(value)
                }.flatMap { reading in
                    guard reading.isReadable else {
                        noticeForeign(item.group, "a value is not JSON")
                        return .failure(Unreadable())
                    }
                    return .success(ItemReading(item: reading.item, revision: reading.revision))
                })
        }
    }

    package func count(_ group: ItemGroup, completion: @escaping @Sendable (Result<Int, any Error>) -> Void) {
        client.send(words: Self.leadingWords + 1, isRepeatable: true) {
            begin(RedisItemScripts.count, group, &$0)
            $0.add(RedisItemKeys.member(group))
        } completion: { [self] result in
            completion(
                answer(result, group) { value throws(RedisError) in
                    guard let count = value.int else { throw RedisItemReplies.unreadable }
                    return count
                })
        }
    }

    package func list(_ group: ItemGroup, _ page: ItemPage, completion: @escaping @Sendable (Result<ItemListing, any Error>) -> Void) {
        client.send(words: Self.leadingWords + 6, isRepeatable: true) {
            begin(RedisItemScripts.list, group, &$0)
            switch page.order {
            case .stored(let place):
                $0.add("place")
                $0.add(place)
            case .name(let name):
                $0.add("name")
                $0.add(name.flatMap { $0 < page.prefix ? nil : "(\($0.text)" } ?? (page.prefix.count == 0 ? "-" : "[\(page.prefix.text)"))
            }
            $0.add(page.limit ?? 0)
            $0.add(page.maximumBytes)
            $0.add(RedisItemKeys.member(group))
            $0.add(page.prefix.text)
        } completion: { [self] result in
            let listing = answer(result, group) { value throws(RedisError) in try RedisItemReplies.listing(value) }
            if case .success(let found) = listing, found.unreadable > 0 {
                noticeForeign(group, "\(found.unreadable) values are not JSON, or their names not UTF-8")
            }
            completion(listing.map(\.listing))
        }
    }

    package func groups(of stream: ItemName, completion: @escaping @Sendable (Result<[ItemName], any Error>) -> Void) {
        members(beginningWith: RedisItemKeys.member(of: stream)) { completion($0.map { $0.map(\.name) }) }
    }

    package func groups(completion: @escaping @Sendable (Result<[ItemGroup], any Error>) -> Void) {
        members(beginningWith: "") { completion($0.map { $0.sorted { ($0.stream, $0.name) < ($1.stream, $1.name) } }) }
    }

    private func members(beginningWith lead: String, completion: @escaping (Result<[ItemGroup], any Error>) -> Void) {
        client.send(words: 9, isRepeatable: true) {
            $0.add("EVALSHA")
            $0.add(RedisItemScripts.groups.digest)
            $0.add(2)
            $0.add(keys.groups)
            $0.add(keys.expiry)
            $0.add(time)
            $0.add(keys.prefix)
            $0.add(keys.kind == .state ? "state" : "stream")
            $0.add(lead)
        } completion: { [self] result in
            completion(answer(result, nil) { value throws(RedisError) in try RedisItemReplies.groups(value) })
        }
    }

    package func removeExpired(limit: Int, completion: @escaping @Sendable (Result<[ExpiredItem], any Error>) -> Void) {
        client.send(words: 13, isWrite: true) {
            $0.add("EVALSHA")
            $0.add(RedisItemScripts.expire.digest)
            $0.add(3)
            $0.add(keys.groups)
            $0.add(keys.expiry)
            $0.add(keys.revision)
            $0.add(time)
            $0.add(keys.prefix)
            $0.add(keys.kind == .state ? "state" : "stream")
            $0.add(limit)
            $0.add(Self.maximumSweep)
            $0.add(feed == nil ? "" : keys.channel)
            $0.add(settings.client.url.database)
        } completion: { [self] result in
            completion(answer(result, nil) { value throws(RedisError) in try RedisItemReplies.expired(value) })
        }
    }

    private func answer<Value>(
        _ result: Result<RedisValue, RedisError>, _ group: ItemGroup?, _ read: (RedisValue) throws(RedisError) -> Value
    ) -> Result<Value, any Error> {
        switch result {
        case .failure(let error): .failure(explained(error, group))
        case .success(let value): Result { try read(value) }
        }
    }

    // MARK: What others do

    package func watch(_ tell: @escaping @Sendable (ItemFeed) -> Void) {
        client.eventLoop.preconditionInEventLoop()
        feed?.tell = tell
    }

    package func publish(_ news: ItemNews, completion: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        let frame = RedisItemFrame.text(news, at: now(), database: settings.client.url.database)
        client.send(words: 3, isWrite: false) {
            $0.add("PUBLISH")
            $0.add(keys.channel)
            $0.add(frame)
        } completion: { [self] result in
            completion(result.map { _ in () }.mapError { explained($0, nil) })
        }
    }

    // MARK: Errors

    /// Somebody else's value, which is no JSON.
    struct Unreadable: Error, CustomStringConvertible {
        let description = "the stored value is not JSON; another program has written it"
    }

    private func explained(_ error: RedisError, _ group: ItemGroup?) -> RedisError {
        switch error.code {
        case .failed where error.message.contains("WRONGTYPE"):
            let key = group.map { "the key '\(keys.values(of: $0))', or one of iii's beside it," } ?? "one of iii's keys"
            return RedisError(.failed, "\(key) has another type in Redis: another program uses it")
        case .outcomeUnknown: return RedisError(.outcomeUnknown, "it is not known whether this took effect: \(error.message)")
        default: return error
        }
    }

    /// Once a minute at most.
    private func noticeForeign(_ group: ItemGroup, _ what: String) {
        guard hasWarned.map({ $0 + .minutes(1) < .now() }) ?? true else { return }
        hasWarned = .now()
        logger.warning(
            .redisForeignValue, "another program has put something into Redis that cannot be served; it is left out",
            metadata: ["key": "\(keys.values(of: group))", "what": "\(what)"])
    }

    package var status: String {
        let pending = client.pending.commands
        let away = client.isConnected ? "" : ", NOT CONNECTED"
        let deaf = feed.map { $0.isListening ? "" : ", EVENTS OF OTHERS DO NOT COME" } ?? ""
        return "\(settings.client.url.displayText)\(away)\(deaf), \(pending) commands under way, \(waiting.changes) changes wait"
    }

    /// What is under way has as long as any command.
    package func close() async {
        let deadline = NIODeadline.now() + settings.client.commandTimeout
        let isIdle = { @Sendable [self] in !client.isConnected || (lanes.isEmpty && client.pending.commands == 0) }
        while (try? await client.eventLoop.submit(isIdle).get()) == false, deadline > .now() {
            try? await Task.sleep(for: .milliseconds(5))
        }
        try? await client.eventLoop.submit {
            self.feed?.stop()
            self.client.stop()
        }.get()
    }
}

/// A change that has been asked for, of one item or of several. Confined to the event loop.
private final class PendingChange: @unchecked Sendable {
    let group: ItemGroup
    let steps: [ItemStep]
    /// The item whose changes are made one after the other; nil for a batch, which is in nobody's way until it takes the turn.
    let lane: ItemAddress?
    /// Once it has passed nothing is tried any more.
    let deadline: NIODeadline
    let completion: @Sendable (Result<[ItemChange], any Error>) -> Void
    /// For each step what is there as far as known; else what is assumed, first that nothing is.
    private(set) var old: [StoredItem?]
    private(set) var isKnown: [Bool]
    /// How often another one was faster.
    var attempts = 0

    init(
        _ group: ItemGroup, _ steps: [ItemStep], lane: ItemAddress?, deadline: NIODeadline,
        completion: @escaping @Sendable (Result<[ItemChange], any Error>) -> Void
    ) {
        self.group = group
        self.steps = steps
        self.lane = lane
        self.deadline = deadline
        self.completion = completion
        old = Array(repeating: nil, count: steps.count)
        isKnown = Array(repeating: false, count: steps.count)
    }

    /// What the only step will probably find.
    func assume(_ item: StoredItem) { old[0] = item }

    func learn(_ item: StoredItem?, at index: Int) {
        old[index] = item
        isKnown[index] = true
    }

    /// Names it among all changes of all processes.
    func number(at instance: String) -> String { "\(instance)-\(UInt(bitPattern: ObjectIdentifier(self).hashValue))" }
}
