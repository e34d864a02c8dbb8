/// Cuts a byte stream into lines (docs/reference/supervisor.md#output-of-children). Pure.
///
/// Ends lines at LF, drops a CR before it, repairs invalid UTF-8. A line longer than `maximum` (64 KiB) is delivered cut,
/// with a marker, and the rest up to its LF is skipped, so memory stays bounded whatever a child writes.
package struct LineSplitter: Sendable {
    package static let maximum = 65536
    package static let marker = " …[line cut at 64 KiB]"

    private var partial: [UInt8] = []
    private var isSkipping = false
    /// Since when an unfinished line has been waiting.
    package private(set) var partialSince: Duration?

    package init() {}

    package mutating func append(_ bytes: UnsafeRawBufferPointer, now: Duration, to lines: inout [String]) {
        var start = 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n"))
            take(UnsafeRawBufferPointer(rebasing: bytes[start..<(end ?? bytes.count)]), to: &lines)
            guard let end else { break }
            if isSkipping { isSkipping = false } else { finish(to: &lines) }
            partialSince = nil
            start = end + 1
        }
        if partial.isEmpty { partialSince = nil } else if partialSince == nil { partialSince = now }
    }

    /// Delivers an unfinished line, at its deadline or at the end of the stream.
    package mutating func flush(to lines: inout [String]) {
        partialSince = nil
        if !partial.isEmpty { finish(to: &lines) }
    }

    private mutating func take(_ bytes: UnsafeRawBufferPointer, to lines: inout [String]) {
        if isSkipping { return }
        let room = Self.maximum - partial.count
        partial.append(contentsOf: bytes.prefix(room))
        if bytes.count > room {
            lines.append(String(decoding: partial, as: UTF8.self) + Self.marker)
            partial.removeAll(keepingCapacity: true)
            isSkipping = true
        }
    }

    private mutating func finish(to lines: inout [String]) {
        if partial.last == UInt8(ascii: "\r") { partial.removeLast() }
        lines.append(String(decoding: partial, as: UTF8.self))
        partial.removeAll(keepingCapacity: true)
    }
}
