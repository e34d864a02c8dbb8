import IIIItems

/// The paths of the stream port: `/`, and `/stream/<stream>/<group>[/<item>]`, which joins by itself. Split first, each part decoded once.
enum StreamPath: Equatable {
    case root
    case group(stream: ItemName, group: ItemName, item: ItemName?)
    case unknown
    /// Parts that are empty, dots, or not decodable.
    case malformed

    init(_ path: String) {
        if path == "/" || path.isEmpty {
            self = .root
            return
        }
        var parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst().map(String.init)
        guard parts.first == "stream" else {
            self = .unknown
            return
        }
        parts.removeFirst()
        if parts.last == "" { parts.removeLast() }
        guard parts.count == 2 || parts.count == 3 else {
            self = parts.count < 2 ? .unknown : .malformed
            return
        }
        let names = parts.compactMap(Self.decoded)
        guard names.count == parts.count else {
            self = .malformed
            return
        }
        self = .group(stream: names[0], group: names[1], item: names.count == 3 ? names[2] : nil)
    }

    private static func decoded(_ part: String) -> ItemName? {
        guard !part.isEmpty, part != ".", part != ".." else { return nil }
        return PercentEncoding.decoded(part).map { ItemName($0) }
    }
}
