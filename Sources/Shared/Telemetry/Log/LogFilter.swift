import Logging

/// Which level each logger writes at: a default and overrides by label prefix, parsed from `info,iii=debug`.
///
/// The syntax is that of the `level` key of `iii-observability`. `off` silences everything below `critical`.
/// An override applies to every label that starts with its name; the longest matching name wins.
package struct LogFilter: Sendable, Equatable {
    package var level: Logger.Level
    package var overrides: [String: Logger.Level]

    package init(level: Logger.Level = .info, overrides: [String: Logger.Level] = [:]) {
        self.level = level
        self.overrides = overrides
    }

    /// Nil when a part names no level.
    package init?(parsing text: String) {
        self.init()
        for part in text.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1)
            guard let name = pair.last, let level = Self.level(named: Self.trimmed(name)) else { return nil }
            if pair.count == 2 { overrides[Self.trimmed(pair[0])] = level } else { self.level = level }
        }
    }

    package func level(for label: String) -> Logger.Level {
        overrides.filter { label.hasPrefix($0.key) }.max { $0.key.count < $1.key.count }?.value ?? level
    }

    package static func level(named name: String) -> Logger.Level? {
        switch name.lowercased() {
        case "trace": .trace
        case "debug": .debug
        case "info": .info
        case "notice": .notice
        case "warn", "warning": .warning
        case "error": .error
        case "critical", "fatal", "off": .critical
        default: nil
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
