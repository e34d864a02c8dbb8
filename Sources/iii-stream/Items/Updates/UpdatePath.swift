/// Where in a document an operation works: names of members, one inside of the other. None is the document itself.
package struct UpdatePath: Sendable, Hashable {
    package static let maximumSegments = 32
    package static let maximumSegmentBytes = 256
    private static let forbidden: Set<ItemName> = ["__proto__", "constructor", "prototype"]

    package let segments: [ItemName]

    /// A text is one name, never several with dots between them; the empty text is the document itself.
    package init(_ text: String) { segments = text.isEmpty ? [] : [ItemName(text)] }
    package init(segments: [ItemName]) { self.segments = segments }

    /// From a `path` as it was sent. `null` is accepted where `isOptional`.
    init(_ value: ArraySlice<UInt8>?, isOptional: Bool) throws(InputProblem) {
        guard let value else {
            guard isOptional else { throw .missing("path") }
            self.init(segments: [])
            return
        }
        switch JSONNode.text(value).kind {
        case .null where isOptional: self.init(segments: [])
        case .array:
            var segments: [ItemName] = []
            for element in JSONLevel.elements(of: value) { segments.append(ItemName(try InputObject.string(value[element]))) }
            self.init(segments: segments)
        default: self.init(try InputObject.string(value))
        }
    }

    package var isRoot: Bool { segments.isEmpty }

    /// As messages show it.
    var shown: String {
        switch segments.count {
        case 0: "root"
        case 1: segments[0].text
        default: bracketed
        }
    }

    var bracketed: String { "[" + segments.map(\.text).joined(separator: ", ") + "]" }
    /// The last name, as messages about what stands there show it.
    var leaf: String { segments.last?.text ?? "root" }

    func check(_ operation: UpdateOperation.Kind) throws(UpdateRefusal) {
        guard segments.count <= Self.maximumSegments else {
            throw UpdateRefusal(
                operation, "path.too_deep", "Path depth \(segments.count) exceeds maximum of \(Self.maximumSegments)")
        }
        for segment in segments {
            guard segment.count > 0 else { throw UpdateRefusal(operation, "path.empty_segment", "Path contains an empty segment") }
            guard segment.count <= Self.maximumSegmentBytes else {
                throw UpdateRefusal(
                    operation, "path.segment_too_long",
                    "Path segment of \(segment.count) bytes exceeds maximum of \(Self.maximumSegmentBytes)")
            }
            guard !Self.isForbidden(segment) else {
                throw UpdateRefusal(
                    operation, "path.proto_polluted", "Path segment '\(segment)' is not allowed (prototype pollution).")
            }
        }
    }

    static func isForbidden(_ name: ItemName) -> Bool { forbidden.contains(name) }
}
