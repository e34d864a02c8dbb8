import IIIProtocol

/// The kinds of JSON values, under the names that error messages use.
package enum JSONKind: String, Sendable { case null, boolean, number, string, array, object }

/// A JSON value of which only those parts are decoded that somebody has looked into; everything else stays text, byte by byte.
///
/// So a number keeps the digits that its owner wrote, members keep their order, and an update of one member costs what it changes.
/// Texts are known to be well formed and have no white space between their tokens.
package enum JSONNode: Sendable {
    case text(ArraySlice<UInt8>)
    /// The elements are as the text had them.
    case array([JSONNode])
    case object(JSONObjectNode)

    package init(_ text: [UInt8]) { self = .text(text[...]) }
    package init(_ text: String) { self = .text(Array(text.utf8)[...]) }

    package var kind: JSONKind {
        switch self {
        case .array: .array
        case .object: .object
        case .text(let text):
            switch text.first {
            case UInt8(ascii: "{"): .object
            case UInt8(ascii: "["): .array
            case UInt8(ascii: "\""): .string
            case UInt8(ascii: "t"), UInt8(ascii: "f"): .boolean
            case UInt8(ascii: "n"): .null
            default: .number
            }
        }
    }

    /// Looks one level into a container.
    package mutating func open() {
        guard case .text(let text) = self else { return }
        switch text.first {
        case UInt8(ascii: "{"): self = .object(JSONObjectNode(text))
        case UInt8(ascii: "["): self = .array(JSONLevel.elements(of: text).map { .text(text[$0]) })
        default: break
        }
    }

    package func write(to output: inout [UInt8]) {
        switch self {
        case .text(let text): output.append(contentsOf: text)
        case .object(let object): object.write(to: &output)
        case .array(let elements):
            output.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                element.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        }
    }

    package var bytes: [UInt8] {
        if case .text(let text) = self { return Array(text) }
        var output: [UInt8] = []
        write(to: &output)
        return output
    }

    /// How deeply arrays and objects are nested: 0 for a scalar, 1 for `[]`.
    package var depth: Int {
        var deepest = 0
        var depth = 0
        var isInString = false
        var isEscaped = false
        for byte in bytes {
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): isInString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                deepest = max(deepest, depth)
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: break
            }
        }
        return deepest
    }
}

/// The members of an object in the order in which they were written; a name that was written twice counts with its last value.
package struct JSONObjectNode: Sendable {
    private struct Member {
        /// The name as a JSON string.
        let literal: ArraySlice<UInt8>
        var value: JSONNode
    }

    /// Removed ones are nil.
    private var members: [Member?] = []
    private var places: [ItemName: Int] = [:]

    package init() {}

    /// `text` is an object.
    package init(_ text: ArraySlice<UInt8>) {
        for (key, value) in JSONLevel.members(of: text) {
            let name = text[key].withUnsafeBytes { JSONText.decodeString($0) } ?? ""
            set(ItemName(name), literal: text[key], .text(text[value]))
        }
    }

    package var count: Int { places.count }

    package subscript(name: ItemName) -> JSONNode? { places[name].flatMap { members[$0]?.value } }

    package mutating func set(_ name: ItemName, _ value: JSONNode) {
        if let place = places[name] {
            members[place]?.value = value
        } else {
            set(name, literal: JSONText.string(name.text)[...], value)
        }
    }

    package mutating func set(_ name: ItemName, literal: ArraySlice<UInt8>, _ value: JSONNode) {
        if let place = places[name] {
            members[place]?.value = value
        } else {
            places[name] = members.count
            members.append(Member(literal: literal, value: value))
        }
    }

    package mutating func remove(_ name: ItemName) {
        if let place = places.removeValue(forKey: name) { members[place] = nil }
    }

    /// Hands the object under `name` to `body`; one is made in the place of anything else.
    package mutating func withObject(_ name: ItemName, _ body: (inout JSONObjectNode) -> Void) {
        var value = self[name] ?? .object(JSONObjectNode())
        // The only reference to it is ours then, so that it is changed in place.
        set(name, .array([]))
        value.withObject(body)
        set(name, value)
    }

    /// Names and values in order; the literal is the name as a JSON string.
    package var all: [(name: ItemName, literal: ArraySlice<UInt8>, value: JSONNode)] {
        var names = [ItemName?](repeating: nil, count: members.count)
        for (name, place) in places { names[place] = name }
        return zip(names, members).compactMap { name, member in
            guard let name, let member else { return nil }
            return (name, member.literal, member.value)
        }
    }

    package func write(to output: inout [UInt8]) {
        output.append(UInt8(ascii: "{"))
        var isFirst = true
        for case .some(let member) in members {
            if !isFirst { output.append(UInt8(ascii: ",")) }
            isFirst = false
            output.append(contentsOf: member.literal)
            output.append(UInt8(ascii: ":"))
            member.value.write(to: &output)
        }
        output.append(UInt8(ascii: "}"))
    }
}

extension JSONNode {
    /// Makes this an object unless it is one, and hands it to `body`.
    mutating func withObject(_ body: (inout JSONObjectNode) -> Void) {
        open()
        var object = JSONObjectNode()
        if case .object(let own) = self { object = own }
        self = .array([])
        body(&object)
        self = .object(object)
    }

    /// The object's member; nil where this is no object.
    package func member(_ name: ItemName) -> JSONNode? {
        var node = self
        node.open()
        if case .object(let object) = node { return object[name] }
        return nil
    }
}
