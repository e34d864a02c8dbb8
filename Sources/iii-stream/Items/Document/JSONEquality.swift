import IIIProtocol

/// When two JSON texts mean the same.
package enum JSONEquality {
    /// RFC 6902 §4.6: numbers by their value, strings by their characters, arrays in order, objects in any order.
    ///
    /// `distinguishingFloats`: 1 and 1.0 differ, as they do for who reads them.
    package static func areEqual(_ left: JSONNode, _ right: JSONNode, distinguishingFloats: Bool = false) -> Bool {
        if case .text(let a) = left, case .text(let b) = right, a == b { return true }
        guard left.kind == right.kind else { return false }
        switch left.kind {
        case .null: return true
        case .boolean: return left.bytes == right.bytes
        case .string: return string(left) == string(right)
        case .number: return numbers(left.bytes, right.bytes, distinguishingFloats)
        case .array:
            let (a, b) = (elements(left), elements(right))
            return a.count == b.count && zip(a, b).allSatisfy { areEqual($0, $1, distinguishingFloats: distinguishingFloats) }
        case .object:
            let (a, b) = (object(left), object(right))
            return a.count == b.count
                && a.all.allSatisfy { member in
                    b[member.name].map { areEqual(member.value, $0, distinguishingFloats: distinguishingFloats) } ?? false
                }
        }
    }

    private static func string(_ node: JSONNode) -> ItemName? {
        node.bytes.withUnsafeBytes { JSONText.decodeString($0) }.map { ItemName($0) }
    }

    private static func elements(_ node: JSONNode) -> [JSONNode] {
        var node = node
        node.open()
        if case .array(let elements) = node { return elements }
        return []
    }

    private static func object(_ node: JSONNode) -> JSONObjectNode {
        var node = node
        node.open()
        if case .object(let object) = node { return object }
        return JSONObjectNode()
    }

    private static func numbers(_ left: [UInt8], _ right: [UInt8], _ distinguishingFloats: Bool) -> Bool {
        if left == right { return true }
        let isWhole = (isInteger(left), isInteger(right))
        if distinguishingFloats, isWhole.0 != isWhole.1 { return false }
        // JSON has one spelling for a whole number, and a second one for zero.
        if isWhole == (true, true) { return zeros.contains(left) && zeros.contains(right) }
        let values = (Double(String(decoding: left, as: UTF8.self)), Double(String(decoding: right, as: UTF8.self)))
        return values.0 == values.1
    }

    private static let zeros: Set<[UInt8]> = [Array("0".utf8), Array("-0".utf8)]

    private static func isInteger(_ text: [UInt8]) -> Bool { text.allSatisfy { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) } }
}
