/// One operation of an update, decoded; docs/reference/updates.md.
package struct UpdateOperation: Sendable {
    package enum Kind: String, Sendable, CaseIterable { case set, merge, increment, decrement, append, remove, test }

    package enum Change: Sendable {
        case set(JSONNode)
        /// Any value: that it is an object is checked when it is applied.
        case merge(JSONNode)
        /// Decrements are additions of the negative.
        case add(JSONNumber)
        case append(JSONNode)
        case remove
        case test(JSONNode)
    }

    package let kind: Kind
    package let path: UpdatePath
    package let change: Change

    /// Most operations of one update.
    package static let maximumCount = 1000

    /// Decodes the `ops` of an input. Anything wrong with one of them fails the whole call.
    package static func decode(_ elements: [ArraySlice<UInt8>]) throws(InputProblem) -> [UpdateOperation] {
        var operations: [UpdateOperation] = []
        operations.reserveCapacity(elements.count)
        for element in elements { operations.append(try UpdateOperation(element)) }
        return operations
    }

    init(_ text: ArraySlice<UInt8>) throws(InputProblem) {
        let input = try InputObject(text, as: "an update operation")
        let type = try input.string("type")
        guard let kind = Kind(rawValue: type) else {
            let known = Kind.allCases.map { "`\($0.rawValue)`" }.joined(separator: ", ")
            throw InputProblem("unknown variant `\(type)`, expected one of \(known)")
        }
        self.kind = kind
        path = try UpdatePath(try input.raw("path"), isOptional: kind == .merge || kind == .append)
        switch kind {
        case .set: change = .set(.text(try input.raw("value").map(JSONLevel.compact) ?? Array("null".utf8)[...]))
        case .merge: change = .merge(.text(try input.value("value")))
        case .append: change = .append(.text(try input.value("value")))
        case .test: change = .test(.text(try input.value("value")))
        case .remove: change = .remove
        case .increment, .decrement:
            change = .add(try Self.amount(try input.value("by"), isNegated: kind == .decrement))
        }
    }

    /// An integer of 64 bits, or, beyond the reference, any finite double.
    private static func amount(_ text: ArraySlice<UInt8>, isNegated: Bool) throws(InputProblem) -> JSONNumber {
        guard JSONNode.text(text).kind == .number else { throw .mismatch(text, expected: "i64") }
        switch JSONNumber(text) {
        case .integer(let value) where value >= Int128(Int64.min) && value <= Int128(Int64.max): return .integer(isNegated ? -value : value)
        case .double(let value) where text.contains { !($0 == UInt8(ascii: "-") || (0x30...0x39).contains($0)) }:
            return .double(isNegated ? -value : value)
        default: throw .mismatch(text, expected: "i64")
        }
    }
}

/// An operation that did not take effect; the ones after it go on.
package struct UpdateRefusal: Error, Sendable, Equatable {
    package let code: String
    package let message: String

    init(_ operation: UpdateOperation.Kind, _ code: String, _ message: String) {
        self.code = "\(operation.rawValue).\(code)"
        self.message = message
    }
}
