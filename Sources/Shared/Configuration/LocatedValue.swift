import IIIProtocol

/// A value of a configuration file together with the line it stands on.
package struct LocatedValue: Sendable, Hashable {
    package struct Member: Sendable, Hashable {
        package var key: String
        package var line: Int
        package var value: LocatedValue
    }

    package enum Content: Sendable, Hashable {
        /// Null, bool, number or string.
        case scalar(JSONValue)
        case list([LocatedValue])
        case map([Member])
    }

    package var line: Int
    package var content: Content

    package init(line: Int, content: Content) {
        self.line = line
        self.content = content
    }

    package var isNull: Bool { content == .scalar(.null) }

    /// The value without its places.
    package var json: JSONValue {
        switch content {
        case .scalar(let value): value
        case .list(let elements): .array(elements.map(\.json))
        case .map(let members): .object(Dictionary(members.map { ($0.key, $0.value.json) }, uniquingKeysWith: { $1 }))
        }
    }

    package func member(_ key: String) -> Member? {
        guard case .map(let members) = content else { return nil }
        return members.last { $0.key == key }
    }

    /// What a user would call this kind of value.
    package var kind: String {
        switch content {
        case .scalar(.null): "null"
        case .scalar(.bool(let value)): "boolean `\(value)`"
        case .scalar(.integer(let value)): "integer `\(value)`"
        case .scalar(.double(let value)): "number `\(value)`"
        case .scalar(.string(let value)): "string \"\(value)\""
        case .scalar: "scalar"
        case .list: "list"
        case .map: "map"
        }
    }
}
