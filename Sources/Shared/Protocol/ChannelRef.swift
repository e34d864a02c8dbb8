/// What opens one end of a channel (docs/reference/worker-protocol.md#channels). Put it anywhere into a payload or result:
/// SDKs find it by its form.
public struct ChannelRef: Codable, Hashable, Sendable {
    /// From the holder's point of view.
    public enum Direction: String, Codable, Sendable { case read, write }

    /// The id in `/ws/channels/{id}`.
    public let channelID: String
    /// Whoever knows it may open either end: never log it.
    public let accessKey: String
    /// Which end of the channel it opens.
    public let direction: Direction

    private enum CodingKeys: String, CodingKey {
        case channelID = "channel_id"
        case accessKey = "access_key"
        case direction
    }

    /// A reference that was not found in a payload, e.g. in a test.
    public init(channelID: String, accessKey: String, direction: Direction) {
        self.channelID = channelID
        self.accessKey = accessKey
        self.direction = direction
    }

    /// nil when `json` does not have the form of a reference.
    public init?(json: JSONValue) {
        guard let id = json["channel_id"]?.string, let key = json["access_key"]?.string,
            let direction = json["direction"]?.string.flatMap(Direction.init(rawValue:))
        else { return nil }
        self.init(channelID: id, accessKey: key, direction: direction)
    }

    /// As it stands in a payload.
    public var json: JSONValue {
        ["channel_id": .string(channelID), "access_key": .string(accessKey), "direction": .string(direction.rawValue)]
    }
}
