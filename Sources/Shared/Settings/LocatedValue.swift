import IIIProtocol

/// A value of a configuration file together with the line it stands on and, of a scalar, the text it was written as.
package struct LocatedValue: Sendable, Hashable {
    package struct Member: Sendable, Hashable {
        package var key: String
        package var line: Int
        package var value: LocatedValue

        package init(key: String, line: Int, value: LocatedValue) {
            self.key = key
            self.line = line
            self.value = value
        }
    }

    package enum Content: Sendable, Hashable {
        /// Null, bool, number or string.
        case scalar(JSONValue)
        case list([LocatedValue])
        case map([Member])
    }

    /// 0 for a value that stands in no file.
    package var line: Int
    package var content: Content
    /// What a scalar's text was before it became a number or boolean: `00770`, `1.50`.
    package var source: String?

    package init(line: Int, content: Content, source: String? = nil) {
        self.line = line
        self.content = content
        self.source = source
    }

    /// A value that does not come from a file.
    package init(_ json: JSONValue) {
        switch json {
        case .array(let elements): self.init(line: 0, content: .list(elements.map(LocatedValue.init)))
        case .object(let members):
            let sorted = members.sorted { $0.key < $1.key }
            self.init(line: 0, content: .map(sorted.map { Member(key: $0.key, line: 0, value: LocatedValue($0.value)) }))
        default: self.init(line: 0, content: .scalar(json))
        }
    }

    /// A value whose lines are known by the dotted paths of its keys, e.g. `limits.orders`.
    package init(_ json: JSONValue, lines: [String: Int], path: String = "") {
        let line = lines[path] ?? 0
        func inner(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
        switch json {
        case .array(let elements):
            let items = elements.enumerated().map { LocatedValue($0.element, lines: lines, path: inner("\($0.offset)")) }
            self.init(line: line, content: .list(items))
        case .object(let members):
            let items = members.sorted { $0.key < $1.key }.map { key, value in
                Member(key: key, line: lines[inner(key)] ?? line, value: LocatedValue(value, lines: lines, path: inner(key)))
            }
            self.init(line: line, content: .map(items))
        default: self.init(line: line, content: .scalar(json))
        }
    }

    /// The lines of all keys and elements below this value by dotted path.
    package var lines: [String: Int] {
        var result: [String: Int] = [:]
        func collect(_ value: LocatedValue, _ path: String) {
            result[path] = value.line
            switch value.content {
            case .scalar: break
            case .list(let elements):
                for (index, element) in elements.enumerated() { collect(element, path.isEmpty ? "\(index)" : "\(path).\(index)") }
            case .map(let members): for member in members { collect(member.value, path.isEmpty ? member.key : "\(path).\(member.key)") }
            }
        }
        collect(self, "")
        return result
    }

    package var isNull: Bool { content == .scalar(.null) }

    /// A scalar as its author wrote it; nil for null, lists and maps.
    package var writtenText: String? {
        guard case .scalar(let scalar) = content, !scalar.isNull else { return nil }
        return scalar.string ?? source ?? scalar.text
    }

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
        case .scalar(.double(let value)): "number `\(source.map { VisibleText.shown($0) } ?? "\(value)")`"
        case .scalar(.string(let value)) where value.utf8.contains(UInt8(ascii: "\n")): "a text of several lines"
        case .scalar(.string(let value)): "string \"\(VisibleText.shown(value))\""
        case .scalar: "scalar"
        case .list: "list"
        case .map: "map"
        }
    }
}
