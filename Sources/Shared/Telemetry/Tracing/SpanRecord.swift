/// A finished or running span, as it will be sent.
public struct SpanRecord: Sendable {
    /// OTLP's numbers.
    public enum Kind: Int, Sendable { case `internal` = 1, server, client, producer, consumer }

    public enum Status: Sendable, Equatable {
        case unset, ok
        case error(String)
    }

    public struct Event: Sendable {
        public var name: String
        public var nanoseconds: UInt64
        public var attributes: [(key: String, value: TelemetryValue)]
    }

    /// Most attributes, events and links of one span; further ones are counted, not kept.
    public static let maximumAttributes = 128
    public static let maximumEvents = 128
    public static let maximumLinks = 128
    /// Longest text of an attribute, in bytes.
    public static let maximumTextBytes = 8192

    public var name: String
    public let kind: Kind
    public let context: SpanContext
    public let parentID: UInt64?
    /// Since the epoch.
    public let startNanoseconds: UInt64
    public internal(set) var endNanoseconds: UInt64 = 0
    public var status = Status.unset
    public private(set) var attributes: [(key: String, value: TelemetryValue)] = []
    public private(set) var events: [Event] = []
    public private(set) var links: [SpanContext] = []
    public private(set) var droppedAttributes = 0
    public private(set) var droppedEvents = 0
    public private(set) var droppedLinks = 0

    init(name: String, kind: Kind, context: SpanContext, parentID: UInt64?, startNanoseconds: UInt64) {
        self.name = name
        self.kind = kind
        self.context = context
        self.parentID = parentID
        self.startNanoseconds = startNanoseconds
    }

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

    public mutating func addEvent(_ name: String, nanoseconds: UInt64, attributes: [(key: String, value: TelemetryValue)] = []) {
        guard events.count < Self.maximumEvents else { return droppedEvents += 1 }
        let kept = attributes.prefix(Self.maximumAttributes).map { (key: $0.key, value: $0.value.limited(to: Self.maximumTextBytes)) }
        events.append(Event(name: name, nanoseconds: nanoseconds, attributes: kept))
    }

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
