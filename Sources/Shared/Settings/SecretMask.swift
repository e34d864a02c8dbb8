import IIIProtocol

/// Hides secrets from listings and messages: values under telling names, and what looks like one in texts.
package enum SecretMask {
    package static let replacement = "********"

    package static func isSecret(key: String) -> Bool { SecretName.tells(key) }

    /// Whether the last key of a path such as `iii-http.config.api_key` names a secret.
    package static func isSecretPath(_ path: String) -> Bool {
        path.split(separator: ".").last.map { SecretName.tells($0.prefix { $0 != "[" }) } ?? false
    }

    package static func masked(_ value: JSONValue) -> JSONValue {
        switch value {
        case .object(let members):
            let pairs = members.map { ($0.key, isSecret(key: $0.key) && !$0.value.isNull ? .string(replacement) : masked($0.value)) }
            return .object(Dictionary(pairs, uniquingKeysWith: { $1 }))
        case .array(let elements): return .array(maskedWords(elements))
        case .string(let text): return .string(maskedText(text))
        default: return value
        }
    }

    /// `json` without what stands at `paths`, such as `targets.0.key`; the rest as `masked`.
    package static func masked(_ json: JSONValue, hiding paths: Set<String>) -> JSONValue {
        func hide(_ value: JSONValue, at path: String) -> JSONValue {
            if paths.contains(path), !value.isNull { return .string(replacement) }
            func inner(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
            return switch value {
            case .object(let members):
                .object(Dictionary(members.map { ($0.key, hide($0.value, at: inner($0.key))) }, uniquingKeysWith: { $1 }))
            case .array(let elements): .array(elements.enumerated().map { hide($0.element, at: inner("\($0.offset)")) })
            default: value
            }
        }
        return masked(paths.isEmpty ? json : hide(json, at: ""))
    }

    /// A list may be the arguments of a program: `[--token, abc]`.
    private static func maskedWords(_ elements: [JSONValue]) -> [JSONValue] {
        var hidesNext = false
        return elements.map { element in
            guard case .string(let text) = element else {
                hidesNext = false
                return masked(element)
            }
            if hidesNext, !text.hasPrefix("-") {
                hidesNext = false
                return .string(replacement)
            }
            hidesNext = text.hasPrefix("-") && !text.contains("=") && (isSecret(key: text) || text == "-u" || text == "--user")
            return .string(maskedText(text))
        }
    }

    /// A command line, URL, header or the like with what is secret in it replaced.
    package static func maskedText(_ text: String) -> String { SecretText.masked(text) }

    /// A sentence: names of keys are not followed by their values, but addresses and keys may stand in it. What `json` holds under
    /// telling names is replaced wherever it is repeated.
    package static func maskedSentence(_ text: String, about json: JSONValue = .null) -> String {
        var text = text
        for secret in secrets(in: json) where secret.utf8.count >= 3 { text = text.replacing(secret, with: replacement) }
        return SecretText.masked(text, namesCount: false)
    }

    private static func secrets(in json: JSONValue, isSecret: Bool = false) -> [String] {
        switch json {
        case .object(let members): members.flatMap { secrets(in: $0.value, isSecret: isSecret || SecretName.tells($0.key)) }
        case .array(let elements): elements.flatMap { secrets(in: $0, isSecret: isSecret) }
        case .string(let text): isSecret ? [text] : []
        case .integer, .double: isSecret ? [json.text] : []
        default: []
        }
    }
}
