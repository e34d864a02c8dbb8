import Glibc
import IIIProtocol
import IIIStorage

/// How the reference has named its files: one per scope, or one per group under `stream:<stream>:<group>`.
package enum ReferenceLayout: Sendable {
    case state
    case streams

    /// nil for an index that is not of this kind. In a name of several colons the first two count.
    func group(_ index: String) -> ItemGroup? {
        switch self {
        case .state: return ItemGroup(name: ItemName(index))
        case .streams:
            let parts = index.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3, parts[0] == "stream" else { return nil }
            return ItemGroup(stream: ItemName(String(parts[1])), name: ItemName(String(parts[2])))
        }
    }
}

/// The `*.bin` files of the reference's `file_based` store: one JSON object from the first byte on, then bytes that do not matter.
///
/// They are read once, when a directory has no store of ours yet, and never changed. One that cannot be read ends the start: an engine
/// that began without what was there would be taken for one that has lost it.
struct ReferenceFiles {
    private let directory: String
    private let layout: ReferenceLayout
    private let names: [String]

    /// Largest file that is read.
    private static let maximumBytes = 1 << 30

    init(directory: String, layout: ReferenceLayout) throws {
        self.directory = directory
        self.layout = layout
        guard let listing = opendir(directory) else {
            names = []
            return
        }
        defer { closedir(listing) }
        var names: [String] = []
        while let entry = readdir(listing) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name.hasSuffix(".bin") { names.append(name) }
        }
        self.names = names.sorted()
    }

    /// Hands every value to `body`, those of one group in their order; answers how much there was.
    func importAll(_ body: (ItemGroup, ItemName, [UInt8]) throws -> Void) throws -> (files: Int, items: Int) {
        var items = 0
        for name in names {
            let path = "\(directory)/\(name)"
            guard let index = PercentEncoding.decoded(name.dropLast(4)), let group = layout.group(index) else {
                throw refusal(path, "its name is not one that the other engine gives for this kind of data")
            }
            let bytes = try read(path)
            guard let object = Self.object(bytes) else { throw refusal(path, "it does not begin with a JSON object") }
            for (key, value) in JSONLevel.members(of: object) {
                let key = object[key].withUnsafeBytes { JSONText.decodeString($0) } ?? ""
                try body(group, ItemName(key), Array(JSONLevel.compact(object[value])))
                items += 1
            }
        }
        return (names.count, items)
    }

    private func refusal(_ path: String, _ reason: String) -> StorageError {
        StorageError(
            .foreignFile,
            "'\(path)' looks like a file of another engine's store, but \(reason); move it away, or name another directory (file_path)"
        )
    }

    private static func object(_ bytes: [UInt8]) -> ArraySlice<UInt8>? {
        let end = bytes.withUnsafeBytes { bytes -> Int? in
            var cursor = JSONCursor(bytes)
            cursor.skipWhitespace()
            guard cursor.peek == UInt8(ascii: "{"), cursor.skipValue() else { return nil }
            return cursor.position
        }
        return end.map { bytes[..<$0] }
    }

    private func read(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw refusal(path, "it cannot be opened: \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size <= Self.maximumBytes else { throw refusal(path, "it is larger than 1 GiB") }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeMutableBytes { buffer in
                Glibc.read(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw refusal(path, "it cannot be read") }
            done += count
        }
        return bytes
    }
}
