/// Why an `api_path` cannot become a route. The text goes to the worker that registered the trigger.
package struct RoutePatternError: Error, Equatable, Sendable {
    package let message: String
}

/// A parsed `api_path` (docs/reference/http.md#routes).
///
/// Literal segments match byte for byte and case-sensitively against the raw, still percent-encoded path. `:name` and
/// `{name}` match one non-empty segment, `{*rest}` as the last segment one or more bytes to the end. Limits: 2048 bytes,
/// 64 parameters; a pattern beyond them is refused.
package struct RoutePattern: Sendable, Equatable {
    package enum Segment: Sendable, Equatable {
        case literal([UInt8])
        case parameter
        case catchAll
    }

    package static let maximumBytes = 2048
    package static let maximumParameters = 64

    /// `api_path` exactly as registered; handlers see it as `path`.
    package let registered: String
    /// `registered` without leading slashes: with the method, the identity of a route (docs/reference/http.md#routes).
    package let key: String
    package let segments: [Segment]
    /// Names of the parameters and of the catch-all, in order of occurrence.
    package let parameterNames: [String]

    package init(_ registered: String) throws(RoutePatternError) {
        guard registered.utf8.count <= Self.maximumBytes else {
            throw RoutePatternError(message: "api_path is longer than \(Self.maximumBytes) bytes")
        }
        let key = String(registered.drop(while: { $0 == "/" }))
        var segments: [Segment] = []
        var names: [String] = []
        let parts = key.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            let text = String(Substring(part))
            switch part.first {
            case UInt8(ascii: ":"):
                guard part.count > 1 else { throw RoutePatternError(message: "api_path '\(registered)' has a parameter without a name") }
                segments.append(.parameter)
                names.append(try Self.name(text.dropFirst(), registered))
            case UInt8(ascii: "*"):
                throw RoutePatternError(
                    message: "api_path '\(registered)' has the unsupported segment '\(text)'; use '{*name}' as last segment")
            case UInt8(ascii: "{"):
                if let name = Self.braced(text, opening: "{*") {
                    guard index == parts.count - 1 else {
                        throw RoutePatternError(message: "api_path '\(registered)': '\(text)' is allowed as last segment only")
                    }
                    segments.append(.catchAll)
                    names.append(try Self.name(name, registered))
                } else if let name = Self.braced(text, opening: "{") {
                    segments.append(.parameter)
                    names.append(try Self.name(name, registered))
                } else {
                    segments.append(try Self.literal(text, registered))
                }
            default: segments.append(try Self.literal(text, registered))
            }
        }
        guard names.count <= Self.maximumParameters else {
            throw RoutePatternError(message: "api_path '\(registered)' has more than \(Self.maximumParameters) parameters")
        }
        guard Set(names).count == names.count else {
            throw RoutePatternError(message: "api_path '\(registered)' uses a parameter name twice")
        }
        self.registered = registered
        self.key = key
        self.segments = segments
        self.parameterNames = names
    }

    /// Paths are compared raw, so that what clients encode has to be registered encoded.
    private static func literal(_ text: String, _ registered: String) throws(RoutePatternError) -> Segment {
        if let scalar = text.unicodeScalars.first(where: { !isPlain($0) || $0.value > 0x7F }) {
            throw RoutePatternError(message: "api_path '\(shown(registered))' can never match: \(reason(scalar))")
        }
        return .literal(Array(text.utf8))
    }

    /// Names are no part of any request, but whoever writes `:id?` or `:id here` means something else.
    private static func name(_ text: some StringProtocol, _ registered: String) throws(RoutePatternError) -> String {
        if let scalar = text.unicodeScalars.first(where: { !isPlain($0) }) {
            let name = shown(String(text))
            throw RoutePatternError(message: "api_path '\(shown(registered))' names a parameter '\(name)': \(reason(scalar))")
        }
        return String(text)
    }

    private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value > 0x20 && scalar.value != 0x7F && scalar != "?" && scalar != "#"
    }

    private static func reason(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "?": "a query is no part of the path; handlers find it in query_params"
        case "#": "a fragment is never sent"
        case " ": "write a space as %20"
        case _ where scalar.value > 0x7F: "write '\(scalar)' percent-encoded, as clients send it"
        default: "it has a control character"
        }
    }

    /// For messages: control characters and what is not ASCII as escapes.
    private static func shown(_ text: String) -> String {
        text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? $0.escaped(asASCII: true) : String($0) }.joined()
    }

    /// A pattern that stands for the one raw path `path`, whatever it contains.
    init(literal path: String) {
        registered = path
        key = String(path.drop(while: { $0 == "/" }))
        segments = [.literal(Array(key.utf8))]
        parameterNames = []
    }

    /// The name inside `{name}` or `{*name}`; nil for malformed braces, which stay literal.
    private static func braced(_ text: String, opening: String) -> String? {
        guard text.hasPrefix(opening), text.hasSuffix("}") else { return nil }
        let name = text.dropFirst(opening.count).dropLast()
        guard !name.isEmpty, !name.contains(where: { "{}*".contains($0) }) else { return nil }
        return String(name)
    }
}
