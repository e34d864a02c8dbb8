import IIIProtocol
import IIISignals
import Testing

@testable import IIIObservability

@Suite struct SignalTests {
    static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    static let spanText = "00f067aa0ba902b7"

    @Test(arguments: [
        trace, trace.uppercased(), "S/kvNXezTaajzpKdDg5HNg==", "NGJmOTJmMzU3N2IzNGRhNmEzY2U5MjlkMGUwZTQ3MzY=",
    ])
    func aTraceIDReadsInEveryForm(text: String) { #expect(TraceID(text)?.text == Self.trace) }

    @Test(arguments: [spanText, spanText.uppercased(), "APBnqgupArc=", "MDBmMDY3YWEwYmE5MDJiNw=="])
    func aSpanIDReadsInEveryForm(text: String) { #expect(SpanID(text)?.text == Self.spanText) }

    @Test(arguments: ["", String(repeating: "0", count: 32), "t", "4bf9", String(repeating: "x", count: 32), "AAAAAAAAAAAAAAAAAAAAAA=="])
    func whatIsNoTraceIDIsNone(text: String) { #expect(TraceID(text) == nil) }

    @Test func bytesAndTextsOfIDsAgree() {
        #expect(TraceID(bytes: TraceID(Self.trace)?.bytes ?? [])?.text == Self.trace)
        #expect(SpanID(bytes: SpanID(Self.spanText)?.bytes ?? [])?.text == Self.spanText)
        #expect(SpanID(bytes: [1]) == nil)
    }

    @Test(arguments: [
        (1.5, "1.5"), (1, "1"), (0.1, "0.1"), (1e-9, "0.000000001"), (1e300, "1" + String(repeating: "0", count: 300)),
        (-2.5e-7, "-0.00000025"), (1.25e20, "125000000000000000000"), (.nan, "NaN"), (-.infinity, "-Infinity"),
    ])
    func aDoubleIsAShortTextWithoutExponent(value: Double, text: String) { #expect(AttributeValue.double(value).text == text) }

    @Test func presenceIsNotTruth() {
        let values: [AttributeValue] = [.array([]), .map([]), .string(""), .integer(0), .bool(false), .empty, .bytes([0, 1, 2])]
        #expect(values.map(\.text) == ["[]", "{}", "", "0", "false", "", "AAEC"])
        #expect(values.map { $0.json.text } == ["[]", "{}", #""""#, "0", "false", "null", #""AAEC""#])
    }

    @Test func base64GoesBothWays() {
        for count in 0..<20 {
            let bytes = (0..<count).map { UInt8($0 * 13 & 255) }
            #expect(Base64.decode(Base64.encode(bytes).utf8) == bytes)
        }
        #expect(Base64.decode("a".utf8) == nil)
        #expect(Base64.decode("a=b=".utf8) == nil)
    }

    private func span(end: UInt64, kind: SpanKind = .server, service: String = "a") throws -> Span {
        var span = Span(
            traceID: try #require(TraceID(Self.trace)), spanID: try #require(SpanID(Self.spanText)), name: "n", startNanoseconds: 1,
            endNanoseconds: end, resource: Resource([Attribute("service.name", .string(service))]))
        span.kind = kind
        return span
    }

    @Test func aFinalSpanTakesThePlaceOfItsSnapshotAndOfNothingElse() throws {
        let (pending, final) = (try span(end: 0), try span(end: 2))
        #expect(final.arriving(after: pending) == .replaces)
        #expect(pending.arriving(after: final) == .repeats)
        #expect(final.arriving(after: final) == .repeats)
        #expect(pending.arriving(after: pending) == .repeats)
        #expect(try span(end: 2, kind: .client).arriving(after: final) == .standsBeside)
        #expect(try span(end: 2, service: "b").arriving(after: final) == .standsBeside)
    }

    @Test func aSpanThatEndsBeforeItStartsTookNoTime() throws {
        var span = try span(end: 5)
        span.startNanoseconds = 6
        #expect(span.duration(now: 100) == 0)
        #expect(try self.span(end: 0).duration(now: 100) == 99)
    }

    @Test func severitiesHaveANumberAndAText() {
        #expect((1...24).compactMap { Severity(number: $0)?.text }.count == 24)
        #expect(Severity(number: 12)?.text == "INFO")
        #expect(Severity(number: 0) == nil)
        #expect(Severity(text: "Warning")?.rawValue == 13)
        #expect(Severity(text: "loud") == nil)
    }

    @Test func baggageIsPercentDecodedAndAPlusStays() {
        let entries = BaggageEntries("a=1+1,b=x%20y;p=1, c = %E2%82%AC ,d=50%25,broken,e=%4").entries
        #expect(entries == ["a": "1+1", "b": "x y", "c": "€", "d": "50%", "e": "%4"])
        #expect(BaggageEntries(nil).entries.isEmpty)
    }
}
