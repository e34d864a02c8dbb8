import Glibc
import IIIProtocol

/// Every function in the order and the words in which listings show it, made once per change of the registry and not once per
/// question: `engine::functions::list` is asked far more often than anything registers. Confined to the engine's loop.
final class FunctionListing {
    struct Entry {
        let record: FunctionRecord
        let workerName: String
        /// `engine::*` and the like, listed with `include_internal` only.
        let isInternal: Bool
        /// Its registrant marked it so (`metadata: {"internal": true}`): the same.
        let isMarkedInternal: Bool
        /// Id and description in lower case, for `search`; nil for a long one, made anew for each question.
        fileprivate let searchText: [UInt8]?
        fileprivate let row: [UInt8]?
    }

    /// Rows kept in all, in bytes; beyond, rows are made anew for each question.
    private static let keptBytes = 16 << 20
    private static let longestSearchText = 1 << 10

    private unowned let engine: Engine
    private var entries: [Entry] = []
    private var functionGeneration = -1
    private var isStale = true

    init(engine: Engine) { self.engine = engine }

    /// A worker calls itself something else.
    func namesChanged() { isStale = true }

    var current: [Entry] {
        let generation = engine.registry.functions.generation
        if isStale || generation != functionGeneration {
            isStale = false
            functionGeneration = generation
            rebuild()
        }
        return entries
    }

    func row(_ entry: Entry) -> [UInt8] { entry.row ?? engine.functionRow(entry.record) }

    /// Whether id or description hold `needle`, which is in lower case.
    func matches(_ entry: Entry, _ needle: [UInt8]) -> Bool {
        let text = entry.searchText ?? Self.searchText(entry.record)
        return Self.contains(text, needle)
    }

    private static func contains(_ text: [UInt8], _ needle: [UInt8]) -> Bool {
        guard let first = needle.first else { return true }
        return text.withUnsafeBytes { bytes in
            var offset = 0
            while bytes.count - offset >= needle.count, let base = bytes.baseAddress,
                let hit = memchr(base + offset, Int32(first), bytes.count - offset - needle.count + 1)
            {
                if memcmp(hit, needle, needle.count) == 0 { return true }
                offset = UnsafeRawPointer(hit) - base + 1
            }
            return false
        }
    }

    private func rebuild() {
        var kept = 0
        entries = []
        entries = engine.registry.functions.all.sorted { $0.key.id < $1.key.id }.map { record in
            let row = engine.functionRow(record)
            kept += row.count
            let text = Self.searchText(record)
            let metadata = record.current?.metadata.flatMap { try? JSONValue(parsing: $0) }
            return Entry(
                record: record, workerName: engine.workerName(record.current?.worker).string ?? "",
                isInternal: engine.isInternal(record.key.id), isMarkedInternal: metadata?["internal"] == true,
                searchText: text.count <= Self.longestSearchText ? text : nil, row: kept <= Self.keptBytes ? row : nil)
        }
    }

    private static func searchText(_ record: FunctionRecord) -> [UInt8] {
        Array((record.key.id + " " + (record.current?.description ?? record.builtin?.description ?? "")).lowercased().utf8)
    }
}
