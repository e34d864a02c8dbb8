/// A name as its owner wrote it, of a scope, stream, group or item: two names are equal when their bytes are.
///
/// `String` would take different spellings of one accented letter for the same name; then what two programs keep under different
/// names would be one item in memory and two in a store.
public struct ItemName: Hashable, Comparable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    public let text: String

    public init(_ text: String) { self.text = text }
    public init(stringLiteral text: String) { self.text = text }

    public var description: String { text }
    /// Length in bytes.
    public var count: Int { text.utf8.count }

    /// Compared byte by byte, as everything here.
    public func hasPrefix(_ prefix: ItemName) -> Bool { text.utf8.starts(with: prefix.text.utf8) }

    public static func == (left: ItemName, right: ItemName) -> Bool { left.text.utf8.elementsEqual(right.text.utf8) }
    public static func < (left: ItemName, right: ItemName) -> Bool { left.text.utf8.lexicographicallyPrecedes(right.text.utf8) }

    public func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

/// Where the items of one list are: a group of a stream, or a scope of the state, which has no stream.
public struct ItemGroup: Hashable, Sendable {
    /// Empty for scopes.
    public let stream: ItemName
    public let name: ItemName

    public init(stream: ItemName = "", name: ItemName) {
        self.stream = stream
        self.name = name
    }
}

/// Where one item is.
public struct ItemAddress: Hashable, Sendable {
    public let group: ItemGroup
    public let key: ItemName

    public init(group: ItemGroup, key: ItemName) {
        self.group = group
        self.key = key
    }
}
