import IIIProtocol

/// One element of `rbac.expose_functions` (docs/reference/access.md#what-is-exposed). Everything it names must hold.
package struct ExposureFilter: Sendable, Equatable {
    private enum Wanted: Sendable, Equatable {
        case value(JSONValue)
        case matching(FunctionPattern)

        func holds(_ value: JSONValue?) -> Bool {
            switch self {
            case .value(let wanted): value == wanted
            case .matching(let pattern): value?.string.map(pattern.matches) ?? false
            }
        }
    }

    private var pattern: FunctionPattern?
    /// nil: in every one.
    private var namespace: String?
    private var metadata: [String: Wanted] = [:]

    /// nil for what names neither a pattern nor metadata, which would expose everything.
    package init?(_ json: JSONValue) {
        if let text = json.string {
            guard let pattern = FunctionPattern(expression: text) else { return nil }
            self.pattern = pattern
            return
        }
        if let text = json["match"]?.string { pattern = FunctionPattern(expression: text) ?? FunctionPattern(text) }
        namespace = json["namespace"]?.string
        for (key, value) in json["metadata"]?.object ?? [:] {
            metadata[key] = value.string.flatMap(FunctionPattern.init(expression:)).map(Wanted.matching) ?? .value(value)
        }
        if pattern == nil, metadata.isEmpty { return nil }
    }

    /// `metadata` is asked for only if the filter looks at it.
    package func admits(_ key: FunctionKey, metadata: () -> JSONValue?) -> Bool {
        if let pattern, !pattern.matches(key.id) { return false }
        if let namespace, namespace != key.namespace { return false }
        guard !self.metadata.isEmpty else { return true }
        guard let members = metadata()?.object else { return false }
        return self.metadata.allSatisfy { $1.holds(members[$0]) }
    }
}
