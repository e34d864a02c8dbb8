import IIIProtocol
import IIISettings

// Checks that look at several entries at once.
extension EngineConfiguration {
    /// Both names of one worker in one file would start it twice by mistake.
    var aliasConflicts: [ConfigurationProblem] {
        var lines: [String] = []
        var firstLine: Int?
        for (alias, canonical) in WorkerCatalogue.aliases.sorted(by: { $0.value < $1.value }) {
            let written = entries.filter { $0.typeName == canonical }
            let base = { (entry: WorkerEntry) in String(entry.name.prefix { $0 != "#" }) }
            guard let old = written.first(where: { base($0) == canonical }), written.contains(where: { base($0) == alias }) else {
                continue
            }
            firstLine = firstLine ?? old.line
            lines.append(
                "- '\(canonical)' is the deprecated name for '\(alias)', but both are present. Remove '\(canonical)' from your configuration."
            )
        }
        if lines.isEmpty { return [] }
        return [ConfigurationProblem(line: firstLine, message: (["Duplicate worker configurations:"] + lines).joined(separator: "\n"))]
    }

    /// Unknown names in `depends_on`, and circles.
    var dependencyProblems: [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        let ids = Set(entries.map(\.id))
        for entry in entries {
            for dependency in entry.dependsOn where !ids.contains(Self.canonical(dependency)) {
                let hint = EditDistance.nearest(to: dependency, among: ids).map { " (did you mean '\($0)'?)" } ?? ""
                problems.append(
                    ConfigurationProblem(line: entry.line, message: "\(entry.id).depends_on: no entry '\(dependency)' in this file\(hint)"))
            }
        }
        let graph = Dictionary(entries.map { ($0.id, $0.dependsOn.map(Self.canonical)) }, uniquingKeysWith: { $1 })
        for entry in entries {
            if let circle = Self.circle(from: entry.id, in: graph) {
                problems.append(
                    ConfigurationProblem(
                        line: entry.line, message: "depends_on forms a circle: \(circle.joined(separator: " → ")); remove one of these"))
                break
            }
        }
        return problems
    }

    /// The entry id for a name a user writes, alias or not.
    package static func canonical(_ name: String) -> String {
        let base = String(name.prefix { $0 != "#" })
        return (WorkerCatalogue.type(named: base)?.name ?? base) + name.dropFirst(base.count)
    }

    private static func circle(from start: String, in graph: [String: [String]]) -> [String]? {
        var visited: Set<String> = []
        var stack: [[String]] = [[start]]
        while let path = stack.popLast() {
            for next in path.last.flatMap({ graph[$0] }) ?? [] {
                if next == start { return path + [next] }
                if visited.insert(next).inserted { stack.append(path + [next]) }
            }
        }
        return nil
    }

    /// One line per entry that listens beyond this machine without authentication (docs/reference/log.md#listens_publicly).
    var exposureWarnings: [ConfigurationProblem] {
        entries.compactMap { entry in
            guard let address = entry.address, !Self.isLoopback(address.host) else { return nil }
            let config = entry.effectiveConfig
            let hasTLS = config["tls"].map { !$0.isNull } ?? false
            // Mutual TLS is authentication, too.
            let hasClientCertificates = config["tls"]?["client_ca_file"]?.string != nil
            let hasAuthentication = config["auth_function"] != nil || config["rbac"]?["auth_function_id"]?.string != nil
            let isProtected = hasAuthentication || hasClientCertificates
            if isProtected { return nil }
            return ConfigurationProblem(
                line: entry.line,
                message: "\(entry.id) listens on \(address.host):\(address.port) without authentication\(hasTLS ? "" : " or TLS"): "
                    + "everyone who reaches that address can use it (set `host: 127.0.0.1`, or put a proxy in front)")
        }
    }

    static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host == "[::1]" || host.hasPrefix("127.")
    }

    /// Two entries that would bind the same port. Port 0 never clashes.
    package var portClashes: [ConfigurationProblem] {
        var seen: [(id: String, host: String, port: Int)] = []
        var problems: [ConfigurationProblem] = []
        for entry in entries {
            guard let address = entry.address, address.port != 0 else { continue }
            let wild = ["0.0.0.0", "::", "[::]"]
            for other in seen where other.port == address.port {
                if other.host == address.host || wild.contains(other.host) || wild.contains(address.host) {
                    problems.append(
                        ConfigurationProblem(
                            line: entry.line, message: "\(entry.id) and \(other.id) both listen on port \(address.port); change one of them"
                        ))
                }
            }
            seen.append((entry.id, address.host, address.port))
        }
        return problems
    }
}
