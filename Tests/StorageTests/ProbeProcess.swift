import Foundation
import Testing

/// A process of `store-probe` (Tests/StorageProbe), read line by line.
final class ProbeProcess {
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var rest = Data()

    static let path = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "store-probe")
        .path

    init(_ words: String...) throws { try start([Self.path] + words) }

    /// Runs `script` with the probe's path as `$0` and `words` behind it, in a mount namespace of its own.
    init(inNamespace script: String, _ words: String...) throws {
        let flags = getuid() == 0 ? ["-m"] : ["-r", "-m"]
        try start(["/usr/bin/unshare"] + flags + ["/bin/sh", "-c", script, Self.path] + words)
    }

    private func start(_ words: [String]) throws {
        process.executableURL = URL(filePath: words[0])
        process.arguments = Array(words.dropFirst())
        process.standardInput = input
        process.standardOutput = output
        process.standardError = output
        try process.run()
        try? output.fileHandleForWriting.close()
    }

    /// nil at the end of its output.
    func line() -> String? {
        while true {
            if let end = rest.firstIndex(of: 0x0a) {
                defer { rest = Data(rest[rest.index(after: end)...]) }
                return String(decoding: rest[..<end], as: UTF8.self)
            }
            let more = output.fileHandleForReading.availableData
            guard !more.isEmpty else { return nil }
            rest += more
        }
    }

    var identifier: Int32 { process.processIdentifier }

    func kill() { _ = Foundation.kill(process.processIdentifier, SIGKILL) }

    func finish() {
        try? input.fileHandleForWriting.close()
        while line() != nil {}
        process.waitUntilExit()
    }

    /// The last line of a probe that ends by itself.
    func answer() -> String {
        try? input.fileHandleForWriting.close()
        var last = ""
        while let line = line() { last = line }
        process.waitUntilExit()
        return last
    }
}

/// A directory that goes away with its test.
final class ScratchDirectory {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appending(path: "iii-store-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Changes one byte of a file.
func flip(_ path: String, at offset: Int, with mask: UInt8) throws {
    let file = try FileHandle(forUpdating: URL(filePath: path))
    defer { try? file.close() }
    try file.seek(toOffset: UInt64(offset))
    let old = try #require(try file.read(upToCount: 1)?.first)
    try file.seek(toOffset: UInt64(offset))
    try file.write(contentsOf: Data([old ^ mask]))
}

func fileSize(_ path: String) -> Int {
    (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int).flatMap { $0 } ?? 0
}
