/// Which names tell that what they name is a secret.
enum SecretName {
    /// Words that do so wherever they stand in a name.
    private static let words: Set<String> = [
        "secret", "secrets", "token", "tokens", "password", "passwords", "passwd", "passphrase", "pwd", "pass", "credential", "credentials",
        "apikey", "jwt", "bearer", "authorization", "privatekey", "otp",
    ]
    /// Ends of words written together: `PGPASSWORD`, `authtoken`.
    private static let endings = [
        "password", "passwd", "passphrase", "secret", "token", "apikey", "secretkey", "accesskey", "accountkey", "privatekey",
    ]
    /// Words that do so at the end only: `BASIC_AUTH`, but `auth_function_id`.
    private static let lastWords: Set<String> = ["auth", "cookie", "cookies", "dsn", "sig", "signature", "salt"]
    /// `api_key`, `x-signing-key`; a mere `routing_key` is none.
    private static let keyKinds: Set<String> = [
        "api", "private", "access", "secret", "signing", "encryption", "master", "license", "shared", "account", "auth", "app", "admin",
        "root", "ssh", "pgp", "gpg", "webhook", "session", "service", "deploy",
    ]
    /// What follows names a place, a limit or a time, not the secret itself: `key_password_env`, `TOKEN_FILE`, `max_tokens`.
    private static let references: Set<String> = [
        "env", "file", "path", "dir", "ttl", "ms", "seconds", "count", "limit", "length", "bytes", "size", "url", "uri", "type",
        "algorithm",
        "field", "header", "name", "expiry", "expires", "policy", "enabled",
    ]

    static func tells(_ name: some StringProtocol) -> Bool {
        let parts = words(of: name)
        guard let last = parts.last, !references.contains(last), parts.first != "max" else { return false }
        if lastWords.contains(last) || parts.contains(where: words.contains) { return true }
        if parts.contains(where: { part in endings.contains { part.hasSuffix($0) } }) { return true }
        guard last == "key" || last == "keys", parts.count > 1 else { return false }
        // `STRIPE_KEY` is how environments name a secret; `partition_key` is how configurations name a field.
        return parts.dropLast().contains(where: keyKinds.contains)
            || name.utf8.allSatisfy { !(UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) } && !parts.contains("public")
    }

    /// `dbPassword`, `DB_PASSWORD` and `db-password` are `db`, `password`.
    private static func words(of name: some StringProtocol) -> [String] {
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
}
