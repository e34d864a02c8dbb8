import IIIProtocol

/// What becomes of a document under the operations of one update; docs/reference/updates.md. Pure.
///
/// Operations are applied in their order, each to what the ones before it have left. One that cannot be applied changes nothing and
/// adds an entry to `errors`. Only a `test` that does not hold ends the whole update.
package struct UpdateEvaluation: Sendable {
    package struct Failure: Sendable, Equatable {
        package let index: Int
        package let refusal: UpdateRefusal
    }

    /// A `test` did not hold.
    package struct Conflict: Error, Sendable, Equatable {
        package let index: Int
        package let path: String
    }

    package private(set) var document: JSONNode
    package private(set) var failures: [Failure] = []
    /// There was no document, and no operation has taken effect yet. An increment or append of the document itself then begins with
    /// nothing instead of `{}`.
    private var isMissing: Bool

    /// nil: there is no document.
    package init(stored: [UInt8]?) {
        document = JSONNode(stored ?? Array("{}".utf8))
        isMissing = stored == nil
    }

    package mutating func apply(_ operations: [UpdateOperation]) throws(Conflict) {
        for (index, operation) in operations.enumerated() {
            if case .test(let expected) = operation.change {
                guard holds(operation.path, expected) else { throw Conflict(index: index, path: operation.path.shown) }
                continue
            }
            do throws(UpdateRefusal) {
                try operation.path.check(operation.kind)
                try apply(operation)
            } catch {
                failures.append(Failure(index: index, refusal: error))
            }
        }
    }

    /// What is missing equals nothing, `null` least of all.
    private func holds(_ path: UpdatePath, _ expected: JSONNode) -> Bool {
        guard !isMissing, let found = member(at: path) else { return false }
        return JSONEquality.areEqual(found, expected)
    }

    private mutating func apply(_ operation: UpdateOperation) throws(UpdateRefusal) {
        let path = operation.path
        switch operation.change {
        case .set(let value): try set(path, value)
        case .merge(let value): try merge(path, value)
        case .add(let amount): try add(operation, amount)
        case .append(let value): try append(path, value)
        case .remove: try remove(path)
        case .test: break
        }
        isMissing = false
    }

    // MARK: Access

    /// What stands at `path`; nil where nothing does.
    private func member(at path: UpdatePath) -> JSONNode? {
        var node = document
        for segment in path.segments {
            guard let next = node.member(segment) else { return nil }
            node = next
        }
        return node
    }

    /// Puts `value` at `path`; whatever is no object on the way becomes one.
    private mutating func put(_ path: UpdatePath, _ value: JSONNode) {
        guard let last = path.segments.last else {
            document = value
            return
        }
        withObject(at: path.segments.dropLast()) { $0.set(last, value) }
    }

    private mutating func withObject(at segments: ArraySlice<ItemName>, _ body: (inout JSONObjectNode) -> Void) {
        document.withObject { Self.descend(&$0, segments, body) }
    }

    /// At most as deep as a path is long.
    private static func descend(_ object: inout JSONObjectNode, _ segments: ArraySlice<ItemName>, _ body: (inout JSONObjectNode) -> Void) {
        guard let next = segments.first else { return body(&object) }
        object.withObject(next) { descend(&$0, segments.dropFirst(), body) }
    }

    private func demandObject(_ kind: UpdateOperation.Kind, _ path: UpdatePath) throws(UpdateRefusal) {
        guard document.kind != .object else { return }
        let shown = kind == .append ? path.bracketed : path.shown
        throw UpdateRefusal(
            kind, "target_not_object",
            "Cannot \(kind.rawValue) at path '\(shown)': target is \(document.kind.rawValue), expected object.")
    }

    // MARK: Operations

    private mutating func set(_ path: UpdatePath, _ value: JSONNode) throws(UpdateRefusal) {
        if !path.isRoot { try demandObject(.set, path) }
        put(path, value)
    }

    private mutating func remove(_ path: UpdatePath) throws(UpdateRefusal) {
        guard let last = path.segments.last else {
            document = JSONNode("null")
            return
        }
        try demandObject(.remove, path)
        guard member(at: path) != nil else { return }
        withObject(at: path.segments.dropLast()) { $0.remove(last) }
    }

    private static let maximumMergeMembers = 1024
    private static let maximumMergeDepth = 16

    private mutating func merge(_ path: UpdatePath, _ value: JSONNode) throws(UpdateRefusal) {
        var value = value
        value.open()
        guard case .object(let members) = value else {
            throw UpdateRefusal(.merge, "value.not_an_object", "Merge value must be a JSON object")
        }
        guard members.count <= Self.maximumMergeMembers else {
            throw UpdateRefusal(
                .merge, "value.too_many_keys",
                "Merge value has \(members.count) top-level keys, exceeds maximum of \(Self.maximumMergeMembers)")
        }
        let all = members.all
        if let polluting = all.first(where: { UpdatePath.isForbidden($0.name) }) {
            throw UpdateRefusal(
                .merge, "value.proto_polluted", "Merge value top-level key \"\(polluting.name)\" is a prototype-pollution sink")
        }
        let depth = value.depth
        guard depth <= Self.maximumMergeDepth else {
            throw UpdateRefusal(
                .merge, "value.too_deep", "Merge value JSON nesting depth \(depth) exceeds maximum of \(Self.maximumMergeDepth)")
        }
        // A root that is no object is left alone, without an error.
        if path.isRoot, document.kind != .object { return }
        withObject(at: path.segments[...]) { target in
            for member in all { target.set(member.name, literal: member.literal, member.value) }
        }
    }

    private mutating func add(_ operation: UpdateOperation, _ amount: JSONNumber) throws(UpdateRefusal) {
        let path = operation.path
        if !path.isRoot { try demandObject(operation.kind, path) }
        let current = path.isRoot && isMissing ? nil : member(at: path)
        let sum: JSONNumber? =
            switch current {
            case nil: amount
            case .some(let node) where node.kind == .number:
                JSONNumber(node.bytes[...]).flatMap { $0.adding(amount) }
            case .some: nil
            }
        guard let sum else {
            let found = (current?.kind ?? .number).rawValue
            throw UpdateRefusal(operation.kind, "not_number", "Expected number at path '\(path.shown)', got \(found).")
        }
        put(path, JSONNode(sum.text))
    }

    private mutating func append(_ path: UpdatePath, _ value: JSONNode) throws(UpdateRefusal) {
        if !path.isRoot {
            try demandObject(.append, path)
            // As the reference does it: also one that fails below has looked at the document as an object.
            if path.segments.count == 1 { isMissing = false }
        }
        let current = path.isRoot && isMissing ? nil : member(at: path)
        guard let target = current, target.kind != .null else {
            let becomesText = value.kind == .string && (current != nil || path.segments.count < 2)
            return put(path, becomesText ? value : .array([value]))
        }
        switch target.kind {
        case .array: put(path, .text(Self.extending(target.bytes, by: value.bytes)[...]))
        case .string:
            guard value.kind == .string else {
                throw UpdateRefusal(
                    .append, "type_mismatch", "Expected string append value at path '\(path.leaf)', got \(value.kind.rawValue).")
            }
            put(path, .text((target.bytes.dropLast() + value.bytes.dropFirst())[...]))
        case .number, .boolean, .object, .null:
            throw UpdateRefusal(
                .append, "type_mismatch",
                "Cannot append at path '\(path.leaf)': target is \(target.kind.rawValue), expected array, string, null, or missing field.")
        }
    }

    /// `array` with one element more; the others are not looked at.
    private static func extending(_ array: [UInt8], by element: [UInt8]) -> [UInt8] {
        var text = array
        text.removeLast()
        if text.count > 1 { text.append(UInt8(ascii: ",")) }
        text.append(contentsOf: element)
        text.append(UInt8(ascii: "]"))
        return text
    }
}

extension UpdateEvaluation {
    /// Where the codes are explained.
    static let documentation = "https://iii.dev/docs/workers/iii-state#error-codes"

    /// `errors` of a result; nil when every operation took effect.
    package var errors: [UInt8]? {
        guard !failures.isEmpty else { return nil }
        let rows = failures.map { failure -> JSONValue in
            [
                "op_index": JSONValue(failure.index), "code": .string(failure.refusal.code), "message": .string(failure.refusal.message),
                "doc_url": .string(Self.documentation),
            ]
        }
        return JSONValue.array(rows).bytes
    }
}
