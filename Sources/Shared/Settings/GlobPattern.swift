/// A glob over a whole text: `*` any run, `?` one character, `[a-z]` one of a set, `[!a-z]` one outside it.
package struct GlobPattern: Sendable, Hashable {
    package struct Invalid: Error, CustomStringConvertible { package let description: String }

    private enum Token: Sendable, Hashable {
        case any
        case one
        case literal(UInt8)
        case set([ClosedRange<UInt8>], isNegated: Bool)

        func matches(_ byte: UInt8) -> Bool {
            switch self {
            case .any: false
            case .one: true
            case .literal(let expected): byte == expected
            case .set(let ranges, let isNegated): ranges.contains { $0.contains(byte) } != isNegated
            }
        }
    }

    private let tokens: [Token]

    package init(_ text: some StringProtocol) throws(Invalid) {
        var tokens: [Token] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "*"): if tokens.last != .any { tokens.append(.any) }
            case UInt8(ascii: "?"): tokens.append(.one)
            case UInt8(ascii: "["): tokens.append(try Self.set(&rest, of: String(text)))
            default: tokens.append(.literal(byte))
            }
        }
        self.tokens = tokens
    }

    private static func set(_ rest: inout ArraySlice<UInt8>, of text: String) throws(Invalid) -> Token {
        let isNegated = rest.first == UInt8(ascii: "!")
        if isNegated { rest.removeFirst() }
        var ranges: [ClosedRange<UInt8>] = []
        while let low = rest.popFirst() {
            // A closing bracket in first place stands for itself.
            if low == UInt8(ascii: "]"), !ranges.isEmpty { return .set(ranges, isNegated: isNegated) }
            var high = low
            if rest.count >= 2, rest[rest.startIndex] == UInt8(ascii: "-"), rest[rest.startIndex + 1] != UInt8(ascii: "]") {
                rest.removeFirst()
                high = rest.removeFirst()
            }
            guard low <= high else { throw Invalid(description: "'\(text)' has a range that runs backwards") }
            ranges.append(low...high)
        }
        throw Invalid(description: "'\(text)' has a '[' without ']'")
    }

    /// Time is at most proportional to pattern times text: only the last `*` is ever tried again.
    package func matches(_ text: some StringProtocol) -> Bool {
        let bytes = Array(text.utf8)
        var position = 0
        var token = 0
        var retry: (token: Int, position: Int)?
        while position < bytes.count {
            if token < tokens.count, tokens[token] == .any {
                retry = (token, position)
                token += 1
            } else if token < tokens.count, tokens[token].matches(bytes[position]) {
                token += 1
                position += 1
            } else if let last = retry {
                retry = (last.token, last.position + 1)
                token = last.token + 1
                position = last.position + 1
            } else {
                return false
            }
        }
        return tokens[token...].allSatisfy { $0 == .any }
    }
}
