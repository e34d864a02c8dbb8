import IIIProtocol

/// What an item may be; beyond it a call fails and nothing is stored.
package struct ItemLimits: Sendable {
    /// Bytes of a scope's, stream's, group's or item's name.
    package static let maximumNameBytes = 512
    /// Items of one group or scope.
    package static let maximumItems = 1_000_000
    /// Values of one answer of `list`, in bytes; the frame that carries them may have 64 MiB.
    package static let maximumListBytes = 48 << 20

    package static func check(_ name: ItemName, _ what: String) throws(InvocationError) {
        guard name.count > maximumNameBytes else { return }
        throw InvocationError(.limitExceeded, "\(what) has \(name.count) bytes, at most \(maximumNameBytes) are allowed")
    }

    package static func check(operations count: Int) throws(InvocationError) {
        guard count > UpdateOperation.maximumCount else { return }
        throw InvocationError(
            .limitExceeded, "\(count) operations, at most \(UpdateOperation.maximumCount) are allowed in one update")
    }

    package static let listTooLarge = InvocationError(
        .limitExceeded, "the values have more than \(maximumListBytes) bytes, which is more than one answer can carry")

    static func tooManyItems() -> InvocationError {
        InvocationError(.limitExceeded, "the group has \(maximumItems) items already; remove some, or use another group")
    }
}
