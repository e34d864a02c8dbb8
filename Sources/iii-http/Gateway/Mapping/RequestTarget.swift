/// Where path and query stand in a request target, as byte offsets (RFC 9112 §3.2).
///
/// The path is taken as it came: no decoding, no dot segments, no slash folding (docs/reference/http.md#routes). Its one
/// leading slash is left out, because registered patterns are compared without. Absolute-form targets lose scheme and
/// authority.
package struct RequestTarget: Equatable, Sendable {
    package let path: Range<Int>
    package let query: Range<Int>
    /// `OPTIONS *`: the server as a whole.
    package let isAsterisk: Bool

    package init(_ target: UnsafeRawBufferPointer) {
        var end = target.count
        if let fragment = target.firstIndex(of: UInt8(ascii: "#")) { end = fragment }
        let queryMark = target[..<end].firstIndex(of: UInt8(ascii: "?"))
        let pathEnd = queryMark ?? end
        var start = 0
        if target.first != UInt8(ascii: "/") {
            // scheme "://" authority path; without a path, the root is meant.
            start = pathEnd
            if let colon = target[..<pathEnd].firstIndex(of: UInt8(ascii: ":")), colon + 2 < pathEnd,
                target[colon + 1] == UInt8(ascii: "/"), target[colon + 2] == UInt8(ascii: "/")
            {
                start = target[(colon + 3)..<pathEnd].firstIndex(of: UInt8(ascii: "/")) ?? pathEnd
            }
        }
        if start < pathEnd { start += 1 }
        path = start..<pathEnd
        query = queryMark.map { ($0 + 1)..<end } ?? end..<end
        isAsterisk = target.count == 1 && target[0] == UInt8(ascii: "*")
    }
}
