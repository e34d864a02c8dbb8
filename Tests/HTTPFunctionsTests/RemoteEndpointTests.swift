import IIIProtocol
import IIITelemetry
import NIOCore
import Testing

@testable import IIIHTTPFunctions

@Suite struct RemoteEndpointTests {
    private static let variables = ["SECRET": "s3cret", "TOKEN": "t0ken", "BROKEN": "a\nb", "EMPTY": ""]

    private static func endpoint(_ json: String, id: String = "f") throws -> RemoteEndpoint {
        try RemoteEndpoint(functionID: id, invocation: try JSONValue(parsing: json), environment: { variables[$0] })
    }

    @Test func defaults() throws {
        let endpoint = try Self.endpoint(#"{"url":"https://a","headers":null,"auth":null,"method":null,"timeout_ms":null}"#)
        #expect(endpoint.method == "POST" && endpoint.timeout == .seconds(30) && endpoint.headers.isEmpty)
        #expect(endpoint.authentication == nil)
    }

    @Test(arguments: [
        ("[]", "invocation"), ("{}", "invocation.url"), (#"{"url":1}"#, "invocation.url"),
        (#"{"url":"u","method":"post"}"#, "invocation.method"), (#"{"url":"u","method":"HEAD"}"#, "invocation.method"),
        (#"{"url":"u","method":1}"#, "invocation.method"), (#"{"url":"u","timeout_ms":0}"#, "invocation.timeout_ms"),
        (#"{"url":"u","timeout_ms":1.5}"#, "invocation.timeout_ms"), (#"{"url":"u","headers":[]}"#, "invocation.headers"),
        (#"{"url":"u","headers":{"a":1}}"#, "invocation.headers.a"), (#"{"url":"u","headers":{"a":"x\r\ny: z"}}"#, "invocation.headers.a"),
        (#"{"url":"u","headers":{"a":"x\u0000"}}"#, "invocation.headers.a"), (#"{"url":"u","headers":{"a b":"x"}}"#, "invocation.headers"),
        (#"{"url":"u","headers":{"a:":"x"}}"#, "invocation.headers"), (#"{"url":"u","headers":{"":"x"}}"#, "invocation.headers"),
        (#"{"url":"u","headers":{"HOST":"x"}}"#, "HOST"), (#"{"url":"u","headers":{"content-length":"1"}}"#, "content-length"),
        (#"{"url":"u","headers":{"Transfer-Encoding":"chunked"}}"#, "Transfer-Encoding"), (#"{"url":"u","headers":{"te":"x"}}"#, "te"),
        (#"{"url":"u","headers":{"A":"1","a":"2"}}"#, "case"),
        (#"{"url":"u","auth":{"type":"basic"}}"#, "invocation.auth.type"), (#"{"url":"u","auth":"bearer"}"#, "invocation.auth.type"),
        (#"{"url":"u","auth":{"type":"hmac"}}"#, "invocation.auth.secret_key"),
        (#"{"url":"u","auth":{"type":"bearer","token_key":1}}"#, "invocation.auth.token_key"),
        (#"{"url":"u","auth":{"type":"api_key","value_key":"TOKEN"}}"#, "invocation.auth.header"),
        (#"{"url":"u","auth":{"type":"api_key","header":"Host","value_key":"TOKEN"}}"#, "invocation.auth.header"),
    ])
    func malformedNamesTheField(_ json: String, _ field: String) {
        let error = #expect(throws: InvocationError.self) { try Self.endpoint(json) }
        #expect(error?.code == "INVALID_ARGUMENTS" && error?.message.contains(field) == true, "\(String(describing: error))")
    }

    @Test(arguments: [
        (#"{"type":"hmac","secret_key":"NONE"}"#, "secret_not_found", "Secret not found: NONE"),
        (#"{"type":"bearer","token_key":"NONE"}"#, "token_not_found", "Token not found: NONE"),
        (#"{"type":"bearer","token_key":"EMPTY"}"#, "token_not_found", "Token not found: EMPTY"),
        (#"{"type":"api_key","header":"X","value_key":"NONE"}"#, "api_key_not_found", "API key not found: NONE"),
    ])
    func missingSecrets(_ auth: String, _ code: String, _ message: String) {
        let error = #expect(throws: InvocationError.self) { try Self.endpoint(#"{"url":"u","auth":\#(auth)}"#) }
        #expect(error == InvocationError(code: code, message: message))
    }

    @Test func aTokenCannotBreakOutOfItsHeader() {
        #expect(throws: InvocationError.self) { try Self.endpoint(#"{"url":"u","auth":{"type":"bearer","token_key":"BROKEN"}}"#) }
        #expect(throws: InvocationError.self) { try Self.endpoint(#"{"url":"u"}"#, id: "a\r\nb: c") }
    }

    // MARK: Requests

    private static let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    private static func headers(
        _ json: String, traceparent: String? = nil, baggage: String? = nil, tracestate: String? = nil
    ) throws -> [String: String] {
        let call = RemoteCall(
            endpoint: try endpoint(json, id: "hooks::notify"), invocationID: try #require(UUIDBits("11111111-2222-4333-8444-555555555555")),
            payload: Array(#"{"a":1}"#.utf8),
            trace: TraceContext(traceparent: traceparent, baggage: baggage, tracestate: tracestate))
        let headers = call.headers(for: call.body, timestamp: 1_700_000_000)
        #expect(Set(headers.map { $0.name.lowercased() }).count == headers.count, "no name twice")
        return Dictionary(uniqueKeysWithValues: headers.map { ($0.name, $0.value) })
    }

    @Test func defaultHeaders() throws {
        let headers = try Self.headers(#"{"url":"u"}"#, traceparent: Self.traceparent, baggage: "k=v", tracestate: "v=1")
        #expect(
            headers == [
                "Content-Type": "application/json", "x-iii-Function-Path": "hooks::notify",
                "x-iii-Invocation-ID": "11111111-2222-4333-8444-555555555555", "x-iii-Timestamp": "1700000000",
                "traceparent": Self.traceparent, "baggage": "k=v", "tracestate": "v=1",
            ])
    }

    @Test func configuredHeadersReplace() throws {
        let headers = try Self.headers(#"{"url":"u","headers":{"content-type":"text/x","X-Own":"1"}}"#)
        #expect(headers["content-type"] == "text/x" && headers["Content-Type"] == nil && headers["X-Own"] == "1")
    }

    @Test func callersCannotInjectHeaders() throws {
        let headers = try Self.headers(#"{"url":"u"}"#, traceparent: "x\r\nevil: 1", baggage: "a\nb", tracestate: "v=1\r\nevil: 1")
        #expect(headers["traceparent"] == nil && headers["baggage"] == nil && headers["tracestate"] == nil)
    }

    @Test func authentication() throws {
        #expect(try Self.headers(#"{"url":"u","auth":{"type":"bearer","token_key":"TOKEN"}}"#)["Authorization"] == "Bearer t0ken")
        #expect(try Self.headers(#"{"url":"u","auth":{"type":"api_key","header":"X-K","value_key":"TOKEN"}}"#)["X-K"] == "t0ken")
        let signed = try Self.headers(
            #"{"url":"u","headers":{"x-iii-timestamp":"1","X-III-SIGNATURE":"fake"},"auth":{"type":"hmac","secret_key":"SECRET"}}"#)
        // openssl: printf '1700000000:eyJhIjoxfQ==' | openssl dgst -sha256 -hmac s3cret
        #expect(signed["x-iii-Signature"] == "sha256=ef70ecc409d280b3ed0a97fdb005b95bcea1b1c20e8984d0a9d92dcd79d1f077")
        #expect(signed["x-iii-Timestamp"] == "1700000000")
    }

    // MARK: Channel keys

    @Test(arguments: [
        (#"{"a":1}"#, #"{"a":1}"#), ("null", "null"), ("", ""), (#"{"access_key":"k"}"#, #"{"access_key":"k"}"#),
        (
            #"{"body":{"channel_id":"c","access_key":"k","direction":"read"},"n":[9007199254740993, 1.0]}"#,
            #"{"body":{"channel_id":"c","direction":"read"},"n":[9007199254740993,1.0]}"#
        ),
        (#"[{"access_key":"k","channel_id":"c","direction":"write"}, {}]"#, #"[{"channel_id":"c","direction":"write"},{}]"#),
        (#"{"x":[{"y":{"channel_id":"c","\u0061ccess_key":"k","direction":"r"}}]}"#, #"{"x":[{"y":{"channel_id":"c","direction":"r"}}]}"#),
        (#"{"t":"access_key","z":[ ]}"#, #"{"t":"access_key","z":[]}"#),
    ])
    func channelKeysStayHere(_ payload: String, _ expected: String) {
        #expect(String(decoding: ChannelKeyRedaction.redacted(Array(payload.utf8)), as: UTF8.self) == expected)
    }
}
