import IIIProtocol

/// Checks values of a file against their declaration, collecting everything that is wrong, and brings them into their declared form:
/// text as it was written, numbers that were quoted as numbers.
package struct SettingCheck {
    package var problems: [ConfigurationProblem] = []
    /// Accepted, and probably not meant: keys that act on nothing, risky values.
    package var warnings: [ConfigurationProblem] = []
    private let context: SettingContext
    private var secretDepth = 0
    /// Of the setting that is being checked.
    private var unit: String?

    package init(context: SettingContext) { self.context = context }

    /// The value in its declared form; what did not fit is null and has its problem. `path` leads every message.
    package mutating func normalise(_ value: LocatedValue, as shape: SettingShape, at path: String) -> JSONValue {
        switch (shape, value.content) {
        case (.anything, _): return value.json
        case (.nullable(let inner), _): return value.isNull ? .null : normalise(value, as: inner, at: path)
        case (.boolean, .scalar(let scalar)):
            if let flag = scalar.bool ?? Self.flag(scalar.string) { return .bool(flag) }
        case (.integer(let range), .scalar(let scalar)):
            if let number = scalar.integer ?? scalar.string.flatMap(Self.integer), range.contains(number) { return .integer(number) }
        case (.number(let range), .scalar(let scalar)):
            if let number = Self.number(scalar), range.contains(number.number ?? .nan) { return number }
        case (.text(let rule), .scalar): return text(value, rule, at: path)
        case (.choice(let words), .scalar):
            guard let word = value.writtenText else { break }
            if words.contains(word) { return .string(word) }
            let hint = EditDistance.nearest(to: word, among: words).map { " (did you mean `\($0)`?)" } ?? ""
            return mismatch(value, shape, at: path, hint)
        case (.list(let element), .list(let elements)):
            return .array(elements.enumerated().map { index, item in normalise(item, as: element, at: "\(path)[\(index)]") })
        case (.map(let element), .map(let members)):
            let pairs = members.map { ($0.key, normaliseNamed($0, as: element, at: "\(path).\(VisibleText.shown($0.key))")) }
            return .object(Dictionary(pairs, uniquingKeysWith: { $1 }))
        case (.object(let group), .map(let members)): return object(group, members, of: value, at: path)
        case (.adapter(let adapters), .map(let members)): return adapter(adapters, members, of: value, at: path)
        case (.oneOf(let alternatives), _):
            if let fitting = alternatives.first(where: { $0.fitsKind(of: value) }) { return normalise(value, as: fitting, at: path) }
        default: break
        }
        return mismatch(value, shape, at: path)
    }

    // MARK: Scalars

    private mutating func text(_ value: LocatedValue, _ rule: TextRule, at path: String) -> JSONValue {
        guard let text = value.writtenText else { return mismatch(value, .text(rule), at: path) }
        guard let problem = rule.problem(text, context) else { return .string(text) }
        if problem.isEmpty { return mismatch(value, .text(rule), at: path) }
        report(
            value.line, "\(path): \(isSecret(path) ? "expected \(rule.expected)" : problem.replacing(text, with: VisibleText.shown(text)))")
        return .null
    }

    private static func flag(_ text: String?) -> Bool? {
        switch text {
        case "true", "1": true
        case "false", "0": false
        default: nil
        }
    }

    private static func integer(_ text: String) -> Int64? { text.utf8.first == UInt8(ascii: "+") ? nil : Int64(text) }

    private static func number(_ scalar: JSONValue) -> JSONValue? {
        switch scalar {
        case .integer, .double: scalar
        case .string(let text) where text.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }): Double(text).map(JSONValue.double)
        default: nil
        }
    }

    private mutating func mismatch(_ value: LocatedValue, _ shape: SettingShape, at path: String, _ hint: String = "") -> JSONValue {
        // A secret must not travel into a log with the error about it.
        let shown = isSecret(path) ? "a value of another kind" : value.kind
        report(value.line, "\(path): invalid value: \(shown), expected \(shape.expectation)\(numberHint(value, shape))\(hint)")
        return .null
    }

    private func isSecret(_ path: String) -> Bool { secretDepth > 0 || SecretMask.isSecretPath(path) }

    /// The unit, and what is wrong with `1_000`, `30s` and `1GB`.
    private func numberHint(_ value: LocatedValue, _ shape: SettingShape) -> String {
        switch shape {
        case .integer, .number: break
        default: return ""
        }
        let wanted = unit.map { " (\($0))" } ?? ""
        guard let text = value.writtenText?.utf8, text.first.map({ (0x30...0x39).contains($0) }) == true else { return wanted }
        if text.allSatisfy({ (0x30...0x39).contains($0) || $0 == UInt8(ascii: "_") }), text.contains(UInt8(ascii: "_")) {
            return "\(wanted); write it without `_`"
        }
        let isNumberWithUnit = value.json.string != nil && text.last.map { $0 >= 0x41 } == true
        return isNumberWithUnit ? "\(wanted); write the number alone" : wanted
    }

    private mutating func report(_ line: Int, _ message: String) {
        problems.append(ConfigurationProblem(line: line == 0 ? nil : line, message: message))
    }

    private mutating func warn(_ line: Int, _ message: String) {
        warnings.append(ConfigurationProblem(line: line == 0 ? nil : line, message: message))
    }

    // MARK: Maps

    /// `name:` with nothing behind it is a named object with all its defaults, not a name to forget.
    private mutating func normaliseNamed(_ member: LocatedValue.Member, as shape: SettingShape, at path: String) -> JSONValue {
        if member.value.isNull, case .object = shape {
            return normalise(LocatedValue(line: member.line, content: .map([])), as: shape, at: path)
        }
        return normalise(member.value, as: shape, at: path)
    }

    private mutating func object(
        _ group: SettingGroup, _ members: [LocatedValue.Member], of value: LocatedValue, at path: String
    ) -> JSONValue {
        let problemsBefore = problems.count
        var result: [String: JSONValue] = [:]
        var inert: [(reason: String, line: Int, keys: [String])] = []
        for member in members {
            guard let setting = group[member.key] else {
                unknown(member, in: group, at: path)
                if group.isOpen { result[member.key] = member.value.json }
                continue
            }
            if member.value.isNull && !setting.shape.isNullable { continue }
            secretDepth += setting.isSecret ? 1 : 0
            let outerUnit = unit
            unit = setting.unit
            result[member.key] = normalise(member.value, as: setting.shape, at: "\(path).\(member.key)")
            unit = outerUnit
            secretDepth -= setting.isSecret ? 1 : 0
            guard let reason = setting.inert ?? group.inert else { continue }
            if let index = inert.firstIndex(where: { $0.reason == reason }) {
                inert[index].keys.append(member.key)
            } else {
                inert.append((reason, member.line, [member.key]))
            }
        }
        for setting in group.settings where result[setting.key] == nil { absent(setting, of: value, at: path) }
        for (reason, line, keys) in inert {
            warn(
                line, "\(path): \(keys.map { "`\($0)`" }.joined(separator: ", ")) \(keys.count == 1 ? "has" : "have") no effect: \(reason)")
        }
        if problems.count == problemsBefore { apply(group.rules, to: .object(result), of: group, value, at: path) }
        return .object(result)
    }

    private mutating func absent(_ setting: SettingDeclaration, of value: LocatedValue, at path: String) {
        if setting.isRequired { return report(value.line, "\(path): missing field `\(setting.key)`: \(setting.shape.expectation)") }
        guard let variable = setting.environment, let text = context.environment(variable), !text.isEmpty else { return }
        secretDepth += setting.isSecret ? 1 : 0
        _ = normalise(LocatedValue(.string(text)), as: setting.shape, at: "environment variable \(variable) (for \(path).\(setting.key))")
        secretDepth -= setting.isSecret ? 1 : 0
    }

    private mutating func apply(_ rules: [SettingRule], to json: JSONValue, of group: SettingGroup, _ value: LocatedValue, at path: String)
    {
        let values = SettingValues(group: group, json: json, context: context)
        for finding in rules.flatMap({ $0.check(values) }) {
            var line = value.line
            var place = value
            for key in finding.path {
                guard let member = place.member(key) else { break }
                (line, place) = (member.line, member.value)
            }
            let message = "\(([path] + finding.path).joined(separator: ".")): \(finding.message)"
            if finding.isWarning { warn(line, message) } else { report(line, message) }
        }
    }

    private mutating func unknown(_ member: LocatedValue.Member, in group: SettingGroup, at path: String) {
        let key = VisibleText.shown(member.key)
        if let refused = group.refused.first(where: { $0.key == member.key }) {
            return report(member.line, "\(path): unknown field `\(key)`: \(refused.cure)")
        }
        let known = group.settings.map(\.key).sorted()
        let hint = EditDistance.nearest(to: member.key, among: known).map { " (did you mean `\($0)`?)" } ?? ""
        if group.isOpen { return warn(member.line, "\(path): `\(key)` has no effect: the key is not known here\(hint)") }
        let list = known.isEmpty ? "no keys" : known.map { "`\($0)`" }.joined(separator: ", ")
        report(member.line, "\(path): unknown field `\(key)`, expected \(list)\(hint)")
    }

    private mutating func adapter(
        _ adapters: [AdapterDeclaration], _ members: [LocatedValue.Member], of value: LocatedValue, at path: String
    ) -> JSONValue {
        let names = adapters.map(\.name)
        let named = value.member("name").flatMap { member in adapters.first { $0.name == member.value.json.string } }
        let name = Setting(required: "name", SettingType<String>(.choice(names)) { json, _ in json.string }, "Which adapter.")
        let config = Setting(
            "config", SettingType<JSONValue>(.object(named?.settings ?? SettingGroup(open: true) {})) { json, _ in json }, "")
        let group = SettingGroup {
            name
            config
        }
        return object(group, members, of: value, at: path)
    }
}

extension SettingShape {
    /// Whether the outermost kind fits, so that what is wrong further inside is told about this alternative.
    func fitsKind(of value: LocatedValue) -> Bool {
        switch (self, value.content) {
        case (.anything, _): true
        case (.boolean, .scalar(.bool)), (.integer, .scalar(.integer)): true
        case (.number, .scalar(let scalar)): scalar.number != nil
        case (.text, .scalar(let scalar)), (.choice, .scalar(let scalar)): !scalar.isNull
        case (.list, .list), (.map, .map), (.object, .map), (.adapter, .map): true
        case (.nullable(let shape), _): value.isNull || shape.fitsKind(of: value)
        case (.oneOf(let alternatives), _): alternatives.contains { $0.fitsKind(of: value) }
        default: false
        }
    }
}
