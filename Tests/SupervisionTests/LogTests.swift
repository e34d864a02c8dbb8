import IIIProtocol
import Testing

@testable import IIISupervision

@Suite struct LogTests {
    static func split(_ chunks: [String]) -> [String] {
        var splitter = LineSplitter()
        var lines: [String] = []
        for chunk in chunks { Array(chunk.utf8).withUnsafeBytes { splitter.append($0, now: .zero, to: &lines) } }
        splitter.flush(to: &lines)
        return lines
    }

    @Test(arguments: [
        (["a\nb\n"], ["a", "b"]), (["a", "b\nc"], ["ab", "c"]), (["a\r\n\r\n"], ["a", ""]), (["\n\n"], ["", ""]), ([], []),
    ]) func splits(chunks: [String], lines: [String]) { #expect(Self.split(chunks) == lines) }

    @Test func tenMegabytesWithoutNewlineBecomeOneCutLine() {
        let lines = Self.split(Array(repeating: String(repeating: "x", count: 65536), count: 160) + ["\nnext\n"])
        #expect(lines.count == 2)
        #expect(lines.first?.utf8.count == LineSplitter.maximum + LineSplitter.marker.utf8.count)
        #expect(lines.last == "next")
    }

    @Test func invalidUTF8IsReplaced() {
        var splitter = LineSplitter()
        var lines: [String] = []
        [UInt8(0x61), 0xFF, 0x62, 0x0A].withUnsafeBytes { splitter.append($0, now: .zero, to: &lines) }
        #expect(lines == ["a\u{FFFD}b"])
    }

    @Test func thePriorityPrefixIsTakenOff() {
        let line = LogLine(time: 0, name: "a", pid: 1, stream: .standardError, rawText: "<4>careful")
        #expect(line.priority == 4 && line.text == "careful")
        #expect(line.console(width: 3, colour: nil, isJournal: true) == "<4>a | careful")
        #expect(line.console(width: 3, colour: nil, isJournal: false).hasSuffix(" a   | WARN  careful"))
        #expect(LogLine(time: 0, name: "a", pid: 1, stream: .standardError, rawText: "<x>").priority == nil)
    }

    @Test(
        arguments: [
            ("plain", "INFO", ["message": "plain"]), ("<4>careful", "WARN", ["message": "careful"]), ("{x", "INFO", ["message": "{x"]),
            (#"{"b":1,"msg":"hi","level":"error"}"#, "ERROR", ["b": 1, "msg": "hi", "level": "error", "message": "hi"]),
            (
                #"<3>{"timestamp":"t","level":"ERROR","fields":{"message":"no","code":"c"},"target":"x"}"#, "ERROR",
                ["message": "no", "code": "c"]
            ),
        ] as [(String, String, [String: JSONValue])])
    func everyLineBecomesARecord(text: String, level: String, fields: [String: JSONValue]) {
        let record = LogLine(time: 0, name: "a", pid: 1, stream: .standardOutput, rawText: text).json
        #expect(record["level"] == .string(level) && record["target"] == "a" && record["timestamp"]?.string != nil)
        #expect(record["fields"] == .object(fields.merging(["pid": 1, "stream": "stdout"]) { $1 }))
    }

    @Test func aTerminalIsDrivenByNobodyButUs() {
        let line = LogLine(
            time: 0, name: "a", pid: 1, stream: .standardOutput, rawText: "\u{1B}[31mred\u{1B}[0m\u{7}\u{1B}]0;title\u{7}\u{9B}2J\r")
        #expect(line.console(width: 1, colour: nil, isJournal: false).hasSuffix(#"| \x1b[31mred\x1b[0m\x07\x1b]0;title\x07\x9b2J\r"#))
        #expect(
            line.console(width: 1, colour: 31, isJournal: false).hasSuffix("| \u{1B}[31mred\u{1B}[0m" + #"\x07\x1b]0;title\x07\x9b2J\r"#))
    }

    @Test func theRingKeepsTheLatest() {
        var ring = LogRing(maximumLines: 10, maximumBytes: 1000)
        for index in 0..<5000 { ring.append(LogLine(time: Int64(index), name: "a", pid: 1, stream: .standardOutput, rawText: "\(index)")) }
        #expect(ring.tail(3).map(\.text) == ["4997", "4998", "4999"])
        #expect(ring.count == 10)
        #expect(ring.tail(10, since: 4998).map(\.text) == ["4998", "4999"])
        ring.append(LogLine(time: 0, name: "a", pid: 1, stream: .standardOutput, rawText: String(repeating: "x", count: 2000)))
        #expect(ring.count == 1)
    }
}
