import IIIProtocol

/// Hides secrets from listings: values under telling keys, and the user part of URLs.
package enum SecretMask {
    package static let replacement = "********"
    private static let words = ["secret", "token", "password", "passwd", "api_key", "apikey", "private_key", "credential"]

    package static func isSecret(key: String) -> Bool {
        let lowered = key.lowercased()
        // Names the variable that holds a secret.
        if lowered.hasSuffix("_env") { return false }
        return words.contains { lowered.contains($0) }
    }

    /// Whether the last key of a path such as `iii-http.config.api_key` names a secret.
    package static func isSecretPath(_ path: String) -> Bool {
        path.split(separator: ".").last.map { isSecret(key: String($0)) } ?? false
    }

    package static func masked(_ value: JSONValue) -> JSONValue {
        switch value {
        case .object(let members):
            let pairs = members.map { ($0.key, isSecret(key: $0.key) && !$0.value.isNull ? .string(replacement) : masked($0.value)) }
            return .object(Dictionary(pairs, uniquingKeysWith: { $1 }))
        case .array(let elements): return .array(elements.map(masked))
        case .string(let text): return .string(maskedURL(text))
        default: return value
        }
    }

    /// `scheme://user:word@host` with the part before the `@` replaced; any other text as it is.
    package static func maskedURL(_ text: String) -> String {
        let bytes = Array(text.utf8)
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), bytes[colon...].starts(with: "://".utf8) else { return text }
        let start = colon + 3
        let end = bytes[start...].firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") }
        guard let at = bytes[start..<(end ?? bytes.count)].lastIndex(of: UInt8(ascii: "@")) else { return text }
        return String(decoding: bytes[..<start], as: UTF8.self) + replacement + String(decoding: bytes[at...], as: UTF8.self)
    }
}
