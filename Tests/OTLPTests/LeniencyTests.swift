import IIISignals
import Testing

@testable import IIIOTLP

/// What SDKs really send (cases 1 to 12 of the observability cases), in JSON.
@Suite struct LeniencyTests {
    static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    static let span = "00f067aa0ba902b7"

    private func spans(_ spans: String, resource: String = "") throws -> TelemetryBatch {
        let text = #"{"resourceSpans":[{"resource":{"attributes":[\#(resource)]},"scopeSpans":[{"spans":[\#(spans)]}]}]}"#
        return try OTLPDocument.read(Array(text.utf8), .traces, as: .json)
    }

    private func span(_ members: String = "", id: String = LeniencyTests.span) -> String {
        #"{"traceId":"\#(Self.trace)","spanId":"\#(id)","name":"n"\#(members.isEmpty ? "" : ",")\#(members)}"#
    }

    private func logs(_ records: String, limits: OTLPLimits = OTLPLimits()) throws -> TelemetryBatch {
        let text = #"{"resourceLogs":[{"scopeLogs":[{"logRecords":[\#(records)]}]}]}"#
        return try OTLPDocument.read(Array(text.utf8), .logs, as: .json, limits: limits)
    }

    @Test func aNumberIsTheSameAsTextAndAsNumber() throws {
        for value in ["25", #""25""#, "25.0", "2.5e1"] {
            let read = try spans(span(#""attributes":[{"key":"a","value":{"intValue":\#(value)}}],"startTimeUnixNano":\#(value)"#))
            let first = try #require(read.spans.first)
            #expect(first.attributes == [Attribute("a", .integer(25))])
            #expect(first.startNanoseconds == 25)
        }
        let large = try spans(span(#""attributes":[{"key":"a","value":{"intValue":"9007199254740993"}}]"#))
        #expect(large.spans.first?.attributes.first?.value == .integer(9_007_199_254_740_993))
    }

    @Test func aNegativeTimeCostsItsRecordOnly() throws {
        let read = try spans(span(#""startTimeUnixNano":"-1""#) + "," + span(#""startTimeUnixNano":"1""#))
        #expect(read.spans.map(\.startNanoseconds) == [1])
        #expect(read.rejected == 1)
    }

    @Test(arguments: [
        (#""NaN""#, "nan"), ("NaN", "nan"), (#""-Infinity""#, "-inf"), ("-Infinity", "-inf"), (#""1.5""#, "1.5"), ("1", "1.0"),
    ])
    func doublesMayBeAnything(_ text: String, _ expected: String) throws {
        let read = try spans(span(#""attributes":[{"key":"a","value":{"doubleValue":\#(text)}}]"#) + "," + span(id: "00f067aa0ba902b8"))
        #expect(read.spans.count == 2)
        guard case .double(let value)? = read.spans.first?.attributes.first?.value else { return #expect(Bool(false)) }
        #expect("\(value)" == expected)
    }

    @Test(arguments: [
        ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"), ("4BF92F3577B34DA6A3CE929D0E0E4736", "00F067AA0BA902B7"),
        ("S/kvNXezTaajzpKdDg5HNg==", "APBnqgupArc="),
        ("NGJmOTJmMzU3N2IzNGRhNmEzY2U5MjlkMGUwZTQ3MzY=", "MDBmMDY3YWEwYmE5MDJiNw=="),
    ])
    func idsAreReadHoweverTheyAreWritten(_ trace: String, _ span: String) throws {
        let read = try spans(#"{"traceId":"\#(trace)","spanId":"\#(span)","name":"n"}"#)
        #expect(read.spans.map { "\($0.traceID.text) \($0.spanID.text)" } == ["\(Self.trace) \(Self.span)"])
    }

    @Test func idsOfZerosAreNone() throws {
        let zeros = String(repeating: "0", count: 32)
        let read = try spans(
            [
                #"{"traceId":"\#(zeros)","spanId":"\#(Self.span)","name":"n"}"#, #"{"traceId":"","spanId":"\#(Self.span)","name":"n"}"#,
                #"{"traceId":"\#(Self.trace)","spanId":"0000000000000000","name":"n"}"#, #"{"traceId":"xyz","spanId":"1","name":"n"}"#,
                span(#""parentSpanId":"0000000000000000""#),
            ].joined(separator: ","))
        #expect(read.spans.map(\.parentID) == [nil])
        #expect(read.rejected == 4)
        let log = try logs(#"{"traceId":"\#(zeros)","body":{"stringValue":"b"}}"#)
        #expect(log.logs.map(\.traceID) == [nil])
    }

    @Test(arguments: [
        (#"{"arrayValue":{}}"#, AttributeValue.array([])), (#"{"arrayValue":{"values":[]}}"#, .array([])),
        (#"{"kvlistValue":{}}"#, .map([])),
        (#"{"stringValue":""}"#, .string("")), (#"{"intValue":0}"#, .integer(0)), (#"{"boolValue":false}"#, .bool(false)), ("{}", .empty),
        (#"{"bytesValue":"AAEC"}"#, .bytes([0, 1, 2])), (#"{"stringValue":null}"#, .empty), (#"{"futureValue":{"a":[1]}}"#, .empty),
    ])
    func emptyIsNotAbsent(_ text: String, _ expected: AttributeValue) throws {
        #expect(try logs(#"{"body":\#(text)}"#).logs.map(\.body) == [expected])
    }

    @Test(arguments: [
        "{}", #"{"resourceSpans":[]}"#, #"{"resourceSpans":[{}]}"#, #"{"resourceSpans":[{"scopeSpans":[{"spans":[]}]}]}"#, " {} ",
        #"{"resourceSpans":null}"#,
    ])
    func nothingToDoIsNoError(_ text: String) throws {
        let read = try OTLPDocument.read(Array(text.utf8), .traces, as: .json)
        #expect(read.isEmpty && read.rejected == 0)
    }

    @Test(arguments: [
        "", "[]", "1", "{", #"{"resourceSpans":1}"#, #"{"resourceSpans":[{}],}"#, "{}x", #"{"resourceSpans":[{"scopeSpans":"#,
    ])
    func whatIsNoDocumentIsSaidToBeNone(_ text: String) {
        #expect(throws: OTLPFault.self) { try OTLPDocument.read(Array(text.utf8), .traces, as: .json) }
    }

    @Test func whatIsNestedTooDeeplyIsCutAndNothingElse() throws {
        let depth = 50_000
        let deep =
            String(repeating: #"{"arrayValue":{"values":["#, count: depth) + "{}" + String(repeating: "]}}", count: depth)
        let unknown = String(repeating: #"{"a":"#, count: depth) + "1" + String(repeating: "}", count: depth)
        let read = try logs(
            #"{"attributes":[{"key":"a","value":{"intValue":1}},{"key":"deep","value":\#(deep)},{"key":"b","value":{"intValue":2}}]},"#
                + #"{"body":\#(deep)},{"future":\#(unknown),"body":{"stringValue":"good"}}"#)
        let records = read.logs
        #expect(records.count == 3)
        #expect(records[0].attributes.map(\.key) == ["a", "deep", "b"])
        #expect(records[2].body == .string("good"))
        var (value, levels) = (records[1].body, 0)
        while case .array(let elements) = value, let next = elements.first { (value, levels) = (next, levels + 1) }
        #expect(value == AttributeValue.cutMark)
        #expect(levels == 63)
    }

    @Test func protobufIsCutAtTheSameDepth() throws {
        var value: [UInt8] = []
        for _ in 0..<5_000 {
            for field in [1, 5] as [UInt64] {
                var writer = ProtobufWriter()
                writer.data(field, value)
                value = writer.bytes
            }
        }
        // `value` is a list of values; one AnyValue holds it already (field 5).
        var record = ProtobufWriter()
        record.data(5, value)
        var scope = ProtobufWriter()
        scope.data(2, record.bytes)
        var resource = ProtobufWriter()
        resource.data(2, scope.bytes)
        var document = ProtobufWriter()
        document.data(1, resource.bytes)
        let read = try OTLPDocument.read(document.bytes, .logs, as: .protobuf)
        #expect(read.logs.count == 1)
    }

    @Test func kindsOfThePythonSDKAreOneTooLow() throws {
        let kinds = (0...5).map { span(#""kind":\#($0)"#) } + [span(), span(#""kind":9"#), span(#""kind":"SPAN_KIND_CLIENT""#)]
        func read(_ sdk: String) throws -> [SpanKind] {
            try spans(kinds.joined(separator: ","), resource: #"{"key":"telemetry.sdk.name","value":{"stringValue":"\#(sdk)"}}"#)
                .spans.map(\.kind)
        }
        #expect(
            try read("iii-python-sdk") == [
                .internal, .server, .client, .producer, .consumer, .consumer, .unspecified, .internal, .producer,
            ])
        let plain: [SpanKind] = [.unspecified, .internal, .server, .client, .producer, .consumer, .unspecified, .unspecified, .client]
        #expect(try read("iii-node") == plain)
        #expect(try read("opentelemetry") == plain)
    }

    @Test func theLevelIsCompletedFromNumberOrText() throws {
        let read = try logs(#"{"severityNumber":17},{"severityText":"warning"},{"severityNumber":9,"severityText":"note"},{}"#)
        #expect(read.logs.map { "\($0.severityNumber) \($0.severityText)" } == ["17 ERROR", "13 warning", "9 note", "0 "])
    }

    @Test func longTextIsCutAtACharacterAndSaysSo() throws {
        let text = String(repeating: "€", count: 100_000)
        let body = try logs(#"{"body":{"stringValue":"\#(text)"}}"#).logs.first?.body.text ?? ""
        #expect(body.hasPrefix("€€€") && body.hasSuffix("€… [cut from 300000 bytes]"))
        #expect(!body.contains("\u{FFFD}"))
        #expect(body.utf8.count < 65_600)
    }

    @Test func histogramsWithoutDistributionAreRead() throws {
        let points = [
            #"{"count":"3","sum":6,"explicitBounds":[1,2]}"#, #"{"count":"3","sum":6}"#,
            #"{"count":"3","sum":6,"bucketCounts":["3"],"explicitBounds":[]}"#, #"{"count":1,"bucketCounts":[1,2],"explicitBounds":[1,2]}"#,
        ].joined(separator: ",")
        let text =
            #"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":{"dataPoints":[\#(points)]}},"#
            + #"{"name":"e","exponentialHistogram":{"dataPoints":[{},{}]}},{"name":"g","unit":null,"gauge":{"dataPoints":[{"asInt":"-7"}]}}]}]}]}"#
        let read = try OTLPDocument.read(Array(text.utf8), .metrics, as: .json)
        #expect(read.metrics.map(\.name) == ["h", "g"])
        #expect(read.metrics.first?.points.count == 3)
        #expect(read.rejected == 3)
    }

    @Test func onlySoMuchIsTakenFromOneDocument() throws {
        var limits = OTLPLimits()
        limits.maximumItems = 10
        let read = try logs(Array(repeating: "{}", count: 25).joined(separator: ","), limits: limits)
        #expect(read.logs.count == 10 && read.rejected == 15)
        limits.maximumValues = 30
        let nested = #"{"body":{"arrayValue":{"values":[\#(Array(repeating: "{}", count: 20).joined(separator: ","))]}}}"#
        let values = try logs("\(nested),\(nested),{}", limits: limits)
        #expect(values.logs.count == 2 && values.rejected == 1)
    }

    @Test(
        arguments: [
            ("application/json", OTLPEncoding.json), ("application/json; charset=utf-8", .json), ("Application/JSON", .json),
            ("application/x-protobuf;foo=bar", .protobuf), ("text/plain", nil), ("application/jsonx", nil), ("", nil),
        ] as [(String, OTLPEncoding?)])
    func mediaTypesAreComparedWithoutParametersAndCase(_ type: String, _ encoding: OTLPEncoding?) {
        #expect(OTLPEncoding(contentType: type) == encoding)
    }

    @Test(arguments: OTLPEncoding.allCases)
    func answersAreReadAgain(_ encoding: OTLPEncoding) {
        for answer in [OTLPAnswer(), OTLPAnswer(rejected: 3, message: "no"), OTLPAnswer(message: "please upgrade")] {
            #expect(OTLPAnswer(answer.encoded(as: encoding, .logs), as: encoding, .logs) == answer)
        }
        #expect(OTLPAnswer([0xFF, 1, 2], as: encoding, .logs) == nil)
    }
}
