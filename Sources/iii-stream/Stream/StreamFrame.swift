import IIIItems
import IIIProtocol

/// What happens in a group, as it is told: docs/reference/streams.md#frames.
enum StreamEvent: Sendable {
    case sync([UInt8])
    case create([UInt8])
    case update([UInt8])
    case delete([UInt8])
    /// `stream::send`: the type and data of somebody's own.
    case custom(type: String, data: [UInt8])
    case unauthorized
    case error(code: String, message: String)
    /// So many custom events did not reach this socket.
    case lagged(Int)
    /// What was missed since a known place follows.
    case resumed
    /// Answers of a join and a leave that asked for one.
    case joined
    case left
    /// Who is in the group, and what has changed since.
    case presenceState([UInt8])
    case presenceDiff([UInt8])

    /// About one item as it is stored.
    var isChange: Bool {
        switch self {
        case .create, .update, .delete: true
        default: false
        }
    }

    var isDelete: Bool {
        if case .delete = self { return true }
        return false
    }

    var isPresence: Bool {
        switch self {
        case .presenceState, .presenceDiff: true
        default: false
        }
    }

    /// Bytes of what it carries.
    var payloadBytes: Int {
        switch self {
        case .sync(let data), .create(let data), .update(let data), .delete(let data), .presenceState(let data), .presenceDiff(let data):
            data.count
        case .custom(let type, let data): type.utf8.count + data.count
        case .unauthorized, .error, .lagged, .resumed, .joined, .left: 0
        }
    }

    /// The `event` of a frame or payload.
    var json: [UInt8] {
        var text = JSONObjectText()
        switch self {
        case .sync(let data): Self.write("sync", data, &text)
        case .create(let data): Self.write("create", data, &text)
        case .update(let data): Self.write("update", data, &text)
        case .delete(let data): Self.write("delete", data, &text)
        case .custom(let type, let data):
            var inner = JSONObjectText()
            Self.write(type, data, &inner)
            text.set("type", "event")
            text.set("event", raw: inner.finish())
        case .unauthorized: text.set("type", "unauthorized")
        case .error(let code, let message):
            text.set("type", "error")
            text.set("error", ["code": .string(code), "message": .string(message)])
        case .lagged(let count):
            text.set("type", "lagged")
            text.set("dropped", JSONValue(count))
        case .resumed: text.set("type", "resumed")
        case .joined: text.set("type", "joined")
        case .left: text.set("type", "left")
        case .presenceState(let data): Self.write("presence_state", data, &text)
        case .presenceDiff(let data): Self.write("presence_diff", data, &text)
        }
        return text.finish()
    }

    private static func write(_ type: String, _ data: [UInt8], _ text: inout JSONObjectText) {
        text.set("type", .string(type))
        text.set("data", raw: data)
    }
}

extension StreamEvent {
    init(_ event: ItemNews.Event) {
        switch event {
        case .created(let value): self = .create(value)
        case .updated(let value): self = .update(value)
        case .removed(let value): self = .delete(value)
        case .custom(let type, let data): self = .custom(type: type, data: data)
        }
    }

    /// As it is told to other engines; nil for what only one socket is told.
    var shared: ItemNews.Event? {
        switch self {
        case .create(let value): .created(value)
        case .update(let value): .updated(value)
        case .delete(let value): .removed(value)
        case .custom(let type, let data): .custom(type: type, data: data)
        default: nil
        }
    }
}

/// Where and when a frame stands in its group.
struct StreamPosition: Sendable {
    /// Rises with every change and custom event of a group.
    var sequence: Int
    /// Milliseconds since 1970, rising strictly within a group.
    var timestamp: Int
}

/// A frame for clients, made once for all sockets that get it.
final class StreamFrame {
    let group: ItemGroup
    /// Item, or what a custom event names; nil for neither.
    let id: ItemName?
    let event: StreamEvent
    let position: StreamPosition
    /// Of the store, for a change; nil for everything else.
    let revision: Int?
    private let epoch: String
    private let subscription: String?
    private(set) lazy var bytes = text
    /// Queues in which it waits (`QueueLedger`).
    var holders = 0

    init(
        _ event: StreamEvent, in group: ItemGroup, id: ItemName?, at position: StreamPosition, revision: Int? = nil, epoch: String,
        subscription: String? = nil
    ) {
        self.event = event
        self.group = group
        self.id = id
        self.position = position
        self.revision = revision
        self.epoch = epoch
        self.subscription = subscription
    }

    /// What it costs to keep it, about: as it came and as it is sent.
    var cost: Int { 2 * event.payloadBytes + group.stream.count + group.name.count + (id?.count ?? 0) + 256 }

    /// The same place and time with another event.
    func with(_ event: StreamEvent) -> StreamFrame {
        StreamFrame(event, in: group, id: id, at: position, revision: revision, epoch: epoch, subscription: subscription)
    }

    private var text: [UInt8] {
        var text = Self.envelope(event, group, id, position.timestamp)
        switch event {
        case .presenceState, .presenceDiff: break
        case .unauthorized, .error, .joined, .left:
            if let subscription { text.set("subscriptionId", .string(subscription)) }
        case .sync, .create, .update, .delete, .custom, .lagged, .resumed:
            text.set("seq", JSONValue(position.sequence))
            text.set("epoch", .string(epoch))
        }
        return text.finish()
    }

    private static func envelope(_ event: StreamEvent, _ group: ItemGroup, _ id: ItemName?, _ timestamp: Int) -> JSONObjectText {
        var text = JSONObjectText()
        text.set("type", "stream")
        text.set("timestamp", JSONValue(timestamp))
        text.set("streamName", .string(group.stream.text))
        text.set("groupId", .string(group.name.text))
        text.set("id", JSONValue(id?.text))
        text.set("event", raw: event.json)
        return text
    }

    /// The payload of the trigger type `stream`: the frame without its place.
    static func payload(_ event: StreamEvent, _ group: ItemGroup, _ id: ItemName?, _ timestamp: Int) -> [UInt8] {
        envelope(event, group, id, timestamp).finish()
    }

    /// An answer to something that no group could be read from.
    static func pong() -> [UInt8] { Array(#"{"type":"pong"}"#.utf8) }
}
