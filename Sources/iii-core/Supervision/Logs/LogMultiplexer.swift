import IIIConfiguration
import IIIProtocol
import IIITelemetry

/// Collects the lines of all children: to the console, to a ring per child, to whoever follows (docs/reference/log.md).
///
/// Belongs to the supervisor's thread. Nothing here blocks: the console has a thread and a bounded queue of its own.
package final class LogMultiplexer {
    package struct Style: Sendable {
        package var format: LogFormat
        package var usesColour: Bool
        package var isJournal: Bool

        package init(format: LogFormat = .text, usesColour: Bool = false, isJournal: Bool = false) {
            self.format = format
            self.usesColour = usesColour
            self.isJournal = isJournal
        }
    }

    package static let partialLineDelay: Duration = .milliseconds(200)
    package static let coreName = "iii-core"

    private struct Source: Hashable {
        var name: String
        /// Two processes of one entry must not mix their lines.
        var pid: Int32
        var stream: LogLine.Stream
    }

    private let console: ConsoleWriter?
    private let style: Style
    private let pid: Int32
    private var rings: [String: LogRing] = [:]
    private var splitters: [Source: LineSplitter] = [:]
    private var width = LogMultiplexer.coreName.utf8.count
    private var followers: [Int: (LogLine) -> Void] = [:]
    private var nextFollower = 0

    package init(console: ConsoleWriter?, style: Style, pid: Int32) {
        self.console = console
        self.style = style
        self.pid = pid
    }

    /// The earliest time at which `flushPartialLines` has something to do.
    package var deadline: Duration? { splitters.values.compactMap(\.partialSince).min().map { $0 + Self.partialLineDelay } }

    package func setNames(_ names: some Sequence<String>) {
        width = names.map(\.utf8.count).reduce(Self.coreName.utf8.count, max)
    }

    package func received(_ bytes: UnsafeRawBufferPointer, from name: String, pid: Int32, _ stream: LogLine.Stream, now: Duration) {
        let source = Source(name: name, pid: pid, stream: stream)
        var lines: [String] = []
        splitters[source, default: LineSplitter()].append(bytes, now: now, to: &lines)
        deliver(lines, source)
    }

    /// The child's stream has ended.
    package func ended(_ name: String, pid: Int32, _ stream: LogLine.Stream) {
        let source = Source(name: name, pid: pid, stream: stream)
        var lines: [String] = []
        splitters[source]?.flush(to: &lines)
        splitters[source] = nil
        deliver(lines, source)
    }

    package func flushPartialLines(now: Duration) {
        for (source, splitter) in splitters {
            guard let since = splitter.partialSince, now - since >= Self.partialLineDelay else { continue }
            var lines: [String] = []
            splitters[source]?.flush(to: &lines)
            deliver(lines, source)
        }
    }

    /// A line that the engine has written, with its code in it.
    package func log(priority: Int, _ text: String) { write(priority, nil, text) }

    /// A line of the supervisor: what is going on.
    package func info(_ text: String) { write(6, nil, text) }

    /// A line of the supervisor about something that a person should look at, found in docs/reference/log.md#codes by its `code`.
    package func warning(_ code: DiagnosticCode, _ text: String) { write(4, code, text) }

    /// A line of the supervisor about something that has failed, found in docs/reference/log.md#codes by its `code`.
    package func error(_ code: DiagnosticCode, _ text: String) { write(3, code, text) }

    private func write(_ priority: Int, _ code: DiagnosticCode?, _ text: String) {
        let now = LogTimestamp.nowNanoseconds()
        for part in text.split(separator: "\n", omittingEmptySubsequences: false) {
            publish(
                LogLine(
                    time: now, name: Self.coreName, pid: pid, stream: .standardError, rawText: "<\(priority)>\(part)", code: code))
        }
    }

    package func tail(_ names: [String], count: Int, since: Int64?) -> [LogLine] {
        let chosen = names.isEmpty ? Array(rings.keys) : names
        return chosen.flatMap { rings[$0]?.tail(count, since: since) ?? [] }.sorted { $0.time < $1.time }
    }

    package func lastLines(of name: String, count: Int) -> [LogLine] { rings[name]?.tail(count) ?? [] }

    package func knows(_ name: String) -> Bool { rings[name] != nil }

    /// Calls `receive` for every line from now on; returns the number to unfollow with.
    package func follow(_ receive: @escaping (LogLine) -> Void) -> Int {
        nextFollower += 1
        followers[nextFollower] = receive
        return nextFollower
    }

    package func unfollow(_ number: Int) { followers[number] = nil }

    package func forget(_ name: String) { rings[name] = nil }

    private func deliver(_ lines: [String], _ source: Source) {
        guard !lines.isEmpty else { return }
        let now = LogTimestamp.nowNanoseconds()
        for text in lines {
            publish(LogLine(time: now, name: source.name, pid: source.pid, stream: source.stream, rawText: text))
        }
    }

    private func publish(_ line: LogLine) {
        rings[line.name, default: LogRing()].append(line)
        if let console {
            switch style.format {
            case .json: console.write(LogText.json(line.json) + [UInt8(ascii: "\n")])
            case .text:
                let colour = style.usesColour ? Self.colour(of: line.name) : nil
                console.write(line.console(width: width, colour: colour, isJournal: style.isJournal))
            }
        }
        for receive in followers.values { receive(line) }
    }

    /// The same name has the same colour in every run.
    private static func colour(of name: String) -> Int {
        31 + name.utf8.reduce(7) { ($0 &* 31 &+ Int($1)) & 0xFFFF } % 6
    }
}
