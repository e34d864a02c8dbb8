import IIIItems

/// What one socket has joined: a group, or one item of it.
final class Subscription {
    let id: String
    let group: ItemGroup
    let item: ItemName?
    let socket: StreamSocket
    let options: JoinOptions
    /// Under which the user is shown, once it is.
    var presenceKey: ItemName?
    /// What has come since it was activated, until the snapshot is there; nil once that has been sent.
    private(set) var held: [StreamFrame]? = []
    private var heldBytes = 0
    /// More was held than may be: the snapshot has to be read once more.
    private(set) var isOverrun = false
    /// The place of its snapshot.
    private(set) var position = StreamPosition(sequence: 0, timestamp: 0)
    /// The newest change of the group that was told before it was activated. A snapshot must not be older.
    private(set) var knownRevision = 0
    /// Changes up to here are in its snapshot.
    private(set) var seenRevision = 0
    private(set) var hasEnded = false
    private var hasBegun = false
    /// Counts what it was activated for: who has read for an earlier one comes too late.
    private(set) var activation = 0
    /// It has been shown where it begins, once.
    private(set) var hasSeen = false

    /// Called once, when the first snapshot has been sent, or none ever will be.
    private var onSettled: (() -> Void)?

    private static let maximumHeld = 4096
    private static let maximumHeldBytes = 4 << 20

    init(_ target: ClientMessage.Target, on socket: StreamSocket, onSettled: @escaping () -> Void) {
        self.onSettled = onSettled
        id = target.subscription
        group = target.group
        item = target.id
        options = target.options
        self.socket = socket
    }

    var isHolding: Bool { held != nil }

    func matches(_ id: ItemName?) -> Bool { item == nil || item == id }

    /// From now on everything is held, for the snapshot that is about to be read.
    func activate(at position: StreamPosition, knownRevision: Int) {
        self.position = position
        self.knownRevision = knownRevision
        activation += 1
        held = []
        heldBytes = 0
        isOverrun = false
    }

    func hold(_ frame: StreamFrame) {
        guard let count = held?.count, !isOverrun else { return }
        heldBytes += frame.bytes.count
        guard count < Self.maximumHeld, heldBytes <= Self.maximumHeldBytes else {
            isOverrun = true
            held = []
            return
        }
        held?.append(frame)
    }

    /// The snapshot shows changes up to `revision` (nil: nobody knows). Answers its sequence number, and what has to follow it.
    func synchronised(revision: Int?) -> (sequence: Int, rest: [StreamFrame]) {
        let all = held ?? []
        held = nil
        hasSeen = true
        seenRevision = revision ?? 0
        guard let revision else { return (position.sequence, all) }
        let isSeen = { (frame: StreamFrame) in frame.revision.map { $0 <= revision } ?? false }
        return (all.last(where: isSeen)?.position.sequence ?? position.sequence, all.filter { !isSeen($0) })
    }

    /// It goes on where it was: nothing is held, and no snapshot has been sent.
    func resumed() {
        held = nil
        hasSeen = true
    }

    /// True the first time.
    func begins() -> Bool {
        defer { hasBegun = true }
        return !hasBegun
    }

    func settled() {
        let told = onSettled
        onSettled = nil
        told?()
    }

    func end() {
        hasEnded = true
        held = nil
        settled()
    }
}
