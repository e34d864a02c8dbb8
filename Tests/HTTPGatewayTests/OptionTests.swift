import IIIProtocol
import IIISettings
import NIOCore
import Testing

@testable import IIIHTTPGateway

/// What the configuration's options do to requests and responses.
@Suite struct OptionTests {
    private func respond(
        to result: String, _ headers: [String] = [], method: String = "GET", _ change: (inout HTTPConfiguration) -> Void
    ) throws -> GatewayHarness.Response {
        let harness = GatewayHarness(change)
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("\(method) /p", headers)
        harness.link.next().answer(result)
        return client.response()
    }

    // MARK: Request ids

    @Test func saneRequestIDIsEchoedOtherwiseOneIsMade() throws {
        #expect(try respond(to: "{}", ["X-Request-ID: abc-1"]) { _ in }.header("x-request-id") == "abc-1")
        for bad in ["a b", String(repeating: "a", count: 129), "é"] {
            let made = try unwrap(try respond(to: "{}", ["x-request-id: \(bad)"]) { _ in }.header("x-request-id"))
            #expect(made.wholeMatch(of: /[0-9a-f-]{36}/) != nil)
        }
        #expect(try respond(to: #"{"headers":{"X-Request-Id":"mine"}}"#, ["x-request-id: a"]) { _ in }.all("x-request-id") == ["a"])
        #expect(try respond(to: "{}", ["x-request-id: a"]) { $0.requestIDHeader = nil }.header("x-request-id") == nil)
        #expect(try respond(to: "{}", ["x-trace: a"]) { $0.requestIDHeader = "x-trace" }.header("x-trace") == "a")
    }

    @Test func errorsCarryARequestIDToo() throws {
        let client = try GatewayHarness().connect()
        client.request("GET /none", ["x-request-id: q"])
        #expect(client.response().header("x-request-id") == "q")
    }

    @Test(arguments: [nil, ""] as [JSONValue]) func nullAndEmptySwitchIDsOff(_ value: JSONValue) throws {
        #expect(try HTTPConfiguration(json: ["request_id_header": value]).requestIDHeader == nil)
    }

    // MARK: Payload

    @Test func extendedRequestAddsMembers() throws {
        let harness = GatewayHarness {
            $0.extendsRequest = true
            $0.trustsProxy = true
        }
        try harness.route("GET", "/p/:id")
        let client = try harness.connect()
        client.request("GET /p/a%20b?x=1&x=%32&y", ["x-tag: a", "X-Tag: b", "x-request-id: r", "x-forwarded-for: 6.6.6.6, 10.1.2.3"])
        let payload = try unwrap(harness.link.next().payload?.object)
        #expect(payload["raw_path"] == "/p/a%20b")
        #expect(payload["raw_query"] == "x=1&x=%32&y")
        #expect(payload["query_params_all"] == ["x": ["1", "2"], "y": [""]])
        #expect(payload["headers_all"]?["x-tag"] == ["a", "b"])
        #expect(payload["request_id"] == "r")
        #expect(payload["remote_addr"] == "10.1.2.3")
        #expect(payload["http_version"] == "1.1")
        #expect(payload.count == 16)
    }

    @Test func forwardedAddressNeedsTrust() throws {
        let harness = GatewayHarness { $0.extendsRequest = true }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p", ["x-forwarded-for: 6.6.6.6"])
        #expect(harness.link.next().payload?["remote_addr"] != "6.6.6.6")
    }

    @Test(arguments: [("/p/", "/p", true), ("/p", "/p/", true), ("/p", "/q/", false), ("/a/:x/", "/a/1", true)])
    func trailingSlash(_ pattern: String, _ path: String, _ isFound: Bool) throws {
        for ignores in [true, false] {
            let harness = GatewayHarness { $0.ignoresTrailingSlash = ignores }
            try harness.route("GET", pattern)
            let client = try harness.connect()
            client.request("GET \(path)")
            #expect(harness.link.calls.count == (ignores && isFound ? 1 : 0))
            client.request("POST \(path)")
        }
    }

    @Test func notFoundFunctionAnswers() throws {
        let harness = GatewayHarness {
            $0.notFoundFunction = "fallback"
            $0.globalMiddleware = ["g"]
        }
        try harness.route("POST", "/known")
        let client = try harness.connect()
        client.request("GET /no/%20such?a=1")
        let call = harness.link.next()
        #expect(call.function == "fallback")
        #expect(call.payload?["path"] == "/no/%20such")
        #expect(call.payload?["query_params"] == ["a": "1"])
        call.answer(#"{"body":{"sorry":true}}"#)
        let answer = client.response()
        #expect(answer.status == 404)
        #expect(answer.body == #"{"sorry":true}"#)
        client.request("GET /gone")
        harness.link.next().answer(#"{"status_code":302,"headers":{"location":"/"}}"#)
        #expect(client.response().status == 302)
        client.request("GET /gone")
        harness.link.next().answer(nil)
        #expect(client.response().status == 404)
        client.request("GET /known")
        #expect(client.response().status == 405)
    }

    @Test(arguments: [
        ("00-\(String(repeating: "0", count: 32))-b7ad6b7169203331-01"), ("00-abc"),
        ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"), ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"),
    ])
    func invalidTraceparentIsIgnored(_ value: String) throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p", ["traceparent: \(value)"])
        #expect(harness.link.next().traceparent == nil)
    }

    // MARK: Results

    @Test(arguments: [(#""hi""#, #""hi""#), ("[1]", "[1]"), (#"{"a":1}"#, #"{"a":1}"#), (#"{"status_code":200}"#, "{}"), ("7", "7")])
    func plainReturnsCanBeTheBody(_ result: String, _ body: String) throws {
        #expect(try respond(to: result) { $0.returnsPlainValues = true }.body == body)
    }

    @Test(arguments: [
        ("function_not_found", 503), ("invocation_stopped", 503), ("TIMEOUT", 504), ("invocation_failed", 500),
    ])
    func errorStatusesCanBeMapped(_ code: String, _ status: Int) throws {
        let harness = GatewayHarness { $0.mapsErrorStatus = true }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().fail(code, "m")
        let answer = client.response()
        #expect(answer.status == status)
        #expect(answer.header("retry-after") == (status == 503 ? "1" : nil))
    }

    @Test(
        arguments: [
            (.flat, false, #"{"error":"'body.name' is missing"}"#), (.flat, true, #"{"error":"Bad Request"}"#),
            (.envelope, false, #"{"error":{"code":"INVALID_ARGUMENTS","message":"'body.name' is missing"}}"#),
            (.envelope, true, #"{"error":{"code":"INVALID_ARGUMENTS","message":"Bad Request"}}"#),
        ] as [(ErrorFormat, Bool, String)])
    func inputThatAFunctionCannotUseIsTheClientsFault(_ format: ErrorFormat, _ isHidden: Bool, _ body: String) throws {
        let harness = GatewayHarness {
            $0.errorFormat = format
            $0.hidesErrorMessages = isHidden
        }
        try harness.route("GET", "/p", condition: "c")
        let client = try harness.connect()
        for passes in [0, 1] {
            client.request("GET /p")
            for _ in 0..<passes { harness.link.next().answer("true") }
            harness.link.next().fail("INVALID_ARGUMENTS", "'body.name' is missing")
            let answer = client.response()
            #expect(answer.status == 400 && answer.body == body && answer.header("content-type") == "application/json")
        }
        #expect(client.isOpen)
    }

    @Test func middlewareThatCannotUseItsInputIsOurFault() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p", middleware: ["m"])
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().fail("INVALID_ARGUMENTS", "'request' is missing")
        #expect(client.response().status == 500)
    }

    @Test(arguments: [ErrorFormat.flat, .envelope]) func errorMessagesCanBeHidden(_ format: ErrorFormat) throws {
        let harness = GatewayHarness {
            $0.hidesErrorMessages = true
            $0.errorFormat = format
        }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().fail("SECRET_CODE", "password=1")
        let body = client.response().body
        #expect(body.contains("internal server error") && body.contains("error_id"))
        #expect(!body.contains("password") && !body.contains("SECRET_CODE"))
    }

    @Test(arguments: [
        (#"{"type":"Buffer","data":[104,105]}"#, "image/x", "hi"), (#"{"type":"Buffer","data":[]}"#, "image/x", ""),
        (#"{"type":"Buffer","data":[256]}"#, "image/x", #"{"type":"Buffer","data":[256]}"#),
        (#"{"type":"Buffer","data":[1],"more":1}"#, "image/x", #"{"type":"Buffer","data":[1],"more":1}"#),
        (#"{"type":"Buffer","data":[104]}"#, "application/json", #"{"type":"Buffer","data":[104]}"#),
    ])
    func nodeBuffersAreBytes(_ body: String, _ contentType: String, _ sent: String) throws {
        let answer = try respond(to: #"{"headers":{"content-type":"\#(contentType)"},"body":\#(body)}"#) { _ in }
        #expect(answer.body == sent)
        #expect(answer.header("content-length") == "\(sent.utf8.count)")
    }

    // MARK: Compression and validators

    @Test(arguments: [
        ("gzip", true), ("br, GZIP;q=0.5", true), ("*", true), ("*;q=0", false), ("gzip;q=0, *", false), ("identity", false), ("", false),
        ("gzip;q=0.2, identity;q=0.8", false), ("gzip, identity;q=0", true), ("x-gzip", true), ("gzip;q=abc", false), ("*;q=0, gzip", true),
    ])
    func negotiates(_ header: String, _ isGzip: Bool) { #expect(AcceptEncoding.prefersGzip(header) == isGzip) }

    @Test func compressesWhatGainsFromIt() throws {
        let text = String(repeating: "abc ", count: 1000)
        func encoding(_ headers: String, body: String = "", accept: String = "gzip", status: Int = 200) throws -> (String?, Bool) {
            let answer = try respond(
                to: #"{"status_code":\#(status),"headers":{\#(headers)},"body":"\#(body.isEmpty ? text : body)"}"#,
                ["accept-encoding: \(accept)"]
            ) { $0.compresses = true }
            return (answer.header("content-encoding"), answer.all("vary").contains("accept-encoding"))
        }
        #expect(try encoding("") == ("gzip", true))
        #expect(try encoding("", accept: "identity") == (nil, true))
        #expect(try encoding(#""content-type":"text/plain""#) == ("gzip", true))
        #expect(try encoding(#""content-type":"text/plain""#, body: "short") == (nil, false))
        #expect(try encoding(#""content-type":"text/event-stream""#) == (nil, false))
        #expect(try encoding(#""content-type":"image/png""#) == (nil, false))
        #expect(try encoding(#""content-type":"text/plain","content-encoding":"br""#) == ("br", false))
        #expect(try encoding(#""content-type":"text/plain","etag":"\"x\"""#) == (nil, false))
        #expect(try encoding(#""content-type":"text/plain""#, status: 206) == (nil, false))
        #expect(try encoding(#""content-type":"text/plain""#, status: 204) == (nil, false))
    }

    @Test func entityTagsAnswer304() throws {
        let first = try respond(to: #"{"body":{"a":1}}"#) { $0.makesEntityTags = true }
        let tag = try unwrap(first.header("etag"))
        for known in [tag, "*", "\"x\", \(tag)"] {
            let second = try respond(to: #"{"body":{"a":1}}"#, ["if-none-match: \(known)"]) { $0.makesEntityTags = true }
            #expect(second.status == 304)
            #expect(second.body.isEmpty && second.header("content-length") == nil)
            #expect(second.header("etag") == tag)
        }
        #expect(try respond(to: #"{"body":{"a":2}}"#, ["if-none-match: \(tag)"]) { $0.makesEntityTags = true }.status == 200)
        #expect(try respond(to: #"{"headers":{"etag":"\"own\""}}"#) { $0.makesEntityTags = true }.all("etag") == [#""own""#])
        #expect(try respond(to: "{}") { _ in }.header("etag") == nil)
    }
}
