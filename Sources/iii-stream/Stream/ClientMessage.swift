import IIIItems
import IIIProtocol

/// What a client may say; docs/reference/streams.md#what-a-client-says.
enum ClientMessage {
    struct Target: Sendable {
        let subscription: String
        let group: ItemGroup
        /// nil: the whole group.
        let id: ItemName?
        var options = JoinOptions()
    }

    case join(Target)
    case leave(Target)
    /// Says something else about the user than the join did.
    case presence(subscription: String, value: [UInt8])
    case ping
    /// Nothing but white space.
    case blank

    /// Longest name or id.
    private static let maximumNameBytes = 512

    init(_ bytes: UnsafeRawBufferPointer) throws(InputProblem) {
        let text = Array(bytes)[...]
        guard text.contains(where: { $0 > 0x20 }) else {
            self = .blank
            return
        }
        guard JSONText.isValid(bytes) else { throw InputProblem("the message is no JSON, or nested too deeply") }
        let input = try InputObject(text, as: "a message")
        let type = try input.string("type")
        if type == "ping" {
            self = .ping
            return
        }
        guard ["join", "leave", "presence"].contains(type) else {
            throw InputProblem("unknown type `\(type.prefix(40))`, expected join or leave")
        }
        guard let data = try input.raw("data") else { throw .missing("data") }
        let members = try InputObject(data, as: "a map")
        let subscription = try members.string("subscriptionId")
        if type == "presence" {
            self = .presence(subscription: subscription, value: try JoinOptions.presence(try members.value("presence")))
            return
        }
        var target = Target(
            subscription: subscription,
            group: ItemGroup(stream: ItemName(try members.string("streamName")), name: ItemName(try members.string("groupId"))),
            id: try members.optionalString("id").map { ItemName($0) })
        for name in [ItemName(subscription), target.group.stream, target.group.name, target.id ?? ""]
        where name.count > Self.maximumNameBytes {
            throw InputProblem("a name has \(name.count) bytes, at most \(Self.maximumNameBytes) are allowed")
        }
        target.options = try JoinOptions(members)
        self = type == "join" ? .join(target) : .leave(target)
    }
}
