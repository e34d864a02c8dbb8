import IIIItems
import IIIProtocol

/// What a join may ask for besides; docs/reference/streams.md#members-of-a-join. Without any of it everything is as the baseline has it.
struct JoinOptions: Sendable {
    /// Where the client was when it lost us.
    enum Resume: Sendable, Equatable {
        case from(epoch: String, sequence: Int)
        /// The client gets a snapshot, and hears that it has said nothing sensible.
        case malformed
    }

    var resume: Resume?
    /// The client wants to hear that it has joined, or left.
    var wantsAnswer = false
    /// What others are shown of the user as JSON text; `null` is shown to nobody, and watches only. nil: no presence at all.
    var presence: [UInt8]?
    /// The user's key as the client says it; what the auth function says of the user goes before it.
    var presenceKey: ItemName?

    init() {}

    init(_ members: InputObject) throws(InputProblem) {
        wantsAnswer = try members.flag("ack")
        if let resume = try members.optional("resume") { self.resume = Self.resume(resume) }
        guard let presence = try members.raw("presence") else { return }
        self.presence = try Self.presence(presence)
        presenceKey = try members.optionalString("presenceKey").map { ItemName($0) }
        if let presenceKey, presenceKey.count > ItemLimits.maximumNameBytes {
            throw InputProblem("`presenceKey` has \(presenceKey.count) bytes, at most \(ItemLimits.maximumNameBytes) are allowed")
        }
    }

    private static func resume(_ text: ArraySlice<UInt8>) -> Resume {
        guard let members = try? InputObject(text), let epoch = try? members.string("epoch"),
            let sequence = try? members.optionalInteger("seq", in: 0...Int.max)
        else { return .malformed }
        return .from(epoch: epoch, sequence: sequence)
    }

    static func presence(_ text: ArraySlice<UInt8>) throws(InputProblem) -> [UInt8] {
        let value = Array(JSONLevel.compact(text))
        guard value.count <= GroupPresence.maximumValueBytes else {
            throw InputProblem("`presence` has \(value.count) bytes, at most \(GroupPresence.maximumValueBytes) are allowed")
        }
        return value
    }
}
