/// Which files a `watch:` list of `iii-exec` means. Pure; paths are relative to the working directory.
///
/// `*` and `?` stay within one path element, `**` spans any number of them, `{a,b}` gives alternatives, a pattern that
/// begins with `!` takes away what earlier ones matched. Elements on the ignore list never match.
package struct WatchPattern: Sendable, Equatable {
    private struct Rule: Sendable, Equatable {
        var elements: [String]
        var isNegated: Bool
    }

    private let rules: [Rule]
    private let ignored: Set<String>
    /// Directories to watch: the part of each pattern before its first wildcard; `.` when there is none.
    package let roots: [String]

    package init(patterns: [String], ignored: [String]) {
        var rules: [Rule] = []
        var roots: [String] = []
        for pattern in patterns {
            let isNegated = pattern.hasPrefix("!")
            for alternative in Self.expandBraces(isNegated ? String(pattern.dropFirst()) : pattern) {
                let elements = Self.elements(of: alternative)
                rules.append(Rule(elements: elements, isNegated: isNegated))
                if isNegated { continue }
                let fixed = elements.prefix { !$0.contains("*") && !$0.contains("?") }
                let root = fixed.count == elements.count ? fixed.dropLast() : fixed
                let prefix = alternative.hasPrefix("/") ? "/" : ""
                let path = prefix + root.joined(separator: "/")
                if !roots.contains(path.isEmpty ? "." : path) { roots.append(path.isEmpty ? "." : path) }
            }
        }
        self.rules = rules
        self.roots = roots
        self.ignored = Set(ignored)
    }

    package func matches(_ path: String) -> Bool {
        let elements = Self.elements(of: path)
        if elements.contains(where: ignored.contains) { return false }
        return rules.reduce(false) { matched, rule in
            Self.match(rule.elements[...], elements[...]) ? !rule.isNegated : matched
        }
    }

    package func ignores(directory name: String) -> Bool { ignored.contains(name) }

    private static func elements(of path: String) -> [String] {
        path.split(separator: "/").map(String.init).filter { $0 != "." }
    }

    private static func expandBraces(_ pattern: String) -> [String] {
        guard let open = pattern.firstIndex(of: "{"), let close = pattern[open...].firstIndex(of: "}") else { return [pattern] }
        let alternatives = pattern[pattern.index(after: open)..<close].split(separator: ",", omittingEmptySubsequences: false)
        let head = String(pattern[..<open])
        let tail = String(pattern[pattern.index(after: close)...])
        return alternatives.flatMap { expandBraces(head + String($0) + tail) }
    }

    private static func match(_ pattern: ArraySlice<String>, _ path: ArraySlice<String>) -> Bool {
        guard let first = pattern.first else { return path.isEmpty }
        if first == "**" {
            let rest = pattern.dropFirst()
            return (path.startIndex...path.endIndex).contains { start in match(rest, path[start...]) }
        }
        guard let name = path.first, matchElement(Array(first.utf8)[...], Array(name.utf8)[...]) else { return false }
        return match(pattern.dropFirst(), path.dropFirst())
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
