import IIIProtocol

/// How events travel: the frame of a client as the reference publishes it, with a member `iii` that says database and revision. Channels of Redis
/// know no databases, so what was written in another one is left out by its number.
struct RedisItemFrame {
    static let head = Array(#"{"type":"stream","timestamp":"#.utf8)
    static let end = Array("}}".utf8)

    /// Behind the time, up to the kind of event, which a script knows.
    let middle: [UInt8]

    init(_ item: ItemAddress) {
        var text: [UInt8] = []
        func add(_ words: StaticString) {
            text.append(contentsOf: UnsafeBufferPointer(start: words.utf8Start, count: words.utf8CodeUnitCount))
        }
        add(#","streamName":"#)
        JSONText.appendString(item.group.stream.text, to: &text)
        add(#","groupId":"#)
        JSONText.appendString(item.group.name.text, to: &text)
        add(#","id":"#)
        JSONText.appendString(item.key.text, to: &text)
        add(#","event":{"type":""#)
        middle = text
    }

    /// Behind the value, up to the revision.
    static func tail(database: Int) -> String { #"},"iii":{"db":\#(database),"revision":"# }

    /// One without a revision.
    static func text(_ news: ItemNews, at time: Int, database: Int) -> [UInt8] {
        var event = JSONObjectText()
        switch news.event {
        case .created(let value): write("create", value, &event)
        case .updated(let value): write("update", value, &event)
        case .removed(let value): write("delete", value, &event)
        case .custom(let type, let data):
            var inner = JSONObjectText()
            write(type, data, &inner)
            event.set("type", "event")
            event.set("event", raw: inner.finish())
        }
        var text = JSONObjectText()
        text.set("type", "stream")
        text.set("timestamp", JSONValue(time))
        text.set("streamName", .string(news.group.stream.text))
        text.set("groupId", .string(news.group.name.text))
        text.set("id", JSONValue(news.key?.text))
        text.set("event", raw: event.finish())
        text.set("iii", ["db": JSONValue(database)])
        return text.finish()
    }

    private static func write(_ type: String, _ data: [UInt8], _ text: inout JSONObjectText) {
        text.set("type", .string(type))
        text.set("data", raw: data)
    }

    /// What a message says; nil for one of another database, or of a kind that is nobody's news. Throws for what cannot be read.
    static func news(_ message: [UInt8], database: Int) throws(InputProblem) -> ItemNews? {
        guard message.withUnsafeBytes({ JSONText.isValid($0) }) else { throw InputProblem("not JSON") }
        let frame = try InputObject(message[...])
        var revision: Int?
        if let ours = try frame.optional("iii") {
            let ours = try InputObject(ours)
            guard try ours.optionalInteger("db", in: 0...Int.max) == database else { return nil }
            revision = try ours.optionalInteger("revision", in: 1...Int.max)
        }
        let event = try InputObject(try frame.value("event"))
        let kind: ItemNews.Event
        switch try event.string("type") {
        case "create": kind = .created(Array(try event.value("data")))
        case "update": kind = .updated(Array(try event.value("data")))
        case "delete": kind = .removed(Array(try event.value("data")))
        case "event":
            let inner = try InputObject(try event.value("event"))
            kind = .custom(type: try inner.string("type"), data: Array(try inner.value("data")))
        default: return nil
        }
        let group = ItemGroup(stream: ItemName(try frame.string("streamName")), name: ItemName(try frame.string("groupId")))
        return ItemNews(kind, in: group, key: try frame.optionalString("id").map { ItemName($0) }, revision: revision)
    }
}
