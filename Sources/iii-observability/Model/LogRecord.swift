/// The six levels of OpenTelemetry and the numbers that stand for them.
public enum Severity: Int, Sendable, Hashable, CaseIterable, Comparable {
    case trace = 1
    case debug = 5
    case info = 9
    case warn = 13
    case error = 17
    case fatal = 21

    /// The level of a number from 1 to 24; nil for others.
    public init?(number: Int) {
        guard (1...24).contains(number) else { return nil }
        self.init(rawValue: (number - 1) / 4 * 4 + 1)
    }

    /// By its name in any case, with the abbreviations and synonyms that loggers use; nil for others.
    public init?(text: String) {
        switch text.lowercased() {
        case "trace", "verbose": self = .trace
        case "debug": self = .debug
        case "info", "information", "notice": self = .info
        case "warn", "warning": self = .warn
        case "error", "err": self = .error
        case "fatal", "critical", "panic", "emergency", "alert": self = .fatal
        default: return nil
        }
    }

    /// E.g. `WARN`.
    public var text: String { "\(self)".uppercased() }

    public static func < (left: Severity, right: Severity) -> Bool { left.rawValue < right.rawValue }
}

/// One record of a log.
public struct LogRecord: Sendable, Hashable {
    /// When it happened, since the epoch; 0 where the sender does not know.
    public var nanoseconds: UInt64
    /// When the sender's logger saw it, since the epoch; 0 where it does not say.
    public var observedNanoseconds: UInt64
    /// 0 where neither number nor text was sent.
    public var severityNumber: Int
    /// As sent, or derived from the number; else empty.
    public var severityText: String
    /// The message.
    public var body: AttributeValue
    /// As sent; the last value of a key counts.
    public var attributes: [Attribute] = []
    /// 32 lower-case hex digits where it is an id; whatever a caller of `engine::log::*` named otherwise.
    public var traceID: String?
    /// Likewise, 16 hex digits.
    public var spanID: String?
    /// W3C trace flags; nil where it does not say.
    public var flags: UInt32?
    /// Who sent it.
    public var resource: Resource
    /// The library that made it.
    public var scope = InstrumentationScope()

    /// `nanoseconds` since the epoch.
    public init(
        nanoseconds: UInt64, observedNanoseconds: UInt64, severityNumber: Int, severityText: String, body: AttributeValue,
        resource: Resource
    ) {
        self.nanoseconds = nanoseconds
        self.observedNanoseconds = observedNanoseconds
        self.severityNumber = severityNumber
        self.severityText = severityText
        self.body = body
        self.resource = resource
    }

    /// What time it is filtered, ordered and shown by: its own, else that of its observation, else that of its arrival.
    public func effectiveNanoseconds(received: UInt64) -> UInt64 {
        nanoseconds != 0 ? nanoseconds : observedNanoseconds != 0 ? observedNanoseconds : received
    }

    /// Roughly what it costs to keep, in bytes; the resource, which it shares, not counted.
    public var cost: Int { 224 + severityText.utf8.count + body.cost + attributes.cost + (traceID == nil ? 0 : 96) }
}
