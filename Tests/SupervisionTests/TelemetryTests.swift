import IIIProtocol
import IIITelemetry
import Logging
import Synchronization
import Testing

@Suite struct TelemetryTests {
    @Test(arguments: [
        ("info", "iii.router", Logger.Level.info), ("info,iii=debug", "iii.router", .debug), ("info,iii=debug", "other", .info),
        ("warn,iii=debug,iii.router=error", "iii.router", .error), ("OFF", "x", .critical),
    ]) func filters(text: String, label: String, level: Logger.Level) {
        #expect(LogFilter(parsing: text)?.level(for: label) == level)
    }

    @Test func unknownLevelsAreRefused() { #expect(LogFilter(parsing: "info,iii=loud") == nil) }

    final class Lines: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ bytes: [UInt8]) { lines.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) } }
        var all: [String] { lines.withLock { $0 } }
    }

    static func log(_ format: LogFormat, isJournal: Bool) -> String {
        let lines = Lines()
        let target = ConsoleLogHandler.Target(format: format, isJournal: isJournal) { lines.add($0) }
        var logger = Logger(label: "test") { ConsoleLogHandler(label: $0, level: .info, target: target) }
        logger[metadataKey: "b"] = "two words"
        logger.debug("never")
        logger.warning("hello\nforged", metadata: ["a": "1"])
        return lines.all.joined()
    }

    @Test func textIsOneLinePerEvent() {
        #expect(Self.log(.text, isJournal: true) == "<4>test: hello\\nforged a=1 b=\"two words\"\n")
        #expect(Self.log(.text, isJournal: false).hasSuffix(" WARN  test: hello\\nforged a=1 b=\"two words\"\n"))
    }

    @Test func jsonCarriesTheSame() throws {
        let value = try JSONValue(parsing: Self.log(.json, isJournal: false))
        #expect(value["level"] == "warning" && value["message"] == "hello\nforged" && value["metadata"] == ["a": "1", "b": "two words"])
    }

    @Test func stampsAreRFC3339() {
        #expect(LogTimestamp.rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z")
    }
}
