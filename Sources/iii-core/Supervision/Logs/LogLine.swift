import IIIProtocol
import IIITelemetry

/// One line a child (or the core itself) wrote.
package struct LogLine: Sendable, Equatable {
    package enum Stream: String, Sendable {
        case standardOutput = "stdout"
        case standardError = "stderr"
    }

    /// Nanoseconds since the epoch.
    package var time: Int64
    package var name: String
    package var pid: Int32
    package var stream: Stream
    /// Syslog priority that a built-in put before the line as `<N>`; nil when it gave none.
    package var priority: Int?
    package var text: String

    package init(time: Int64, name: String, pid: Int32, stream: Stream, rawText: String) {
        self.time = time
        self.name = name
        self.pid = pid
        self.stream = stream
        let bytes = Array(rawText.utf8.prefix(3))
        if bytes.count == 3, bytes[0] == UInt8(ascii: "<"), bytes[2] == UInt8(ascii: ">"), (0x30...0x37).contains(bytes[1]) {
            priority = Int(bytes[1] - 0x30)
            text = String(rawText.dropFirst(3))
        } else {
            text = rawText
        }
    }

    /// The JSON form of spec §29.8; a line that is a JSON object itself is embedded, not quoted.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "ts": .string(LogTimestamp.rfc3339(time)), "name": .string(name), "pid": .integer(Int64(pid)),
            "stream": .string(stream.rawValue),
            "line": .string(text),
        ]
        if let level { members["level"] = .string(level) }
        if text.hasPrefix("{"), let embedded = try? JSONValue(parsing: text) { members["line"] = embedded }
        return .object(members)
    }

    private static let words = [7: "DEBUG ", 6: "INFO  ", 5: "NOTE  ", 4: "WARN  ", 3: "ERROR ", 2: "CRIT  "]

    private var level: String? {
        switch priority {
        case nil: nil
        case 7?: "debug"
        case 6?: "info"
        case 5?: "notice"
        case 4?: "warning"
        case 3?: "error"
        default: "critical"
        }
    }

    /// The console form, without line feed.
    ///
    /// - Parameters:
    ///   - width: columns of the name; the longest one.
    ///   - colour: an ANSI colour number for the name, nil for none.
    ///   - isJournal: the journal stamps lines itself and takes the priority from the prefix.
    package func console(width: Int, colour: Int?, isJournal: Bool) -> String {
        let padded = name + String(repeating: " ", count: max(0, width - name.utf8.count))
        let mark = stream == .standardError && priority == nil ? "!" : "|"
        let word = priority.map { Self.words[min(max($0, 2), 7)] ?? "" } ?? ""
        if isJournal { return "<\(priority ?? 6)>\(name) \(mark) \(text)" }
        let named = colour.map { "\u{1B}[\($0)m\(padded)\u{1B}[0m" } ?? padded
        return "\(LogTimestamp.console(time)) \(named) \(mark) \(word)\(text)"
    }
}
