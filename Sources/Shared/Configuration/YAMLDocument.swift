import IIIProtocol
import IIISettings
import Yams

/// Reads one YAML document into values that know their lines. Yams is used for the grammar only; scalars get their types here.
///
/// Types follow the YAML 1.2 core schema, not Yams' YAML 1.1: `yes`, `no`, `on` and `off` are strings. Anchors and
/// aliases work, `<<` is an ordinary key. Limit: 100 000 values after aliases are resolved, so that nested aliases cannot
/// exhaust memory. Duplicate keys in one map are an error.
package struct YAMLDocument {
    private static let maximumValues = 100_000
    private var valueCount = 0

    /// The document's root; nil for an empty file. The problem's message is the parser's own cause.
    package static func parse(_ text: String) throws(ConfigurationProblem) -> LocatedValue? {
        let node: Node?
        do {
            node = try Parser(yaml: text, resolver: .basic, encoding: .utf8).singleRoot()
        } catch let error as YamlError {
            throw problem(of: error)
        } catch {
            throw ConfigurationProblem(message: "\(error)")
        }
        guard let node else { return nil }
        var document = YAMLDocument()
        return try document.value(of: node)
    }

    private mutating func value(of node: Node) throws(ConfigurationProblem) -> LocatedValue {
        let line = node.mark?.line ?? 1
        valueCount += 1
        guard valueCount <= Self.maximumValues else {
            throw ConfigurationProblem(line: line, message: "more than \(Self.maximumValues) values; are aliases nested in aliases?")
        }
        switch node {
        case .scalar(let scalar):
            try Self.refuseNUL(scalar.string, line: line)
            let isPlain = scalar.style == .plain || scalar.style == .any
            let value = YAMLScalar.value(scalar.string, tag: scalar.tag.rawValue, isPlain: isPlain)
            return LocatedValue(line: line, content: .scalar(value), source: scalar.string)
        case .sequence(let sequence):
            var elements: [LocatedValue] = []
            for element in sequence { elements.append(try value(of: element)) }
            return LocatedValue(line: line, content: .list(elements))
        case .mapping(let mapping):
            var members: [LocatedValue.Member] = []
            for (key, element) in mapping {
                let keyLine = key.mark?.line ?? line
                guard case .scalar(let name) = key else {
                    throw ConfigurationProblem(line: keyLine, message: "a key must be a plain word, not a list or map")
                }
                try Self.refuseNUL(name.string, line: keyLine)
                members.append(LocatedValue.Member(key: name.string, line: keyLine, value: try value(of: element)))
            }
            return LocatedValue(line: line, content: .map(members))
        case .alias:
            throw ConfigurationProblem(line: line, message: "alias without an anchor")
        }
    }

    /// Arguments, variables and paths end at it.
    private static func refuseNUL(_ text: String, line: Int) throws(ConfigurationProblem) {
        guard text.utf8.contains(0) else { return }
        throw ConfigurationProblem(line: line, message: "a text cannot hold the character NUL (\\0)")
    }

    private static func beginsWithTab(_ yaml: String, line: Int) -> Bool {
        let lines = yaml.split(separator: "\n", maxSplits: max(line, 1), omittingEmptySubsequences: false)
        guard lines.indices.contains(line - 1) else { return false }
        return lines[line - 1].prefix { $0 == " " || $0 == "\t" }.contains("\t")
    }

    private static func problem(of error: YamlError) -> ConfigurationProblem {
        switch error {
        case .scanner(let context, let problem, let mark, let yaml), .parser(let context, let problem, let mark, let yaml),
            .composer(let context, let problem, let mark, let yaml):
            let place = context.map { " (\($0.text) at line \($0.mark.line))" } ?? ""
            let hint = beginsWithTab(yaml, line: mark.line) ? "; this line begins with a tab: indent with spaces" : ""
            return ConfigurationProblem(line: mark.line, message: "\(problem)\(place) at line \(mark.line) column \(mark.column)\(hint)")
        case .reader(let problem, let offset, _, let yaml):
            let line = offset.map { 1 + yaml.prefix($0).count { $0 == "\n" } }
            return ConfigurationProblem(line: line, message: problem)
        case .duplicatedKeysInMapping(let duplicates, let context):
            let names = duplicates.map { "`\($0)`" }.joined(separator: ", ")
            return ConfigurationProblem(
                line: context.mark.line, message: "duplicate key \(names) in the map that starts at line \(context.mark.line)")
        default:
            return ConfigurationProblem(message: "\(error)")
        }
    }
}
