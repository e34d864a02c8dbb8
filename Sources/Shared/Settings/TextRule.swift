import IIIProtocol

/// Which texts a setting accepts.
public struct TextRule: Sendable {
    /// What is wanted, in words that follow "expected".
    public let expected: String
    /// nil: the text fits. Otherwise what is wrong with it; the empty text for nothing beyond `expected`.
    let problem: @Sendable (String, SettingContext) -> String?

    /// `expected` says what is wanted, in words that follow "expected".
    public init(_ expected: String, fits: @escaping @Sendable (String) -> Bool) {
        self.expected = expected
        problem = { text, _ in fits(text) ? nil : "" }
    }

    /// `problem` answers nil for a text that fits, else a sentence that names cause and cure.
    public init(_ expected: String, problem: @escaping @Sendable (String, SettingContext) -> String?) {
        self.expected = expected
        self.problem = problem
    }

    /// Any text but the empty one.
    public static let nonEmpty = TextRule("a text") { !$0.isEmpty }
    /// Any text, the empty one too.
    public static let anything = TextRule("a text") { _ in true }

    /// A file that this process may read; relative paths are taken from the working directory.
    public static let readableFile = TextRule("the path of a readable file") { path, context in
        path.isEmpty
            ? ""
            : context.unreadable(path).map {
                let hint = path.hasPrefix("/") ? "" : "; relative paths are taken from the working directory"
                return "'\(path)' cannot be read: \($0)\(hint)"
            }
    }

    /// The id of a function that a user may name: not one of the engine's private ones.
    package static let functionID = TextRule("a function id") { text, _ in
        if text.isEmpty { return "" }
        do throws(InvocationError) { _ = try FunctionID(text) } catch { return "\(error.message)" }
        return nil
    }

    /// Name or address to listen on; IPv6 with or without brackets.
    public static let host = TextRule("a host name or address such as 127.0.0.1 or [::1], without scheme and port") { text in
        if text.isEmpty || text.utf8.contains(where: { $0 <= 0x20 || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "@") }) { return false }
        guard text.contains(":") else { return !text.contains("[") }
        let address = text.hasPrefix("[") && text.hasSuffix("]") ? text.dropFirst().dropLast() : text[...]
        let body = address.prefix { $0 != "%" }
        return body.split(separator: ":", omittingEmptySubsequences: false).count > 2
            && body.utf8.allSatisfy { Character(Unicode.Scalar($0)).isHexDigit || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") }
    }

    /// A URL with one of `schemes` and a host.
    public static func url(_ schemes: String...) -> TextRule {
        TextRule("a URL such as \(schemes[0])://host") { text in
            schemes.contains { text.hasPrefix("\($0)://") && text.utf8.count > $0.utf8.count + 3 } && !text.utf8.contains(UInt8(ascii: " "))
        }
    }

    /// The name of an entry: it stands in commands, logs, lists and file names.
    package static let entryName = TextRule(
        "a name of at most 128 visible characters without blanks, `,` and `/`, that does not begin with `#` or `-`"
    ) { text in
        !text.isEmpty && text.count <= 128 && VisibleText.isVisible(text) && !text.contains { ",/".contains($0) }
            && !"#-".contains(text.first ?? "#")
    }

    /// The name of an environment variable.
    public static let variableName = TextRule("the name of an environment variable") { text in
        !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "=") && $0 != UInt8(ascii: "$") }
    }
}
