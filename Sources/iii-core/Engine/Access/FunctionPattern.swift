import IIIProtocol

/// A pattern of ids: `*` stands for any run of characters, everything else for itself.
package struct FunctionPattern: Sendable, Hashable {
    /// What stands between the asterisks.
    private let pieces: [[UInt8]]

    package init(_ text: some StringProtocol) {
        pieces = Array(text.utf8).split(separator: UInt8(ascii: "*"), omittingEmptySubsequences: false).map { Array($0) }
    }

    /// From `match("pattern")` or `match('pattern')`; nil for any other text.
    package init?(expression text: String) {
        guard text.hasPrefix("match("), text.hasSuffix(")") else { return nil }
        let quoted = text.dropFirst(6).dropLast()
        guard quoted.utf8.count > 2, let quote = quoted.first, quote == "\"" || quote == "'", quoted.last == quote else { return nil }
        self.init(quoted.dropFirst().dropLast())
    }

    /// Time is at most proportional to pattern times text.
    package func matches(_ text: String) -> Bool {
        var rest = Array(text.utf8)[...]
        guard let first = pieces.first, rest.starts(with: first) else { return false }
        guard pieces.count > 1, let last = pieces.last else { return rest.count == first.count }
        rest = rest.dropFirst(first.count)
        for piece in pieces.dropFirst().dropLast() {
            guard let end = Self.end(ofFirst: piece, in: rest) else { return false }
            rest = rest[end...]
        }
        return rest.count >= last.count && rest.suffix(last.count).elementsEqual(last)
    }

    private static func end(ofFirst piece: [UInt8], in text: ArraySlice<UInt8>) -> Int? {
        guard text.count >= piece.count else { return nil }
        return (text.startIndex...(text.endIndex - piece.count)).first { text[$0...].starts(with: piece) }.map { $0 + piece.count }
    }
}

/// A list of ids, some of which may be patterns.
package struct FunctionNames: Sendable, Hashable {
    private var exact: Set<String> = []
    private var patterns: [FunctionPattern] = []

    package init() {}

    /// `match("…")` is a pattern, any other text an id; with `bareWildcards` a text with an asterisk is a pattern as well.
    package init(_ texts: [String], bareWildcards: Bool = false) {
        for text in texts {
            if let pattern = FunctionPattern(expression: text) {
                patterns.append(pattern)
            } else if bareWildcards, text.contains("*") {
                patterns.append(FunctionPattern(text))
            } else {
                exact.insert(text)
            }
        }
    }

    package func contains(_ id: String) -> Bool { exact.contains(id) || patterns.contains { $0.matches(id) } }
}
