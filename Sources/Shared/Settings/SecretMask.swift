import IIIProtocol

/// Hides secrets from listings and logs: what a declaration calls secret, values under telling names, and texts that look like one.
package enum SecretMask {
    package static let replacement = "********"

    // MARK: Names

    /// Words that make a name tell of a secret, wherever they stand in it.
    private static let words: Set<String> = [
        "secret", "secrets", "token", "tokens", "password", "passwords", "passwd", "passphrase", "pwd", "pass", "credential", "credentials",
        "apikey", "jwt", "bearer", "authorization", "privatekey",
    ]
    /// Words that do so at the end only: `BASIC_AUTH`, but `auth_function_id`.
    private static let lastWords: Set<String> = ["auth", "cookie", "cookies", "dsn"]
    /// `api_key`, `x-signing-key`; a mere `routing_key` is none.
    private static let keyKinds: Set<String> = [
        "api", "private", "access", "secret", "signing", "encryption", "master", "license", "shared", "account",
    ]
    /// What follows names a place, a limit or a time, not the secret itself: `key_password_env`, `TOKEN_FILE`, `max_tokens`.
    private static let referenceWords: Set<String> = ["env", "file", "path", "ttl", "ms", "seconds", "count", "limit", "length"]

    package static func isSecret(key: String) -> Bool {
        let parts = nameWords(key)
        guard let last = parts.last, !referenceWords.contains(last), parts.first != "max" else { return false }
        if lastWords.contains(last) || parts.contains(where: words.contains) { return true }
        guard last == "key" || last == "keys" else { return false }
        // `STRIPE_KEY` is how environments name a secret; `partition_key` is how configurations name a field.
        return parts.dropLast().contains(where: keyKinds.contains) || parts.count > 1 && key == key.uppercased() && !key.contains("PUBLIC")
    }

    /// Whether the last key of a path such as `iii-http.config.api_key` names a secret.
    package static func isSecretPath(_ path: String) -> Bool {
        path.split(separator: ".").last.map { isSecret(key: String($0.prefix { $0 != "[" })) } ?? false
    }

    /// `dbPassword`, `DB_PASSWORD` and `db-password` are `db`, `password`.
    private static func nameWords(_ name: String) -> [String] {
        var words: [String] = []
        var current = ""
        var wasLower = false
        for character in name {
            guard character.isLetter || character.isNumber else {
                if !current.isEmpty { words.append(current) }
                (current, wasLower) = ("", false)
                continue
            }
            if character.isUppercase, wasLower {
                words.append(current)
                current = ""
            }
            current += character.lowercased()
            wasLower = character.isLowercase
        }
        return current.isEmpty ? words : words + [current]
    }

    // MARK: Values

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
            hidesNext = isSecretOption(text[...])
            return .string(maskedText(text))
        }
    }

    /// A text with what is secret in it replaced: `--token=…`, `--token …`, `TOKEN=…`, `Authorization: Bearer …`, passwords and secret
    /// parameters of URLs, and words with the shape of a well-known kind of key.
    package static func maskedText(_ text: String) -> String {
        var result = ""
        var hidesNext = false
        var rest = text[...]
        while !rest.isEmpty {
            let space = rest.prefix { $0.isWhitespace }
            result += space
            rest = rest.dropFirst(space.count)
            let word = rest.prefix { !$0.isWhitespace }
            rest = rest.dropFirst(word.count)
            if word.isEmpty { break }
            let bare = word.trimming { $0 == "\"" || $0 == "'" }
            if hidesNext, !bare.hasPrefix("-") {
                // `Authorization: Bearer abc`: the scheme is none.
                let isScheme = ["bearer", "basic", "token"].contains(bare.lowercased())
                hidesNext = isScheme
                result += isScheme ? String(word) : replaced(bare, in: word)
                continue
            }
            hidesNext = isSecretOption(bare) || isSecretHeader(bare) || ["Bearer", "bearer"].contains(bare)
            result += maskedWord(word, bare)
        }
        return result
    }

    private static func maskedWord(_ word: Substring, _ bare: Substring) -> String {
        if hasSecretShape(bare) { return replaced(bare, in: word) }
        if let equals = word.firstIndex(of: "="), !word[..<equals].contains("://") {
            let name = word[..<equals].trimming { "-\"'".contains($0) }
            let value = word[word.index(after: equals)...]
            if isSecret(key: String(name)), !value.isEmpty {
                return String(word[...equals]) + replaced(value.trimming { $0 == "\"" || $0 == "'" }, in: value)
            }
            return String(word[...equals]) + (hasSecretShape(value) ? replacement : maskedURL(String(value)))
        }
        return maskedURL(String(word))
    }

    private static func replaced(_ part: Substring, in whole: Substring) -> String {
        String(whole[..<part.startIndex]) + replacement + String(whole[part.endIndex...])
    }

    private static func isSecretOption(_ word: Substring) -> Bool {
        word.hasPrefix("-") && !word.contains("=") && isSecret(key: String(word.trimming { $0 == "-" }))
    }

    private static func isSecretHeader(_ word: Substring) -> Bool {
        word.hasSuffix(":") && !word.contains("/") && isSecret(key: String(word.dropLast()))
    }

    private static let shapes = [
        "sk_live_", "sk_test_", "rk_live_", "rk_test_", "pk_live_", "whsec_", "sk-", "ghp_", "gho_", "ghs_", "github_pat_", "glpat-",
        "xoxb-",
        "xoxp-", "xapp-", "AKIA", "ASIA", "AIza", "hf_", "npm_", "dop_v1_", "SG.", "-----BEGIN",
    ]

    /// Well-known beginnings of keys with something behind them, and JSON Web Tokens.
    private static func hasSecretShape(_ word: Substring) -> Bool {
        if word.utf8.count >= 16, shapes.contains(where: word.hasPrefix) { return true }
        return word.hasPrefix("eyJ") && word.split(separator: ".").count == 3 && word.utf8.count >= 32
    }

    /// `scheme://user:word@host` with the part before the `@` replaced, and values of secret parameters behind `?`; any other text as
    /// it is.
    package static func maskedURL(_ text: String) -> String {
        guard let scheme = text.firstRange(of: "://") else { return text }
        let end = text[scheme.upperBound...].firstIndex { "/?#\"',".contains($0) } ?? text.endIndex
        var result = String(text[..<scheme.upperBound])
        if let at = text[scheme.upperBound..<end].lastIndex(of: "@") {
            result += replacement + text[at..<end]
        } else {
            result += text[scheme.upperBound..<end]
        }
        // Several addresses may stand in one text: `redis://a:b@h,redis://c:d@i`.
        let next = text[end...].firstRange(of: "://")
        let stop = next.flatMap { text[end..<$0.lowerBound].lastIndex { ",\"'".contains($0) } } ?? text.endIndex
        result += maskedQuery(text[end..<stop])
        return stop == text.endIndex ? result : result + maskedURL(String(text[stop...]))
    }

    /// Path, query and fragment of a URL with the values of telling parameters replaced.
    private static func maskedQuery(_ text: Substring) -> String {
        guard let query = text.firstIndex(of: "?") else { return String(text) }
        let parameters = text[text.index(after: query)...].split(separator: "&", omittingEmptySubsequences: false).map {
            parameter -> String in
            guard let equals = parameter.firstIndex(of: "="), isSecret(key: String(parameter[..<equals])) else { return String(parameter) }
            return String(parameter[...equals]) + replacement
        }
        return String(text[...query]) + parameters.joined(separator: "&")
    }
}

extension Substring {
    fileprivate func trimming(_ predicate: (Character) -> Bool) -> Substring {
        var part = drop(while: predicate)
        while let last = part.last, predicate(last) { part = part.dropLast() }
        return part
    }
}
