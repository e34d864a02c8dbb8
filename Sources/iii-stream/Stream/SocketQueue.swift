import IIIItems
import NIOCore

/// The frames that wait for one socket, and what becomes of them when there are too many. Pure.
///
/// Nothing waits for a slow reader, and no more than the limits is kept for it. Beyond them frames of one item are merged, so that a client
/// that applies what is left holds what is stored: create then update is a create, anything then delete is a delete, a delete and a create after it
/// both stay. A merged frame stands where its newest part stood. If that is not enough the changes of the group with most of them go, and
/// the group is told anew (`stale`) once the socket has taken everything. Snapshots are never counted: they are not backlog, but what was asked for.
struct SocketQueue {
    struct Limits: Sendable, Equatable {
        var frames = 1024
        var bytes = 4 << 20
    }

    private(set) var waiting = CircularBuffer<StreamFrame>()
    /// Of frames that are not snapshots.
    private(set) var count = 0
    private(set) var bytes = 0
    /// Of snapshots.
    private(set) var snapshotBytes = 0
    /// Groups whose changes were left out.
    private(set) var stale: Set<ItemGroup> = []
    /// Custom events that were left out, by group, not told yet.
    private(set) var lagged: [ItemGroup: Int] = [:]
    /// Groups whose presence frames were left out.
    private(set) var unsure: Set<ItemGroup> = []
    private(set) var coalesced = 0
    private(set) var dropped = 0

    /// Of all sockets; nil where nobody counts.
    private let ledger: QueueLedger?

    init(ledger: QueueLedger? = nil) { self.ledger = ledger }

    var isEmpty: Bool { waiting.isEmpty }

    mutating func append(_ frame: StreamFrame, _ limits: Limits) {
        // What would be told anew anyway.
        if frame.event.isChange, stale.contains(frame.group) { return }
        if frame.event.isPresence, unsure.contains(frame.group) { return }
        add(frame)
        guard count > limits.frames || bytes > limits.bytes, !Self.isSnapshot(frame) else { return }
        coalesce()
        while count > limits.frames / 2 + 1 || bytes > limits.bytes / 2, leaveOut() {}
    }

    private static func isSnapshot(_ frame: StreamFrame) -> Bool {
        if case .sync = frame.event { return true }
        return false
    }

    private mutating func add(_ frame: StreamFrame) {
        waiting.append(frame)
        account(frame, 1)
    }

    private mutating func account(_ frame: StreamFrame, _ sign: Int) {
        if let ledger { if sign > 0 { ledger.hold(frame) } else { ledger.release(frame) } }
        if Self.isSnapshot(frame) {
            snapshotBytes += sign * frame.bytes.count
        } else {
            count += sign
            bytes += sign * frame.bytes.count
        }
    }

    mutating func popFirst() -> StreamFrame? {
        guard let frame = waiting.popFirst() else { return nil }
        account(frame, -1)
        return frame
    }

    private struct Item: Hashable {
        let group: ItemGroup
        let id: ItemName?
    }

    private mutating func coalesce() {
        var kept: [StreamFrame?] = []
        var last: [Item: Int] = [:]
        for frame in waiting {
            let item = Item(group: frame.group, id: frame.id)
            guard frame.event.isChange else {
                // A snapshot says everything that came before it.
                if Self.isSnapshot(frame) { last = last.filter { $0.key.group != frame.group } }
                kept.append(frame)
                continue
            }
            if let place = last[item], let earlier = kept[place], let merged = Self.merged(earlier, frame) {
                kept[place] = nil
                coalesced += 1
                last[item] = kept.count
                kept.append(merged)
            } else {
                last[item] = kept.count
                kept.append(frame)
            }
        }
        replace(with: kept.compactMap { $0 })
    }

    /// nil: both are needed.
    private static func merged(_ earlier: StreamFrame, _ later: StreamFrame) -> StreamFrame? {
        switch (earlier.event, later.event) {
        case (.create, .update(let data)): later.with(.create(data))
        case (.delete, .create), (.delete, .update): nil
        default: later
        }
    }

    private mutating func replace(with frames: [StreamFrame]) {
        for frame in frames { account(frame, 1) }
        for frame in waiting { account(frame, -1) }
        waiting = CircularBuffer(frames)
    }

    /// Leaves out the changes of the group that has most of them, or else the oldest custom events; false when there is nothing left.
    private mutating func leaveOut() -> Bool {
        var sizes: [ItemGroup: Int] = [:]
        for frame in waiting where frame.event.isChange { sizes[frame.group, default: 0] += frame.bytes.count }
        if let largest = sizes.max(by: { $0.value < $1.value })?.key {
            stale.insert(largest)
            let rest = waiting.filter { !($0.event.isChange && $0.group == largest) }
            dropped += waiting.count - rest.count
            replace(with: Array(rest))
            return true
        }
        let others = waiting.filter { !Self.isSnapshot($0) }.count
        guard others > 1 else { return false }
        var toGo = (others + 1) / 2
        let rest = waiting.filter { frame in
            guard toGo > 0, !Self.isSnapshot(frame) else { return true }
            toGo -= 1
            if case .custom = frame.event { lagged[frame.group, default: 0] += 1 }
            if frame.event.isPresence { unsure.insert(frame.group) }
            return false
        }
        // A later difference means nothing without those that are gone.
        let sound = rest.filter { !($0.event.isPresence && unsure.contains($0.group)) }
        dropped += waiting.count - sound.count
        replace(with: Array(sound))
        return true
    }

    /// The socket has taken everything: what has to be told anew, and how many custom events each group has missed.
    mutating func takeStale() -> (groups: Set<ItemGroup>, lagged: [ItemGroup: Int], unsure: Set<ItemGroup>) {
        defer {
            stale = []
            lagged = [:]
            unsure = []
        }
        return (stale, lagged, unsure)
    }

    /// Something has to be told anew.
    var hasLeftOut: Bool { !stale.isEmpty || !lagged.isEmpty || !unsure.isEmpty }

    /// The socket is no more.
    mutating func removeAll() { replace(with: []) }

    /// Nobody listens to the group on this socket any more.
    mutating func forget(_ group: ItemGroup) {
        stale.remove(group)
        unsure.remove(group)
        lagged[group] = nil
    }
}
