import IIIProtocol

extension ConfigurationSchema {
    /// Every place where `value` does not fit, each with its line and the path of keys that leads there.
    package func problems(in value: LocatedValue, path: String) -> [ConfigurationProblem] {
        if value.isNull { return [] }
        switch (self, value.content) {
        case (.any, _), (.bool, .scalar(.bool)), (.string, .scalar(.string)): return []
        case (.integer(let range), .scalar(.integer(let number))) where range.contains(number): return []
        case (.number(let range), .scalar(let scalar)) where scalar.number.map(range.contains) ?? false: return []
        case (.choice(let words), .scalar(.string(let word))):
            if words.contains(word) { return [] }
            let hint = EditDistance.nearest(to: word, among: words).map { " (did you mean `\($0)`?)" } ?? ""
            return [mismatch(value, path, hint)]
        case (.checkedString(_, let isValid), .scalar(.string(let text))): return isValid(text) ? [] : [mismatch(value, path)]
        case (.list(let element), .list(let elements)):
            return elements.enumerated().flatMap { element.problems(in: $0.element, path: "\(path)[\($0.offset)]") }
        case (.map(let element), .map(let members)):
            return members.flatMap { element.problems(in: $0.value, path: "\(path).\($0.key)") }
        case (.object(let object), .map(let members)): return object.problems(in: members, line: value.line, path: path)
        case (.either(let alternatives), _):
            guard let fitting = alternatives.first(where: { $0.fitsKind(of: value) }) else { return [mismatch(value, path)] }
            return fitting.problems(in: value, path: path)
        default: return [mismatch(value, path)]
        }
    }

    private func mismatch(_ value: LocatedValue, _ path: String, _ hint: String = "") -> ConfigurationProblem {
        // A value under a secret key must not travel into a log with the error about it.
        let shown = SecretMask.isSecretPath(path) ? "a value of another kind" : value.kind
        return ConfigurationProblem(line: value.line, message: "\(path): invalid value: \(shown), expected \(expectation)\(hint)")
    }

    private func fitsKind(of value: LocatedValue) -> Bool {
        switch (self, value.content) {
        case (.any, _), (.bool, .scalar(.bool)), (.integer, .scalar(.integer)), (.string, .scalar(.string)), (.choice, .scalar(.string)),
            (.checkedString, .scalar(.string)), (.list, .list), (.map, .map), (.object, .map):
            true
        case (.number, .scalar(let scalar)): scalar.number != nil
        default: false
        }
    }
}

extension ConfigurationSchema.Object {
    fileprivate func problems(in members: [LocatedValue.Member], line: Int, path: String) -> [ConfigurationProblem] {
        var problems: [ConfigurationProblem] = []
        for member in members {
            if let field = fields[member.key] {
                problems += field.schema.problems(in: member.value, path: "\(path).\(member.key)")
            } else if !isOpen {
                problems.append(unknown(member, path: path))
            }
        }
        for (key, field) in fields.sorted(by: { $0.key < $1.key }) where field.isRequired {
            let isPresent = members.contains { $0.key == key && !$0.value.isNull }
            if !isPresent { problems.append(ConfigurationProblem(line: line, message: "\(path): missing field `\(key)`")) }
        }
        return problems
    }

    private func unknown(_ member: LocatedValue.Member, path: String) -> ConfigurationProblem {
        let known = fields.keys.sorted()
        let hint = EditDistance.nearest(to: member.key, among: known).map { " (did you mean `\($0)`?)" } ?? ""
        let list = known.isEmpty ? "no keys" : known.map { "`\($0)`" }.joined(separator: ", ")
        return ConfigurationProblem(
            line: member.line, message: "\(path): unknown field `\(member.key)`, expected \(list)\(hint)")
    }
}
