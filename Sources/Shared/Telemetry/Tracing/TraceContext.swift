import IIIProtocol
import Instrumentation

/// What a call carries about the trace it belongs to, as one value: the span it is part of and what travels with it.
///
/// Text that is no `traceparent` counts as absent; baggage over 8 KiB or 64 members is left behind (W3C Baggage §3.3.2), `tracestate`
/// over 512 bytes too. What was received is handed on as it came until a span of this process takes its place.
public struct TraceContext: Sendable, Hashable {
    private var parent: SpanContext?
    /// The text that `parent` was read from.
    private var received: String?
    /// W3C baggage, as received.
    public private(set) var baggage: String?
    /// W3C tracestate, as received; what other tracing systems along the way say about the trace.
    public private(set) var tracestate: String?

    /// Neither span nor baggage.
    public static let none = TraceContext()
    /// Longest baggage that is passed on, in bytes and in members.
    public static let maximumBaggageBytes = 8192
    /// Most members of baggage that are passed on.
    public static let maximumBaggageMembers = 64
    /// Longest `tracestate` that is passed on, in bytes (W3C Trace Context §3.3.1.5).
    public static let maximumTracestateBytes = 512

    /// From parts; `baggage` is taken as it is.
    public init(span: SpanContext? = nil, baggage: String? = nil) {
        parent = span
        self.baggage = baggage.flatMap { Self.isAcceptable($0) ? $0 : nil }
    }

    /// From headers or members of a message, checked as said above.
    public init(traceparent: String?, baggage: String?, tracestate: String? = nil) {
        self.init(span: traceparent.flatMap { SpanContext(traceparent: $0) }, baggage: baggage)
        guard parent != nil else { return }
        received = traceparent
        self.tracestate = tracestate.flatMap { Self.isTracestate($0) ? $0 : nil }
    }

    /// From the members `traceparent`, `baggage` and `tracestate` of an object, as `json` writes them; other members are passed over.
    public init(json: JSONValue) {
        self.init(traceparent: json["traceparent"]?.string, baggage: json["baggage"]?.string, tracestate: json["tracestate"]?.string)
    }

    /// For storing it: an object with the members that are there.
    public var json: JSONValue {
        var members: [String: JSONValue] = [:]
        members["traceparent"] = traceparent.map(JSONValue.string)
        members["baggage"] = baggage.map(JSONValue.string)
        members["tracestate"] = tracestate.map(JSONValue.string)
        return .object(members)
    }

    /// The span that whatever receives this is a child of.
    public var span: SpanContext? {
        get { parent }
        set {
            parent = newValue
            received = nil
        }
    }

    /// As it goes into a header or a message; nil without a span.
    public var traceparent: String? { received ?? parent?.traceparent }

    private static func isAcceptable(_ baggage: String) -> Bool {
        !baggage.isEmpty && baggage.utf8.count <= maximumBaggageBytes
            && baggage.utf8.lazy.filter { $0 == UInt8(ascii: ",") }.count < maximumBaggageMembers
            && !baggage.utf8.contains { $0 < 0x20 || $0 == 0x7F }
    }

    private static func isTracestate(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= maximumTracestateBytes && text.utf8.allSatisfy { (0x20..<0x7F).contains($0) }
    }
}

// MARK: Tasks

extension TraceContext {
    /// That of the running task: of the call it serves, or of the innermost `withSpan`.
    public static var current: TraceContext { InstrumentationContext.current?.traceContext ?? .none }

    /// Runs `body` as part of this trace: calls it makes, and spans it begins, belong there.
    public func whileCurrent<Result>(_ body: () async throws -> Result) async rethrows -> Result {
        guard self != .none else { return try await body() }
        var context = InstrumentationContext.current ?? .topLevel
        context.traceContext = self
        return try await InstrumentationContext.$current.withValue(context, operation: body)
    }
}

private enum TraceContextKey: InstrumentationContextKey {
    typealias Value = TraceContext
    static let nameOverride: String? = "iii-trace-context"
}

extension InstrumentationContext {
    /// The trace context of the running task, for handlers written with Swift concurrency.
    public var traceContext: TraceContext? {
        get { self[TraceContextKey.self] }
        set { self[TraceContextKey.self] = newValue }
    }
}
