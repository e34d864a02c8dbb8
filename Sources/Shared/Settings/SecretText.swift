/// Finds what is secret in a text somebody wrote: a command line, a URL, a header, a connection string, JSON.
///
/// Rather too much than too little: what follows a telling name is hidden to the end of its word, quotes or line.
struct SecretText {
    private let bytes: [UInt8]
    private var hidden: [Range<Int>] = []

    /// `text` with every secret replaced. With `namesCount` false what follows a telling name stays: sentences name keys, too.
    static func masked(_ text: String, namesCount: Bool = true) -> String {
        var scan = SecretText(bytes: Array(text.utf8))
        if namesCount { scan.hideWhatNamesTell() }
        scan.hideUsersOfURLs()
        scan.hideKnownShapes()
        return scan.hidden.isEmpty ? text : scan.rendered
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private var rendered: String {
        var output: [UInt8] = []
        var index = 0
        for range in hidden.sorted(by: { $0.lowerBound < $1.lowerBound }) where range.upperBound > index {
            if range.lowerBound >= index {
                output += bytes[index..<range.lowerBound]
                output += SecretMask.replacement.utf8
            }
            index = range.upperBound
        }
        return String(decoding: output + bytes[index...], as: UTF8.self)
    }

    private mutating func hide(_ range: Range<Int>) { if !range.isEmpty { hidden.append(range) } }

    // MARK: Names

    /// `--token=…`, `--token …`, `TOKEN=…`, `Authorization: Bearer …`, `"token": "…"`, `?token=…&`, `AccountKey=…;`, `-u user:…`.
    private mutating func hideWhatNamesTell() {
        var index = 0
        while index < bytes.count {
            guard Self.isName(bytes[index]) else {
                index += 1
                continue
            }
            let start = index
            while index < bytes.count, Self.isName(bytes[index]) { index += 1 }
            let name = String(decoding: bytes[start..<index], as: UTF8.self)
            if SecretName.tells(name) {
                index = hideValue(behind: index, ofNameAt: start)
            } else if name == "-u" || name == "--user" || name == "--proxy-user" {
                index = hidePassword(behind: index)
            }
        }
    }

    /// Returns where to go on.
    private mutating func hideValue(behind end: Int, ofNameAt start: Int) -> Int {
        var index = end
        let openingQuote = start > 0 && Self.isQuote(bytes[start - 1]) ? bytes[start - 1] : nil
        let isQuoted = openingQuote != nil && index < bytes.count && bytes[index] == openingQuote
        if isQuoted { index += 1 }
        let behindName = index
        index = skipBlanks(index)
        guard index < bytes.count else { return end }
        switch bytes[index] {
        case UInt8(ascii: "="), UInt8(ascii: ":"):
            let isHeader = bytes[index] == UInt8(ascii: ":")
            index = skipBlanks(index + 1)
            // `token://…` is a URL, `auth::check` a function.
            if isHeader, bytes[index...].starts(with: "//".utf8) || bytes[index...].first == UInt8(ascii: ":") { return index }
            guard index < bytes.count else { return index }
            if Self.isQuote(bytes[index]) { return hideQuoted(at: index) }
            if isHeader, !isQuoted { return hideHeader(at: index, until: openingQuote) }
            let stop = isQuoted ? endOfMember(from: index) : endOfWord(from: index)
            hide(index..<stop)
            return stop
        case UInt8(ascii: "-"): return index
        default:
            // An option and its value; a name in the middle of a sentence is neither.
            guard bytes[start] == UInt8(ascii: "-"), index > behindName else { return end }
            if Self.isQuote(bytes[index]) { return hideQuoted(at: index) }
            let stop = endOfWord(from: index)
            hide(index..<stop)
            return stop
        }
    }

    /// To the matching quote, or to the end where there is none.
    private mutating func hideQuoted(at index: Int) -> Int {
        let end = bytes[(index + 1)...].firstIndex(of: bytes[index]) ?? bytes.count
        hide(index + 1..<end)
        return min(end + 1, bytes.count)
    }

    /// A header's value goes on to the end of its line or quotes; the scheme in front is no secret.
    private mutating func hideHeader(at index: Int, until quote: UInt8?) -> Int {
        let end = bytes[index...].firstIndex { $0 == quote || $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") } ?? bytes.count
        var start = index
        let word = endOfWord(from: index)
        if word < end, ["bearer", "basic", "token", "digest"].contains(String(decoding: bytes[index..<word], as: UTF8.self).lowercased()) {
            start = skipBlanks(word)
        }
        hide(start..<max(start, end))
        return end
    }

    /// `user:password` as the value of `-u`.
    private mutating func hidePassword(behind end: Int) -> Int {
        var start = end
        while start < bytes.count, Self.isBlank(bytes[start]) || Self.isQuote(bytes[start]) || bytes[start] == UInt8(ascii: "=") {
            start += 1
        }
        let stop = endOfWord(from: start)
        guard let colon = bytes[start..<stop].firstIndex(of: UInt8(ascii: ":")) else { return end }
        hide(colon + 1..<stop)
        return stop
    }

    /// A word ends at white space and quotes, and before `;name=`, `&name=` and `,name=`.
    private func endOfWord(from start: Int) -> Int {
        var index = start
        while index < bytes.count, !Self.isSpace(bytes[index]), !Self.isQuote(bytes[index]) {
            if [UInt8(ascii: ";"), UInt8(ascii: "&"), UInt8(ascii: ",")].contains(bytes[index]), isAssignment(at: index + 1) {
                return index
            }
            index += 1
        }
        return index
    }

    /// A value without quotes in JSON.
    private func endOfMember(from start: Int) -> Int {
        bytes[start...].firstIndex { Self.isSpace($0) || $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "}") } ?? bytes.count
    }

    private func isAssignment(at start: Int) -> Bool {
        var index = skipBlanks(start)
        let first = index
        while index < bytes.count, Self.isName(bytes[index]) || bytes[index] == UInt8(ascii: " ") { index += 1 }
        return index > first && index < bytes.count && bytes[index] == UInt8(ascii: "=")
    }

    // MARK: URLs

    /// `scheme://user:word@host`, and `user:word@host` without a scheme.
    private mutating func hideUsersOfURLs() {
        for word in words where bytes[word].contains(UInt8(ascii: "@")) {
            var rest = word
            var hasScheme = false
            while let scheme = bytes[rest].firstRange(of: Array("://".utf8)) {
                hasScheme = true
                let end = bytes[scheme.upperBound..<word.upperBound].firstIndex { "/?#,".utf8.contains($0) } ?? word.upperBound
                let authority = scheme.upperBound..<end
                if let at = bytes[authority].lastIndex(of: UInt8(ascii: "@")) {
                    hide(authority.lowerBound..<at)
                } else if let colon = bytes[authority].firstIndex(of: UInt8(ascii: ":")),
                    !bytes[(colon + 1)..<end].allSatisfy(Self.isDigit),
                    let at = bytes[end..<word.upperBound].lastIndex(of: UInt8(ascii: "@"))
                {
                    // A password with a slash in it, which should have been written as %2F.
                    hide(authority.lowerBound..<at)
                }
                rest = end..<word.upperBound
            }
            if !hasScheme, let colon = bytes[word].firstIndex(of: UInt8(ascii: ":")), let at = bytes[word].lastIndex(of: UInt8(ascii: "@")),
                colon < at, !bytes[word].starts(with: "mailto:".utf8)
            {
                hide(colon + 1..<at)
            }
        }
    }

    // MARK: Shapes

    private static let beginnings = [
        "sk_live_", "sk_test_", "rk_live_", "rk_test_", "pk_live_", "whsec_", "sk-", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_",
        "glpat-",
        "xoxb-", "xoxp-", "xapp-", "AKIA", "ASIA", "AIza", "hf_", "npm_", "pypi-", "dop_v1_", "SG.", "shpat_", "ya29.",
    ].map { Array($0.utf8) }
    /// Addresses whose path is the secret.
    private static let webhooks = ["hooks.slack.com/services/", "discord.com/api/webhooks/", "api.telegram.org/bot"].map { Array($0.utf8) }

    /// Well-known beginnings of keys with something behind them, JSON Web Tokens, private keys, addresses of webhooks.
    private mutating func hideKnownShapes() {
        for word in words {
            var start = word.lowerBound
            for part in bytes[word].split(whereSeparator: { !Self.isTokenByte($0) }) {
                start = part.startIndex
                if part.count >= 16, Self.beginnings.contains(where: { part.starts(with: $0) }) { hide(start..<part.endIndex) }
                let isWebToken = part.starts(with: "eyJ".utf8) && part.count >= 32 && part.count { $0 == UInt8(ascii: ".") } == 2
                if isWebToken { hide(start..<part.endIndex) }
            }
            for webhook in Self.webhooks {
                if let range = bytes[word].firstRange(of: webhook) { hide(range.upperBound..<word.upperBound) }
            }
        }
        let marker = Array("-----BEGIN".utf8)
        var rest = 0..<bytes.count
        while let begin = bytes[rest].firstRange(of: marker) {
            let end = bytes[begin.upperBound...].firstRange(of: Array("-----END".utf8))?.lowerBound ?? bytes.count
            if bytes[begin.lowerBound..<end].firstRange(of: Array("PRIVATE KEY".utf8)) != nil { hide(begin.lowerBound..<end) }
            rest = end..<bytes.count
        }
    }

    // MARK: Characters

    /// Runs without white space and quotes.
    private var words: [Range<Int>] {
        bytes.split { Self.isSpace($0) || Self.isQuote($0) }.map { $0.startIndex..<$0.endIndex }
    }

    private func skipBlanks(_ start: Int) -> Int {
        var index = start
        while index < bytes.count, Self.isBlank(bytes[index]) { index += 1 }
        return index
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    private static func isSpace(_ byte: UInt8) -> Bool { byte <= 0x20 }
    private static func isQuote(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") || byte == UInt8(ascii: "`")
    }
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }
    private static func isName(_ byte: UInt8) -> Bool {
        isDigit(byte) || byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z") || byte == UInt8(ascii: "_")
            || byte == UInt8(ascii: "-")
    }
    private static func isTokenByte(_ byte: UInt8) -> Bool { isName(byte) || byte == UInt8(ascii: ".") }
}
