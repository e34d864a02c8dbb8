import IIIProtocol

/// The members of an input that say how a change is to be made; docs/reference/state.md. Without them everything is as the baseline has it.
package struct ChangeOptions: Sendable {
    /// The entry must have this revision; 0: it must not be there.
    package var requiredRevision: Int?
    /// The entry must have this value.
    package var requiredValue: [UInt8]?
    /// The result says the revision.
    package var returnsRevision = false
    /// A value equal to the one that is there is not stored, and nobody hears of it.
    package var skipsUnchanged = false
    package var expiry: ItemEdit.Expiry

    /// Longest life of an entry: ten years.
    package static let maximumLifetime = 315_360_000_000

    package init(_ input: InputObject, expiry: ItemEdit.Expiry) throws(InputProblem) {
        requiredRevision = try input.optionalInteger("if_revision", in: 0...Int.max)
        requiredValue = try input.raw("if_value").map { Array(JSONLevel.compact($0)) }
        returnsRevision = try input.flag("return_meta")
        skipsUnchanged = try input.flag("skip_unchanged")
        self.expiry = try input.optionalInteger("ttl_ms", in: 1...Self.maximumLifetime).map { .after($0) } ?? expiry
    }

    package init() { expiry = .never }

    /// Throws `CONFLICT` where what is there is not what was demanded.
    func check(_ old: StoredItem?) throws(InvocationError) {
        if let requiredRevision, requiredRevision != old?.revision ?? 0 {
            throw Self.conflict("the revision is \(old?.revision ?? 0), not \(requiredRevision)")
        }
        guard let requiredValue else { return }
        guard let old, JSONEquality.areEqual(JSONNode(old.text), JSONNode(requiredValue)) else {
            throw Self.conflict(old == nil ? "there is no value" : "the value is another one")
        }
    }

    static func conflict(_ reason: String) -> InvocationError {
        InvocationError(.conflict, "Nothing was stored: \(reason)")
    }

    /// Nothing depends on what is stored.
    var isUnconditional: Bool { requiredRevision == nil && requiredValue == nil && !skipsUnchanged }

    func isUnchanged(_ old: StoredItem?, _ new: [UInt8]) -> Bool {
        guard skipsUnchanged, let old else { return false }
        return JSONEquality.areEqual(JSONNode(old.text), JSONNode(new), distinguishingFloats: true)
    }
}

/// How large a value may be, and what is said of a larger one.
package struct ValueLimit: Sendable {
    package let maximumBytes: Int
    package let code: ErrorCode
    /// The key that sets it.
    package let key: String

    package init(maximumBytes: Int, code: ErrorCode, key: String) {
        self.maximumBytes = maximumBytes
        self.code = code
        self.key = key
    }

    package func check(_ text: [UInt8]) throws(InvocationError) {
        guard text.count > maximumBytes else { return }
        throw InvocationError(
            code, "value of \(text.count) bytes exceeds the configured \(key) limit of \(maximumBytes)")
    }
}

/// What the functions do with an item, for `ItemStore.change`.
package enum ItemEdits {
    package typealias Decide = @Sendable (StoredItem?) throws -> ItemEdit

    package static func set(_ value: [UInt8], _ options: ChangeOptions) -> Decide {
        { old in
            try options.check(old)
            return options.isUnchanged(old, value)
                ? ItemEdit(.keep) : ItemEdit(.store(value), expiry: options.expiry, isUnconditional: options.isUnconditional)
        }
    }

    package static func remove(_ options: ChangeOptions) -> Decide {
        { old in
            try options.check(old)
            return ItemEdit(.remove, isUnconditional: options.isUnconditional)
        }
    }

    /// `isAtomic`: one operation that cannot be applied keeps all of them from being stored.
    package static func update(
        _ operations: [UpdateOperation], isAtomic: Bool, _ options: ChangeOptions, limit: ValueLimit
    ) -> Decide {
        { old in
            try options.check(old)
            var evaluation = UpdateEvaluation(stored: old?.text)
            do throws(UpdateEvaluation.Conflict) {
                try evaluation.apply(operations)
            } catch {
                throw ChangeOptions.conflict("test of operation \(error.index) at '\(error.path)' does not hold")
            }
            let notes = evaluation.errors
            if isAtomic, notes != nil { return ItemEdit(.keep, notes: notes) }
            let new = evaluation.document.bytes
            try limit.check(new)
            return options.isUnchanged(old, new)
                ? ItemEdit(.keep, notes: notes) : ItemEdit(.store(new), expiry: options.expiry, notes: notes)
        }
    }
}

/// Results of the functions, made of the texts that are stored.
package enum ItemResults {
    package static let null = Array("null".utf8)

    /// `{"old_value","new_value","errors"?,"revision"?}`.
    package static func change(_ change: ItemChange, _ options: ChangeOptions, hasNew: Bool = true) -> [UInt8] {
        var result = JSONObjectText()
        result.set("old_value", raw: change.old?.text)
        if hasNew { result.set("new_value", raw: change.new?.text) }
        if let notes = change.notes { result.set("errors", raw: notes) }
        if options.returnsRevision { result.set("revision", JSONValue(change.new?.revision ?? change.revision)) }
        return result.finish()
    }

    /// `{"value","revision","created_at","updated_at","expires_at"?}`.
    package static func described(_ item: StoredItem) -> [UInt8] {
        var result = JSONObjectText()
        result.set("value", raw: item.text)
        result.set("revision", JSONValue(item.revision))
        result.set("created_at", JSONValue(item.createdAt))
        result.set("updated_at", JSONValue(item.updatedAt))
        if let expiresAt = item.expiresAt { result.set("expires_at", JSONValue(expiresAt)) }
        return result.finish()
    }

    package static func array(_ texts: some Sequence<[UInt8]>) -> [UInt8] {
        var result = [UInt8(ascii: "[")]
        var isFirst = true
        for text in texts {
            if !isFirst { result.append(UInt8(ascii: ",")) }
            isFirst = false
            result.append(contentsOf: text)
        }
        result.append(UInt8(ascii: "]"))
        return result
    }
}
