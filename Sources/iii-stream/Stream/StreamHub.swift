import IIIItems
import IIIWorker
import NIOCore

/// Who listens to which group, and the order in which each group's events are told.
///
/// Events come in the order of the commits and are numbered here, on one event loop: that is the whole of the sequencing. A subscription is
/// activated before its snapshot is read and holds what comes meanwhile; the snapshot says which changes it has seen, so nothing is lost and
/// nothing told twice. Numbers begin anew with every process, under another `epoch`.
final class StreamHub {
    /// What a store or provider says a group or item is; the revision where it can tell.
    struct Snapshot: Sendable {
        let text: [UInt8]
        let revision: Int?
    }

    private final class Group {
        var position: StreamPosition
        let history: GroupHistory
        var presence = GroupPresence()
        /// Subscriptions that are told of presence.
        var watchers: [ObjectIdentifier: Subscription] = [:]
        /// Since when nobody has listened; nil while somebody does.
        var idleSince: Int?
        var revision = 0
        var subscriptions: [ObjectIdentifier: Subscription] = [:]
        /// The snapshot of the whole group, as long as nothing has happened since.
        var snapshot: StreamFrame?
        var isReading = false
        /// What is being read may not show all that happened before a gap's end.
        var isStale = false
        var waiting: [Subscription] = []

        init(position: StreamPosition) {
            self.position = position
            history = GroupHistory(forgotten: position.sequence)
        }

        func next(_ now: Int) -> StreamPosition {
            position = StreamPosition(sequence: position.sequence + 1, timestamp: max(now, position.timestamp + 1))
            return position
        }

        /// A place in time for a snapshot, which takes no number.
        func mark(_ now: Int) -> StreamPosition {
            position.timestamp = max(now, position.timestamp + 1)
            return position
        }
    }

    let epoch: String
    private let now: () -> Int
    /// Reads a group, or one item of it.
    private let read: (ItemGroup, ItemName?, @escaping (Result<Snapshot, any Error>) -> Void) -> Void
    private let onFailure: (Subscription, any Error) -> Void
    /// Has something done in a while.
    private let later: (@escaping () -> Void) -> Void
    private var groups: [ItemGroup: Group] = [:]
    /// Above every number and time of groups that nobody listens to any more.
    private var floor = StreamPosition(sequence: 0, timestamp: 0)
    /// Groups that nobody listens to, in the order in which that began; what has happened there can still be told.
    private var idle = CircularBuffer<(group: ItemGroup, since: Int)>()
    private(set) var history = EventHistory()
    private(set) var resumes = 0
    private static let maximumIdle = 10_000
    private var snapshotBytes = 0
    private static let maximumSnapshotBytes = 64 << 20
    private(set) var subscriptionCount = 0

    init(
        epoch: String, now: @escaping () -> Int,
        read: @escaping (ItemGroup, ItemName?, @escaping (Result<Snapshot, any Error>) -> Void) -> Void,
        onFailure: @escaping (Subscription, any Error) -> Void, later: @escaping (@escaping () -> Void) -> Void
    ) {
        self.epoch = epoch
        self.now = now
        self.read = read
        self.onFailure = onFailure
        self.later = later
    }

    // MARK: Events

    /// Tells everybody who listens; answers the time of the event. `revision` for changes that a store has numbered.
    @discardableResult
    func publish(_ event: StreamEvent, in group: ItemGroup, id: ItemName?, revision: Int? = nil) -> Int {
        guard let state = groups[group] else { return now() }
        let position = state.next(now())
        forgetSnapshot(of: state)
        if let revision { state.revision = max(state.revision, revision) }
        let frame = StreamFrame(event, in: group, id: id, at: position, revision: revision, epoch: epoch)
        history.append(frame, to: state.history)
        var told: Set<ObjectIdentifier> = []
        for subscription in state.subscriptions.values where subscription.matches(id) {
            if subscription.isHolding {
                subscription.hold(frame)
                continue
            }
            if let revision, revision <= subscription.seenRevision { continue }
            // One copy for each socket, however many of its subscriptions fit.
            let socket = subscription.socket
            guard socket.subscriptions.count == 1 || told.insert(ObjectIdentifier(socket)).inserted else { continue }
            socket.send(frame)
        }
        return position.timestamp
    }

    /// A frame about a group that is not told to all of it.
    func frame(_ event: StreamEvent, for target: ItemGroup, id: ItemName?, subscription: String? = nil) -> StreamFrame {
        let position = groups[target]?.mark(now()) ?? StreamPosition(sequence: floor.sequence, timestamp: now())
        return StreamFrame(event, in: target, id: id, at: position, epoch: epoch, subscription: subscription)
    }

    // MARK: Subscriptions

    /// In force from now on; its snapshot follows.
    func add(_ subscription: Subscription) {
        let state = groups[subscription.group] ?? begin(subscription.group)
        state.subscriptions[ObjectIdentifier(subscription)] = subscription
        state.idleSince = nil
        subscriptionCount += 1
        if !resume(subscription, state) { synchronise(subscription) }
    }

    private func begin(_ group: ItemGroup) -> Group {
        // Above every number that was told of this group before it was given up.
        let state = Group(position: StreamPosition(sequence: floor.sequence + 1, timestamp: floor.timestamp))
        groups[group] = state
        return state
    }

    /// Goes on where the client was, if all that it has missed is known and is less than a slow client would be kept; answers whether it did.
    private func resume(_ subscription: Subscription, _ state: Group) -> Bool {
        guard case .from(epoch, let sequence) = subscription.options.resume,
            let missed = state.history.missed(behind: sequence, of: state.position.sequence)
        else { return false }
        let wanted = missed.filter { subscription.matches($0.id) }
        guard subscription.socket.hasRoom(for: wanted) else { return false }
        resumes += 1
        subscription.resumed()
        let timestamp = wanted.first.map { $0.position.timestamp - 1 } ?? state.mark(now()).timestamp
        subscription.socket.send(
            StreamFrame(
                .resumed, in: subscription.group, id: subscription.item, at: StreamPosition(sequence: sequence, timestamp: timestamp),
                epoch: epoch))
        for frame in wanted { subscription.socket.send(frame) }
        settle(subscription, state)
        return true
    }

    /// The subscription has been shown where it begins: now it is answered, and shown to others.
    private func settle(_ subscription: Subscription, _ state: Group) {
        guard subscription.begins() else { return subscription.settled() }
        if subscription.options.wantsAnswer {
            subscription.socket.send(frame(.joined, for: subscription.group, id: subscription.item, subscription: subscription.id))
        }
        if let value = subscription.options.presence { appear(subscription, value, in: state) }
        subscription.settled()
    }

    /// `isDeliberate`: not because its connection broke.
    func remove(_ subscription: Subscription, isDeliberate: Bool) {
        subscription.end()
        guard let state = groups[subscription.group], state.subscriptions.removeValue(forKey: ObjectIdentifier(subscription)) != nil else {
            return
        }
        subscriptionCount -= 1
        disappear(subscription, in: state, isDeliberate: isDeliberate)
        guard state.subscriptions.isEmpty else { return }
        forgetSnapshot(of: state)
        let now = now()
        state.idleSince = now
        idle.append((subscription.group, now))
        while idle.count > Self.maximumIdle { giveUpOldest() }
    }

    /// Once a second: lets go of what is older than it can be asked for.
    func tick() {
        let now = now()
        history.prune(now: now)
        while let oldest = idle.first, oldest.since <= now - max(history.limits.window, GroupPresence.grace) { giveUpOldest() }
        for (group, state) in groups where !state.presence.isEmpty { tell(state.presence.expire(now: now), in: group, state) }
    }

    /// How long and how much of what has happened is kept for clients that come back.
    func keepHistory(_ limits: EventHistory.Limits) {
        history.limits = limits
        tick()
    }

    private func giveUpOldest() {
        guard let oldest = idle.popFirst(), let state = groups[oldest.group], state.idleSince == oldest.since else { return }
        history.forget(state.history, upTo: state.position.sequence)
        floor.sequence = max(floor.sequence, state.position.sequence)
        floor.timestamp = max(floor.timestamp, state.position.timestamp)
        groups[oldest.group] = nil
    }

    // MARK: Presence

    /// Shows the subscription who is there, and others that its user has come.
    private func appear(_ subscription: Subscription, _ value: [UInt8], in state: Group) {
        let key = subscription.socket.presenceKey(of: subscription)
        if !value.elementsEqual("null".utf8) {
            guard state.presence.hasRoom(for: key) else {
                return subscription.socket.complain(
                    "too_many_present", "a group shows \(GroupPresence.maximumMembers) users at most", subscription.group,
                    subscription.item,
                    subscription.id)
            }
            subscription.presenceKey = key
            tell(state.presence.join(key, value, ObjectIdentifier(subscription), now: now()), in: subscription.group, state)
        }
        state.watchers[ObjectIdentifier(subscription)] = subscription
        subscription.socket.send(frame(.presenceState(state.presence.json), for: subscription.group, id: nil))
    }

    /// The user of a subscription has something else to say; false where it is not shown.
    func show(_ value: [UInt8], for subscription: Subscription) -> Bool {
        guard let state = groups[subscription.group], let key = subscription.presenceKey else { return false }
        tell(state.presence.join(key, value, ObjectIdentifier(subscription), now: now()), in: subscription.group, state)
        return true
    }

    private func disappear(_ subscription: Subscription, in state: Group, isDeliberate: Bool) {
        state.watchers[ObjectIdentifier(subscription)] = nil
        guard let key = subscription.presenceKey else { return }
        let diff = state.presence.leave(key, ObjectIdentifier(subscription), isDeliberate: isDeliberate, now: now())
        tell(diff, in: subscription.group, state)
    }

    private func tell(_ diff: GroupPresence.Diff, in group: ItemGroup, _ state: Group) {
        guard !diff.isEmpty, !state.watchers.isEmpty else { return }
        let frame = frame(.presenceDiff(diff.json), for: group, id: nil)
        var told: Set<ObjectIdentifier> = []
        for watcher in state.watchers.values where told.insert(ObjectIdentifier(watcher.socket)).inserted { watcher.socket.send(frame) }
    }

    /// Who is in a group, by key.
    func presence(in group: ItemGroup) -> GroupPresence { groups[group]?.presence ?? GroupPresence() }

    /// Sends the subscription a snapshot, now or again.
    func synchronise(_ subscription: Subscription) {
        guard !subscription.hasEnded, let state = groups[subscription.group] else { return }
        if subscription.item == nil, let snapshot = state.snapshot {
            subscription.activate(at: snapshot.position, knownRevision: state.revision)
            _ = subscription.synchronised(revision: snapshot.revision)
            subscription.socket.send(snapshot)
            return settle(subscription, state)
        }
        subscription.activate(at: state.mark(now()), knownRevision: state.revision)
        guard let item = subscription.item else {
            state.waiting.append(subscription)
            return readGroup(subscription.group, state)
        }
        let activation = subscription.activation
        read(subscription.group, item) { [self] result in
            guard !subscription.hasEnded, subscription.activation == activation else { return }
            switch result {
            case .success(let snapshot): finish([subscription], subscription.group, snapshot, in: state)
            case .failure(let error): failed([subscription], error)
            }
        }
    }

    /// Who sees nothing yet hears so; who does is shown the rest when it can be read again.
    private func failed(_ subscriptions: [Subscription], _ error: any Error) {
        for subscription in subscriptions where !subscription.hasEnded {
            guard subscription.hasSeen else {
                onFailure(subscription, error)
                continue
            }
            let activation = subscription.activation
            later { [self] in if subscription.activation == activation { synchronise(subscription) } }
        }
    }

    /// Events may have been missed, and revisions have begun anew: all subscriptions are shown what there is, as after a join.
    func refresh() {
        for (group, state) in groups {
            forgetSnapshot(of: state)
            state.revision = 0
            // Nobody goes on from a place before the gap.
            state.position.sequence += 1
            history.forget(state.history, upTo: state.position.sequence)
            state.isStale = state.isReading
            state.waiting = []
            for subscription in state.subscriptions.values {
                guard subscription.item == nil else {
                    synchronise(subscription)
                    continue
                }
                subscription.activate(at: state.mark(now()), knownRevision: 0)
                state.waiting.append(subscription)
            }
            if !state.waiting.isEmpty { readGroup(group, state) }
        }
    }

    private func readGroup(_ group: ItemGroup, _ state: Group) {
        guard !state.isReading else { return }
        state.isReading = true
        read(group, nil) { [self] result in
            state.isReading = false
            guard !state.isStale else {
                state.isStale = false
                return readGroup(group, state)
            }
            let waiting = state.waiting.filter { !$0.hasEnded }
            state.waiting = []
            switch result {
            case .failure(let error): failed(waiting, error)
            case .success(let snapshot): finish(waiting, group, snapshot, in: state)
            }
        }
    }

    private func finish(_ subscriptions: [Subscription], _ group: ItemGroup, _ snapshot: Snapshot, in state: Group) {
        // Whoever came after a change that the snapshot does not show yet, or had to hold too much, needs another one.
        let isServed = { (subscription: Subscription) in
            !subscription.isOverrun && (snapshot.revision.map { $0 >= subscription.knownRevision } ?? true)
        }
        let served = subscriptions.filter(isServed)
        var rests: [(Subscription, [StreamFrame])] = []
        var position = StreamPosition(sequence: 0, timestamp: 0)
        for subscription in served {
            position.timestamp = max(position.timestamp, subscription.position.timestamp)
            let (sequence, rest) = subscription.synchronised(revision: snapshot.revision)
            position.sequence = max(position.sequence, sequence)
            rests.append((subscription, rest))
        }
        if let first = served.first {
            // Made once, however many get it.
            let frame = StreamFrame(
                .sync(snapshot.text), in: group, id: first.item, at: position, revision: snapshot.revision, epoch: epoch)
            for (subscription, rest) in rests {
                subscription.socket.send(frame)
                for event in rest { subscription.socket.send(event) }
                settle(subscription, state)
            }
            if first.item == nil, snapshot.revision != nil, rests.allSatisfy({ $0.1.isEmpty }), groups[group] === state {
                keep(frame, state)
            }
        }
        for subscription in subscriptions where !isServed(subscription) && subscription.isHolding { synchronise(subscription) }
    }

    private func keep(_ frame: StreamFrame, _ state: Group) {
        forgetSnapshot(of: state)
        guard frame.position.sequence == state.position.sequence, frame.revision.map({ $0 >= state.revision }) ?? false,
            snapshotBytes + frame.bytes.count <= Self.maximumSnapshotBytes
        else { return }
        state.snapshot = frame
        snapshotBytes += frame.bytes.count
    }

    private func forgetSnapshot(of state: Group) {
        guard let snapshot = state.snapshot else { return }
        state.snapshot = nil
        snapshotBytes -= snapshot.bytes.count
    }

    /// Every subscription there is.
    var all: [Subscription] { groups.values.flatMap(\.subscriptions.values) }
}
