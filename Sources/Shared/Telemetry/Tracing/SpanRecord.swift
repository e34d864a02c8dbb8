/// A finished or running span, as it will be sent.
public struct SpanRecord: Sendable {
    /// OTLP's numbers.
    public enum Kind: Int, Sendable { case `internal` = 1, server, client, producer, consumer }

    /// How what the span is about ended.
    public enum Status: Sendable, Equatable {
        case unset, ok
        case error(String)
    }

    /// Something that happened during a span.
    public struct Event: Sendable {
        /// What happened.
        public var name: String
        /// Since the epoch.
        public var nanoseconds: UInt64
        /// At most `maximumAttributes`, cut to `maximumTextBytes`.
        public var attributes: [(key: String, value: TelemetryValue)]
    }

    /// Most attributes, events and links of one span; further ones are counted, not kept.
    public static let maximumAttributes = 128
    /// Most events of one span.
    public static let maximumEvents = 128
    /// Most links of one span.
    public static let maximumLinks = 128
    /// Longest text of an attribute, in bytes.
    public static let maximumTextBytes = 8192

    /// What was done, e.g. `call orders::take`.
    public var name: String
    /// Which side of a call it is about.
    public let kind: Kind
    /// Its ids.
    public let context: SpanContext
    /// nil for the first span of a trace.
    public let parentID: UInt64?
    /// Since the epoch.
    public let startNanoseconds: UInt64
    /// Since the epoch; 0 while it runs.
    public internal(set) var endNanoseconds: UInt64 = 0
    /// Set by whoever ends it.
    public var status = Status.unset
    /// In the order they were set.
    public private(set) var attributes: [(key: String, value: TelemetryValue)] = []
    /// In the order they were added.
    public private(set) var events: [Event] = []
    /// Other spans that it goes back to.
    public private(set) var links: [SpanContext] = []
    /// Attributes beyond `maximumAttributes`.
    public private(set) var droppedAttributes = 0
    /// Events beyond `maximumEvents`.
    public private(set) var droppedEvents = 0
    /// Links beyond `maximumLinks`.
    public private(set) var droppedLinks = 0

    init(name: String, kind: Kind, context: SpanContext, parentID: UInt64?, startNanoseconds: UInt64) {
        self.name = name
        self.kind = kind
        self.context = context
        self.parentID = parentID
        self.startNanoseconds = startNanoseconds
    }

    /// Sets an attribute; the last value of a key counts. Long texts are cut.
    public mutating func set(_ key: String, _ value: TelemetryValue) {
        let value = value.limited(to: Self.maximumTextBytes)
        if let index = attributes.firstIndex(where: { $0.key == key }) {
            attributes[index].value = value
        } else if attributes.count < Self.maximumAttributes {
            attributes.append((key, value))
        } else {
            droppedAttributes += 1
        }
    }

    /// `nanoseconds` since the epoch.
    public mutating func addEvent(_ name: String, nanoseconds: UInt64, attributes: [(key: String, value: TelemetryValue)] = []) {
        guard events.count < Self.maximumEvents else { return droppedEvents += 1 }
        let kept = attributes.prefix(Self.maximumAttributes).map { (key: $0.key, value: $0.value.limited(to: Self.maximumTextBytes)) }
        events.append(Event(name: name, nanoseconds: nanoseconds, attributes: kept))
    }

    /// Another span that it goes back to, besides its parent.
    public mutating func addLink(_ link: SpanContext) {
        guard links.count < Self.maximumLinks else { return droppedLinks += 1 }
        links.append(link)
    }

    /// Roughly what it costs to keep, in bytes.
    var cost: Int {
        func size(_ attributes: [(key: String, value: TelemetryValue)]) -> Int {
            attributes.reduce(0) { $0 + $1.key.utf8.count + $1.value.cost }
        }
        return 200 + name.utf8.count + size(attributes) + links.count * 40
            + events.reduce(0) { $0 + 48 + $1.name.utf8.count + size($1.attributes) }
    }
}
