import IIIProtocol
import IIIWorker

/// Where items stand in Redis; docs/operations.md#keys.
///
/// Values have the reference's keys and form: `state:<scope>` and `stream:<stream>:<group>` are hashes from keys to JSON texts. What the reference
/// does not know stands beside them under `iii:…`. A stream whose name has a colon would share its key with another stream's group; its
/// groups have keys of their own, `iii:stream:<length of the stream's name>:<stream><group>`.
struct RedisItemKeys: Sendable {
    /// Leads every key; ends with a colon or is empty, so that no two prefixes can name one key.
    let prefix: String
    let kind: ReferenceLayout

    /// Throws what is wrong with a prefix.
    init(prefix: String, kind: ReferenceLayout) throws(ConfigurationError) {
        guard prefix.isEmpty || prefix.hasSuffix(":") else {
            throw ConfigurationError(
                "adapter.config.key_prefix: '\(prefix)' must end with ':', so that no other prefix can name the same keys")
        }
        let taken = prefix.split(separator: ":").first { ["state", "stream", "iii"].contains($0) }
        if let taken {
            throw ConfigurationError(
                "adapter.config.key_prefix: '\(prefix)' must not have the part '\(taken):', with which keys of systems without a prefix begin"
            )
        }
        self.prefix = prefix
        self.kind = kind
    }

    private var name: String { kind == .state ? "state" : "stream" }

    /// The revision that was given last; one for all, so that none is ever used twice.
    var revision: String { "\(prefix)iii:revision" }
    /// Every group that has items, as `member`, in the order of the bytes.
    var groups: String { "\(prefix)iii:groups:\(name)" }
    /// Items that expire, as `mortal`, by their deadlines.
    var expiry: String { "\(prefix)iii:expiry:\(name)" }
    /// The reference's; carries the events of all engines.
    var channel: String { "\(prefix)stream::events" }
    /// What one process says to itself, to hear whether it still hears.
    func echo(_ instance: String) -> String { "\(prefix)iii:echo:\(instance)" }

    private func path(_ group: ItemGroup) -> String {
        if kind == .state { return "state:\(group.name.text)" }
        return group.stream.text.utf8.contains(UInt8(ascii: ":"))
            ? "iii:stream:\(Self.member(group))" : "stream:\(group.stream.text):\(group.name.text)"
    }

    /// The keys of a group, in the order in which the scripts take them.
    func all(of group: ItemGroup) -> [String] {
        let path = path(group)
        return [
            prefix + path, "\(prefix)iii:facts:\(path)", "\(prefix)iii:order:\(path)", groups, expiry, revision,
            "\(prefix)iii:names:\(path)",
        ]
    }

    /// The hash of a group's values.
    func values(of group: ItemGroup) -> String { prefix + path(group) }

    /// A group as a member of `groups`: `<length of the stream's name>:<stream><group>`.
    static func member(_ group: ItemGroup) -> String { "\(group.stream.count):\(group.stream.text)\(group.name.text)" }

    /// What the members of a stream's groups begin with.
    static func member(of stream: ItemName) -> String { "\(stream.count):\(stream.text)" }

    /// An item as a member of `expiry`: `<length of the group's member>:<group's member><key>`.
    static func mortal(_ item: ItemAddress) -> String {
        let group = member(item.group)
        return "\(group.utf8.count):\(group)\(item.key.text)"
    }

    /// `<length>:<first><second>` taken apart; nil for anything else.
    static func parts(_ member: [UInt8]) -> (first: [UInt8], second: [UInt8])? {
        guard let colon = member.firstIndex(of: UInt8(ascii: ":")), let length = Int(String(decoding: member[..<colon], as: UTF8.self)),
            length >= 0, length <= member.count - colon - 1
        else { return nil }
        let end = colon + 1 + length
        return (Array(member[(colon + 1)..<end]), Array(member[end...]))
    }

    static func group(_ member: [UInt8]) -> ItemGroup? {
        guard let (stream, name) = parts(member), let stream = ItemName(bytes: stream), let name = ItemName(bytes: name) else { return nil }
        return ItemGroup(stream: stream, name: name)
    }

    static func address(mortal member: [UInt8]) -> ItemAddress? {
        guard let (group, key) = parts(member), let group = Self.group(group), let key = ItemName(bytes: key) else { return nil }
        return ItemAddress(group: group, key: key)
    }

    /// What keys of the reference's layout match, as a pattern of SCAN.
    var pattern: String {
        var pattern = ""
        for character in prefix {
            if "*?[]\\^-".contains(character) { pattern.append("\\") }
            pattern.append(character)
        }
        return "\(pattern)\(name):*"
    }

    /// The group whose values a key of the reference's layout has.
    func group(ofKey key: [UInt8]) -> ItemGroup? {
        let lead = Array("\(prefix)\(name):".utf8)
        guard key.starts(with: lead) else { return nil }
        let rest = key[lead.count...]
        if kind == .state { return ItemName(bytes: rest).map { ItemGroup(name: $0) } }
        guard let colon = rest.firstIndex(of: UInt8(ascii: ":")), let stream = ItemName(bytes: rest[..<colon]),
            let name = ItemName(bytes: rest[(colon + 1)...])
        else { return nil }
        return ItemGroup(stream: stream, name: name)
    }
}

extension ItemName {
    /// nil where the bytes are no UTF-8: such a name is nobody's here.
    init?(bytes: some Collection<UInt8>) {
        guard let text = String(validating: bytes, as: UTF8.self) else { return nil }
        self.init(text)
    }
}
