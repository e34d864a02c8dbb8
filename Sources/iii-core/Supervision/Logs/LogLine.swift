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
    /// What a WARN or ERROR line of the core's own is about; lines of children have theirs in their text.
    package var code: DiagnosticCode?

    package init(time: Int64, name: String, pid: Int32, stream: Stream, rawText: String, code: DiagnosticCode? = nil) {
        self.code = code
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

    /// The record of docs/reference/log.md: `timestamp`, `level`, `fields`, `target`.
    ///
    /// A plain line is the message. A line that is such a record keeps its fields; another JSON object becomes the fields, with its
    /// own `message` (or `msg`) and `level` where it has them. `target` is always the entry that wrote it.
    package var json: JSONValue {
        var fields: [String: JSONValue] = [:]
        var own: JSONValue?
        if text.hasPrefix("{"), case .object(let members)? = try? JSONValue(parsing: text) {
            own = .object(members)
            if let record = members["fields"]?.object, members["level"]?.string != nil {
                fields = record
            } else {
                fields = members
                if fields["message"] == nil { fields["message"] = members["msg"] ?? "" }
            }
        } else {
            fields["message"] = .string(text)
        }
        fields["pid"] = .integer(Int64(pid))
        fields["stream"] = .string(stream.rawValue)
        if let code { fields["code"] = .string(code.rawValue) }
        let level = own?["level"]?.string.flatMap { LogFilter.level(named: $0)?.word } ?? level
        return [
            "timestamp": own?["timestamp"]?.string.map(JSONValue.string) ?? .string(LogTimestamp.rfc3339(time)), "level": .string(level),
            "fields": .object(fields), "target": .string(name),
        ]
    }

    /// The text a person reads of a record: the message, then the other fields.
    package static func text(of record: JSONValue) -> String {
        var fields = record["fields"]?.object ?? [:]
        for hidden in ["pid", "stream"] { fields[hidden] = nil }
        var text = fields.removeValue(forKey: "message").map { $0.string ?? $0.text } ?? ""
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) { text += " \(key)=\(LogText.quoted(value.string ?? value.text))" }
        return text
    }

    private static let words = [7: "DEBUG ", 6: "INFO  ", 5: "NOTE  ", 4: "WARN  ", 3: "ERROR ", 2: "CRIT  "]

    private var level: String {
        switch priority {
        case nil, 6?: "INFO"
        case 7?: "DEBUG"
        case 5?: "NOTICE"
        case 4?: "WARN"
        case 3?: "ERROR"
        default: "FATAL"
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
        let text = LogText.singleLine(text, keepsColour: colour != nil) + (code.map { " code=\($0.rawValue)" } ?? "")
        if isJournal { return "<\(priority ?? 6)>\(name) \(mark) \(text)" }
        let named = colour.map { "\u{1B}[\($0)m\(padded)\u{1B}[0m" } ?? padded
        return "\(LogTimestamp.console(time)) \(named) \(mark) \(word)\(text)"
    }
}
