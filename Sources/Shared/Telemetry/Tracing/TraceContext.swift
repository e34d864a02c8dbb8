import Instrumentation

/// What a call carries about the trace it belongs to, as one value: the span it is part of and the baggage that travels with it.
///
/// Text that is no `traceparent` counts as absent; baggage over 8 KiB or 64 members is left behind (W3C Baggage §3.3.2).
public struct TraceContext: Sendable, Hashable {
    /// The span that whatever receives this is a child of.
    public var span: SpanContext?
    /// W3C baggage, as received.
    public var baggage: String?

    /// Neither span nor baggage.
    public static let none = TraceContext()
    /// Longest baggage that is passed on, in bytes and in members.
    public static let maximumBaggageBytes = 8192
    /// Most members of baggage that are passed on.
    public static let maximumBaggageMembers = 64

    /// From parts; `baggage` is taken as it is.
    public init(span: SpanContext? = nil, baggage: String? = nil) {
        self.span = span
        self.baggage = baggage.flatMap { Self.isAcceptable($0) ? $0 : nil }
    }

    /// From headers or members of a message, checked as said above.
    public init(traceparent: String?, baggage: String?) {
        self.init(span: traceparent.flatMap { SpanContext(traceparent: $0) }, baggage: baggage)
    }

    /// As it goes into a header or a message; nil without a span.
    public var traceparent: String? { span?.traceparent }

    private static func isAcceptable(_ baggage: String) -> Bool {
        !baggage.isEmpty && baggage.utf8.count <= maximumBaggageBytes
            && baggage.utf8.lazy.filter { $0 == UInt8(ascii: ",") }.count < maximumBaggageMembers
            && !baggage.utf8.contains { $0 < 0x20 || $0 == 0x7F }
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
