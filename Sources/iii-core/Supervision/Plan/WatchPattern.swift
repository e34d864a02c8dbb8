/// Which files a `watch:` list of `iii-exec` means. Pure; paths are relative to the working directory, or absolute.
///
/// `*` and `?` stay within one path element, `**` spans any number of them, `{a,b}` gives alternatives, a pattern that
/// begins with `!` takes away what earlier ones matched. A pattern without wildcards means that file, or everything below that
/// directory. Elements on the ignore list never match.
package struct WatchPattern: Sendable, Equatable {
    private struct Rule: Sendable, Equatable {
        var elements: [String]
        var isNegated: Bool
        var isPlain: Bool { !elements.contains { $0.contains("*") || $0.contains("?") } }
    }

    private let rules: [Rule]
    private let ignored: Set<String>
    /// Where to look: the part of each pattern before its first wildcard, which may be a file; `.` when there is none.
    package let roots: [String]
    /// Patterns that can match nothing, with the reason.
    package let contradictions: [String]

    package init(patterns: [String], ignored: [String]) {
        var rules: [Rule] = []
        var roots: [String] = []
        var contradictions: [String] = []
        for pattern in patterns {
            let isNegated = pattern.hasPrefix("!")
            for alternative in Self.expandBraces(isNegated ? String(pattern.dropFirst()) : pattern) {
                let rule = Rule(elements: Self.elements(of: alternative), isNegated: isNegated)
                rules.append(rule)
                if isNegated { continue }
                if let name = rule.elements.first(where: ignored.contains) {
                    contradictions.append("watch: '\(pattern)' matches nothing, because '\(name)' is in `ignore`")
                    continue
                }
                let root = Self.path(rule.elements.prefix { !$0.contains("*") && !$0.contains("?") })
                if !roots.contains(root) { roots.append(root) }
            }
        }
        self.rules = rules
        self.roots = roots
        self.contradictions = contradictions
        self.ignored = Set(ignored)
    }

    package func matches(_ path: String) -> Bool {
        let elements = Self.elements(of: path)
        if elements.contains(where: ignored.contains) { return false }
        return rules.reduce(false) { matched, rule in
            Self.match(rule.elements[...], elements[...], isPrefix: rule.isPlain) ? !rule.isNegated : matched
        }
    }

    /// Whether something below this directory may match, so that it is worth looking there.
    package func mayMatch(below directory: String) -> Bool {
        let elements = Self.elements(of: directory)
        if elements.contains(where: ignored.contains) { return false }
        return rules.contains { !$0.isNegated && Self.reaches($0.elements[...], elements[...], isPrefix: $0.isPlain) }
    }

    package func ignores(name: String) -> Bool { ignored.contains(name) }

    private static func elements(of path: String) -> [String] {
        (path.hasPrefix("/") ? ["/"] : []) + path.split(separator: "/").map(String.init).filter { $0 != "." }
    }

    private static func path(_ elements: ArraySlice<String>) -> String {
        guard elements.first == "/" else { return elements.isEmpty ? "." : elements.joined(separator: "/") }
        return "/" + elements.dropFirst().joined(separator: "/")
    }

    private static func expandBraces(_ pattern: String) -> [String] {
        guard let open = pattern.firstIndex(of: "{"), let close = pattern[open...].firstIndex(of: "}") else { return [pattern] }
        let alternatives = pattern[pattern.index(after: open)..<close].split(separator: ",", omittingEmptySubsequences: false)
        let head = String(pattern[..<open])
        let tail = String(pattern[pattern.index(after: close)...])
        return alternatives.flatMap { expandBraces(head + String($0) + tail) }
    }

    /// `isPrefix`: what lies below a match matches too.
    private static func match(_ pattern: ArraySlice<String>, _ path: ArraySlice<String>, isPrefix: Bool) -> Bool {
        guard let first = pattern.first else { return isPrefix || path.isEmpty }
        if first == "**" {
            let rest = pattern.dropFirst()
            return (path.startIndex...path.endIndex).contains { start in match(rest, path[start...], isPrefix: isPrefix) }
        }
        guard let name = path.first, matchElement(Array(first.utf8)[...], Array(name.utf8)[...]) else { return false }
        return match(pattern.dropFirst(), path.dropFirst(), isPrefix: isPrefix)
    }

    private static func reaches(_ pattern: ArraySlice<String>, _ directory: ArraySlice<String>, isPrefix: Bool) -> Bool {
        guard let name = directory.first else { return isPrefix || !pattern.isEmpty }
        guard let first = pattern.first else { return isPrefix }
        if first == "**" { return true }
        guard matchElement(Array(first.utf8)[...], Array(name.utf8)[...]) else { return false }
        return reaches(pattern.dropFirst(), directory.dropFirst(), isPrefix: isPrefix)
    }

    private static func matchElement(_ pattern: ArraySlice<UInt8>, _ name: ArraySlice<UInt8>) -> Bool {
        guard let first = pattern.first else { return name.isEmpty }
        switch first {
        case UInt8(ascii: "*"):
            return (name.startIndex...name.endIndex).contains { start in matchElement(pattern.dropFirst(), name[start...]) }
        case UInt8(ascii: "?"): return !name.isEmpty && matchElement(pattern.dropFirst(), name.dropFirst())
        default: return name.first == first && matchElement(pattern.dropFirst(), name.dropFirst())
        }
    }
}
