import Foundation
import Testing

/// Who may import whom (ARCHITECTURE.md): read from the sources themselves, so that no build setting can hide an edge.
@Suite struct ImportRulesTests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Folder below Sources → modules of ours it may import.
    static let allowed: [String: Set<String>] = [
        "Shared/Protocol": [],
        "Shared/Crypto": [],
        "Shared/Settings": ["IIIProtocol"],
        "Shared/HTTPClient": [],
        "Shared/TLS": ["IIISettings"],
        "Shared/Telemetry": ["IIIProtocol"],
        "Shared/Configuration": ["IIIProtocol", "IIISettings"],
        "Shared/Transport": ["IIIProtocol", "IIICrypto", "IIITelemetry"],
        "Shared/WorkerSession": ["IIISettings", "IIIProtocol", "IIITelemetry", "IIITransport"],
        "Shared/Storage": ["IIIProtocol", "IIITelemetry"],
        "Shared/Redis": ["IIIProtocol", "IIICrypto", "IIITLS", "IIITelemetry"],
        "Shared/AMQP": [],
        "Shared/Server": ["IIIProtocol", "IIICrypto", "IIITLS", "IIITelemetry", "IIITransport"],
        "Shared/TestSupport": ["IIIProtocol", "IIITransport", "IIIWorker", "IIIEngine"],
        "iii-core/Engine": ["IIIProtocol", "IIISettings", "IIIServer", "IIITLS", "IIITransport", "IIICrypto", "IIITelemetry"],
        "iii-core/Supervision": ["IIIProtocol", "IIISettings", "IIIConfiguration", "IIITelemetry"],
        "iii-core/Command": [
            "IIIProtocol", "IIIServer", "IIIStorage", "IIITLS", "IIITransport", "IIICrypto", "IIITelemetry", "IIIConfiguration",
            "IIISettings", "IIIWorker", "IIIEngine", "IIISupervision",
        ],
        "iii-http/Gateway": [
            "IIIProtocol", "IIISettings", "IIIServer", "IIITransport", "IIICrypto", "IIITLS", "IIITelemetry", "IIIWorker",
        ],
        "iii-http/Outbound": ["IIIHTTPClient", "IIIProtocol", "IIISettings", "IIICrypto", "IIITelemetry", "IIIWorker"],
        "iii-stream/Items": ["IIIProtocol", "IIIRedis", "IIISettings", "IIIStorage", "IIITelemetry", "IIIWorker"],
        "iii-stream/Contract": ["IIIItems", "IIIProtocol"],
        "iii-stream/State": ["IIIProtocol", "IIISettings", "IIITelemetry", "IIIWorker", "IIIItems"],
        "iii-stream/Stream": [
            "IIIProtocol", "IIIServer", "IIISettings", "IIITLS", "IIITelemetry", "IIITransport", "IIIWorker", "IIIItems",
        ],
        "iii-stream/Command": ["IIITelemetry", "IIIWorker", "IIIState", "IIIStream"],
        "iii-queue/Queue": ["IIIAMQP", "IIIProtocol", "IIISettings", "IIICrypto", "IIIStorage", "IIIRedis", "IIITelemetry", "IIIWorker"],
        "iii-queue/Contract": ["IIIWorker", "IIIQueue"],
        "iii-queue/Command": ["IIITelemetry", "IIIWorker", "IIIQueue"],
        "iii-cron/Cron": [
            "IIIProtocol", "IIISettings", "IIICrypto", "IIIStorage", "IIIRedis", "IIITelemetry", "IIIWorker",
        ],
        "iii-cron/Contract": ["IIICron"],
        "iii-cron/Command": ["IIITelemetry", "IIIWorker", "IIICron"],
        "iii-observability/Model": ["IIIProtocol"],
        "iii-observability/OTLP": ["IIIProtocol", "IIISignals"],
        "iii-observability/Observability": [
            "IIIHTTPClient", "IIIOTLP", "IIIProtocol", "IIIServer", "IIISettings", "IIISignals", "IIIStorage", "IIITelemetry", "IIIWorker",
        ],
        "iii-observability/Command": ["IIITelemetry", "IIIWorker", "IIIObservability"],
        "iii-http/Command": ["IIIProtocol", "IIITelemetry", "IIIWorker", "IIIHTTPGateway", "IIIHTTPFunctions"],
    ]

    /// Only these may touch sockets; the protocol, the tables' rules and configuration stay free of I/O.
    static let withoutNIO: Set<String> = [
        "Shared/Protocol", "Shared/Crypto", "Shared/Settings", "Shared/Telemetry", "Shared/Configuration", "Shared/Storage",
        "iii-core/Supervision", "iii-observability/Model", "iii-observability/OTLP",
    ]

    @Test(arguments: allowed.keys.sorted())
    func importsOnlyWhatItMay(_ folder: String) throws {
        let files = try Self.swiftFiles(below: Self.root.appending(path: "Sources/\(folder)"))
        #expect(!files.isEmpty, "no sources in \(folder)")
        for file in files {
            for module in try Self.imports(of: file) {
                if module.hasPrefix("III") {
                    #expect(Self.allowed[folder]?.contains(module) == true, "\(file.lastPathComponent) in \(folder) imports \(module)")
                }
                if module.hasPrefix("NIO") {
                    #expect(!Self.withoutNIO.contains(folder), "\(file.lastPathComponent) in \(folder) imports \(module)")
                }
                #expect(
                    module != "Foundation", "\(file.lastPathComponent): Foundation is not used in Sources; FoundationEssentials at most")
            }
        }
    }

    @Test func everySourceFolderHasARule() throws {
        for file in try Self.swiftFiles(below: Self.root.appending(path: "Sources")) {
            let path = file.path.replacingOccurrences(of: Self.root.appending(path: "Sources").path + "/", with: "")
            #expect(Self.allowed.keys.contains { path.hasPrefix($0 + "/") }, "\(path) is in no folder of the layout")
        }
    }

    @Test func commandsStayThin() throws {
        for folder in Self.allowed.keys where folder.hasSuffix("/Command") {
            for file in try Self.swiftFiles(below: Self.root.appending(path: "Sources/\(folder)")) {
                let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false).count
                #expect(lines <= 200, "\(file.lastPathComponent) has \(lines) lines; move the logic into a library")
            }
        }
    }

    static func swiftFiles(below folder: URL) throws -> [URL] {
        let all =
            FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil, options: .skipsHiddenFiles)?.compactMap {
                $0 as? URL
            } ?? []
        return all.filter { $0.pathExtension == "swift" }
    }

    private static func imports(of file: URL) throws -> [String] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let index = words.firstIndex(of: "import"), index <= 1, index + 1 < words.count, !line.hasPrefix(" "),
                !line.hasPrefix("/")
            else { return nil }
            return String(words[index + 1])
        }
    }
}
