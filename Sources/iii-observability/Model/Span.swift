/// Which side of a call a span is about; raw values are OTLP's numbers.
public enum SpanKind: Int, Sendable, Hashable, CaseIterable {
    case unspecified = 0, `internal`, server, client, producer, consumer

    /// E.g. `server`.
    public var text: String { "\(self)" }
}

/// How what a span is about has ended; raw values are OTLP's numbers.
public enum SpanStatus: Int, Sendable, Hashable {
    case unset = 0, ok, error

    /// E.g. `error`.
    public var text: String { "\(self)" }
}

/// Something that happened during a span.
public struct SpanEvent: Sendable, Hashable {
    /// What happened, e.g. `exception`.
    public var name: String
    /// Since the epoch.
    public var nanoseconds: UInt64
    /// As sent.
    public var attributes: [Attribute]

    /// `nanoseconds` since the epoch.
    public init(name: String, nanoseconds: UInt64, attributes: [Attribute] = []) {
        self.name = name
        self.nanoseconds = nanoseconds
        self.attributes = attributes
    }
}

/// Another span that a span goes back to, besides its parent. Never a parent itself.
public struct SpanLink: Sendable, Hashable {
    /// Of the other span.
    public var traceID: TraceID
    /// The other span.
    public var spanID: SpanID
    /// Empty where it says none.
    public var traceState: String
    /// As sent.
    public var attributes: [Attribute]

    /// To the span `spanID` of the trace `traceID`.
    public init(traceID: TraceID, spanID: SpanID, traceState: String = "", attributes: [Attribute] = []) {
        self.traceID = traceID
        self.spanID = spanID
        self.traceState = traceState
        self.attributes = attributes
    }
}

/// A step of a trace, finished or (`isPending`) under way.
public struct Span: Sendable, Hashable {
    /// The trace it belongs to.
    public var traceID: TraceID
    /// Its own id.
    public var spanID: SpanID
    /// nil for the first span of a trace.
    public var parentID: SpanID?
    /// Empty where it says none.
    public var traceState = ""
    /// E.g. `call orders::take`.
    public var name: String
    /// Which side of a call.
    public var kind = SpanKind.unspecified
    /// Since the epoch.
    public var startNanoseconds: UInt64
    /// Since the epoch; 0 in a snapshot that is sent at the start of a span.
    public var endNanoseconds: UInt64
    /// How it ended.
    public var status = SpanStatus.unset
    /// Why, where it failed; else empty.
    public var statusMessage = ""
    /// As sent, in order.
    public var attributes: [Attribute] = []
    /// In order.
    public var events: [SpanEvent] = []
    /// In order.
    public var links: [SpanLink] = []
    /// What the sender left out for want of room: attributes, events and links.
    public var droppedItems = 0
    /// W3C trace flags; nil where it does not say.
    public var flags: UInt32?
    /// Who sent it.
    public var resource: Resource
    /// The library that made it.
    public var scope = InstrumentationScope()

    /// Everything else is at the default that stands at each property.
    public init(
        traceID: TraceID, spanID: SpanID, parentID: SpanID? = nil, name: String, startNanoseconds: UInt64, endNanoseconds: UInt64,
        resource: Resource
    ) {
        self.traceID = traceID
        self.spanID = spanID
        self.parentID = parentID
        self.name = name
        self.startNanoseconds = startNanoseconds
        self.endNanoseconds = endNanoseconds
        self.resource = resource
    }

    /// Whether it is a snapshot of a span under way.
    public var isPending: Bool { endNanoseconds == 0 }

    /// How long it took, or has taken by `now`. 0 where it ends before it starts.
    public func duration(now: UInt64) -> UInt64 {
        let end = isPending ? now : endNanoseconds
        return end > startNanoseconds ? end - startNanoseconds : 0
    }

    /// The function it is about: `faas.invoked_name`, else `function_id`.
    public var functionID: String? { (attributes["faas.invoked_name"] ?? attributes["function_id"])?.text }

    /// Roughly what it costs to keep, in bytes; the resource, which it shares, not counted.
    public var cost: Int {
        var cost = 256 + name.utf8.count + statusMessage.utf8.count + traceState.utf8.count + attributes.cost
        for event in events { cost += 48 + event.name.utf8.count + event.attributes.cost }
        for link in links { cost += 64 + link.traceState.utf8.count + link.attributes.cost }
        return cost
    }
}

extension Span {
    /// What becomes of a span that comes under ids that are known already.
    public enum Arrival: Sendable, Equatable {
        /// Takes the place of the one that is there: the end of a span under way, or a later snapshot of it.
        case replaces
        /// Says nothing new: a resend, or a snapshot that comes after the end.
        case repeats
        /// Is another span, with the same ids by mistake or by the custom of sharing them between two sides of a call: both are kept.
        case standsBeside
    }

    /// Decides about `self`, which comes when `known` is there with the same trace and span id. Pure.
    public func arriving(after known: Span) -> Arrival {
        guard kind == known.kind || known.isPending || isPending, resource.serviceName == known.resource.serviceName else {
            return .standsBeside
        }
        guard known.isPending else { return .repeats }
        return isPending && self == known ? .repeats : .replaces
    }
}
