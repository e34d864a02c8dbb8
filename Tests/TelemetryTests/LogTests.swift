import IIIProtocol
import IIITelemetry
import Logging
import Synchronization
import Testing

@Suite struct LogTests {
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
        #expect(value["level"] == "WARN" && value["target"] == "test" && value["timestamp"]?.string != nil)
        #expect(value["fields"] == ["message": "hello\nforged", "a": "1", "b": "two words"])
    }

    private static func lines(_ format: LogFormat, _ body: (Logger) -> Void) -> [String] {
        let lines = Lines()
        let target = ConsoleLogHandler.Target(format: format, isJournal: true) { lines.add($0) }
        body(Logger(label: "test") { ConsoleLogHandler(label: $0, level: .info, target: target) })
        return lines.all
    }

    @Test(arguments: LogFormat.allCases) func whatAWorkerSentCannotDriveATerminal(format: LogFormat) {
        let hostile = "\u{1B}]0;x\u{7}\u{9B}2J\u{7F}\u{8}"
        let text = Self.lines(format) { $0.info("id", metadata: ["id": "\(hostile)"]) }.joined().dropLast()
        #expect(!text.unicodeScalars.contains { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) })
    }

    @Test(arguments: LogFormat.allCases) func whatIsTooLongIsCutAndSaysSo(format: LogFormat) {
        let id = String(repeating: "ü", count: 500_000)
        let text = Self.lines(format) { $0.warning("refused", metadata: ["id": "\(id)"]) }.joined()
        #expect(text.utf8.count < 2_000 && text.contains("[1000000 bytes]"))
    }

    @Test func oneKindOfWarningDoesNotFillTheLog() {
        let lines = Self.lines(.text) { log in
            for number in 0..<10_000 { log.warning(.triggerParked, "waits", metadata: ["trigger": "\(number)"]) }
            log.warning(.triggerRefused, "another kind")
            for _ in 0..<1_000 { log.info("not limited") }
        }
        #expect((50...60).contains(lines.filter { $0.contains("code=trigger_parked") }.count))
        #expect(lines.contains { $0.contains("code=trigger_refused") })
        #expect(lines.filter { $0.contains("not limited") }.count == 1_000)
    }

    @Test func whatWasLeftOutIsCounted() {
        var limit = LogRateLimit()
        for _ in 0..<50 { #expect(limit.verdict("a", now: 0) == .write(leftOut: 0)) }
        for _ in 0..<7 { #expect(limit.verdict("a", now: 0) == .leaveOut) }
        #expect(limit.verdict("b", now: 0) == .write(leftOut: 0))
        #expect(limit.verdict("a", now: 200_000_000) == .write(leftOut: 7))
        #expect(limit.verdict("a", now: 0) == .leaveOut)
        #expect(limit.owed(now: 500_000_000).isEmpty)
        #expect(limit.owed(now: 2_000_000_000).map(\.leftOut) == [1] && limit.owed(now: 9_000_000_000).isEmpty)
        for kind in 0..<5_000 { _ = limit.verdict("\(kind)", now: 0) }
    }

    @Test func stampsAreRFC3339() {
        #expect(LogTimestamp.rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123Z")
    }
}
