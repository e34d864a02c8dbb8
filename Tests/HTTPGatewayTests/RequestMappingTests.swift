import IIIProtocol
import IIIWorker
import NIOCore
import NIOHTTP1
import Testing

@testable import IIIHTTPGateway

@Suite struct RequestMappingTests {
    @Test(arguments: [
        ("a=1&a=2&b=x+y&c", #"{"a":"2","b":"x y","c":""}"#), ("", "{}"), ("&&", "{}"), ("a=%41%zz%4", #"{"a":"A%zz%4"}"#),
        ("k=%C3%A9", #"{"k":"é"}"#), ("k=%FF", "{\"k\":\"\u{FFFD}\"}"), ("=v", #"{"":"v"}"#), ("a=b=c", #"{"a":"b=c"}"#),
        ("%61=1&a=2", #"{"a":"2"}"#), ("q=%22%0A", #"{"q":"\"\n"}"#),
    ])
    func decodesQueries(_ query: String, _ expected: String) {
        #expect(decoded(query) == expected)
    }

    @Test func manyEqualKeysStayLinearAndLastWins() throws {
        let query = (0..<2000).map { "k\($0 % 7)=\($0)" }.joined(separator: "&")
        let object = try unwrap(JSONValue(parsing: decoded(query)).object)
        #expect(object.count == 7)
        #expect(object["k0"] == "1995")
    }

    private func decoded(_ query: String) -> String {
        var buffer = ByteBuffer()
        Array(query.utf8).withUnsafeBytes { QueryDecoding.writeObject($0, to: &buffer) }
        return String(buffer: buffer)
    }

    @Test(arguments: [
        ("/", "", ""), ("/a/b?x=1", "a/b", "x=1"), ("/a?x=1#f", "a", "x=1"), ("/a#f?x", "a", ""), ("//a", "/a", ""), ("/a?", "a", ""),
        ("http://host:1/p/q?z", "p/q", "z"), ("http://host?z", "", "z"), ("*", "", ""), ("/a?b?c", "a", "b?c"), ("/a:b//c", "a:b//c", ""),
    ])
    func splitsTargets(_ text: String, _ path: String, _ query: String) {
        let bytes = Array(text.utf8)
        let target = bytes.withUnsafeBytes { RequestTarget($0) }
        #expect(String(decoding: bytes[target.path], as: UTF8.self) == path)
        #expect(String(decoding: bytes[target.query], as: UTF8.self) == query)
        #expect(target.isAsterisk == (text == "*"))
    }

    private func facts(_ headers: [(String, String)], minor: Int = 1) throws -> RequestFacts {
        try RequestFacts(
            HTTPRequestHead(version: HTTPVersion(major: 1, minor: minor), method: .POST, uri: "/", headers: HTTPHeaders(headers)))
    }

    @Test(arguments: [
        ("application/json", true), ("application/json; charset=utf-8", true), ("Application/JSON", true),
        ("application/problem+json", true),
        ("application/vnd.x+JSON; v=1", true), ("text/plain", false), ("application/x-www-form-urlencoded", false), ("", false),
        ("application/octet-stream; x=+json", false), ("multipart/form-data; boundary=x", false),
    ])
    func recognisesJSON(_ contentType: String, _ isJSON: Bool) throws {
        #expect(try facts([("Host", "a"), ("Content-Type", contentType)]).isJSON == isJSON)
    }

    @Test(arguments: [
        [("content-length", "1"), ("transfer-encoding", "chunked"), ("host", "a")],
        [("content-length", "1"), ("content-length", "2"), ("host", "a")],
        [("content-length", "+1"), ("host", "a")], [("transfer-encoding", "gzip, chunked"), ("host", "a")],
        [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked"), ("host", "a")], [], [("host", "a"), ("Host", "b")],
    ])
    func refusesAmbiguousFraming(_ headers: [(String, String)]) {
        #expect(throws: GatewayError.self) { try facts(headers) }
    }

    @Test func oldVersionNeedsNoHostAndKnowsNoExpectation() throws {
        let facts = try facts([("expect", "100-continue"), ("content-length", "3")], minor: 0)
        #expect(!facts.expectsContinue)
        #expect(facts.hasBody)
        #expect(throws: GatewayError.self) { try self.facts([("transfer-encoding", "chunked")], minor: 0) }
    }

    @Test func longTargetIsRefused() {
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/" + String(repeating: "a", count: 16384), headers: ["host": "a"])
        #expect(throws: GatewayError.targetTooLong) { try RequestFacts(head) }
    }

    static let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @Test func payloadHasExactlyNineMembers() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "users/:id/x", metadata: Array(#"{"team":"core"}"#.utf8))
        let client = try harness.connect()
        let body = #"{"n":9007199254740993, "u":"é"}"#
        client.request(
            "POST /users/4%202/x?q=hello&limit=10",
            [
                "Content-Type: application/json; charset=utf-8", "X-Tag: a", "x-tag: b", "Cookie: a=1", "cookie: b=2",
                "traceparent: \(Self.traceparent)",
            ],
            body: body)
        let call = harness.link.next()
        #expect(call.function == "f")
        #expect(call.traceparent == Self.traceparent)
        #expect(call.metadata == Array(#"{"team":"core"}"#.utf8))
        let payload = try unwrap(call.payload?.object)
        #expect(
            Set(payload.keys) == [
                "query_params", "path_params", "headers", "path", "method", "body", "trigger", "request_body", "response",
            ])
        #expect(payload["query_params"] == ["q": "hello", "limit": "10"])
        #expect(payload["path_params"] == ["id": "4%202"])
        #expect(payload["path"] == "users/:id/x")
        #expect(payload["method"] == "POST")
        #expect(payload["trigger"] == ["type": "http", "path": "users/:id/x", "method": "POST"])
        #expect(payload["body"] == ["n": 9_007_199_254_740_993, "u": "é"])
        #expect(call.rawPayload.contains(body))
        #expect(payload["headers"]?["x-tag"] == "b")
        #expect(payload["headers"]?["cookie"] == "a=1; b=2")
        #expect(payload["headers"]?["host"] == "test")
        #expect(payload["request_body"]?["direction"] == "read")
        #expect(payload["response"]?["direction"] == "write")
    }

    @Test(arguments: [
        ("application/json", "{broken"), ("application/json", ""), ("text/plain", "1"), ("application/x-www-form-urlencoded", "true"),
        ("application/octet-stream", "{}"),
    ])
    func bodyIsNullUnlessValidJSON(_ contentType: String, _ body: String) throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: \(contentType)"], body: body)
        #expect(harness.link.next().payload?["body"] == .null)
    }

    @Test func invalidJSONCanBeRefused() throws {
        let harness = GatewayHarness { $0.rejectsInvalidJSON = true }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json"], body: "{broken")
        #expect(client.response().status == 400)
        #expect(harness.link.calls.isEmpty)
    }

    @Test func headThroughGetSaysHead() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("HEAD /p")
        let call = harness.link.next()
        #expect(call.payload?["method"] == "HEAD")
        #expect(call.payload?["trigger"]?["method"] == "HEAD")
        call.answer(#"{"status_code":200,"body":{"a":1}}"#)
        let response = client.response()
        #expect(response.status == 200)
        #expect(response.header("content-length") == "7")
        #expect(response.body.isEmpty)
    }

    @Test func conditionSeesTheBodyButNoChannels() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p", condition: "guard")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json"], body: #"{"a":1}"#)
        let call = harness.link.next()
        #expect(call.function == "guard")
        #expect(call.payload?["body"] == ["a": 1])
        #expect(call.payload?["request_body"] == nil)
        #expect(call.payload?["response"] == nil)
        call.answer("true")
        let handler = harness.link.next()
        #expect(handler.function == "f")
        #expect(handler.payload?["body"] == ["a": 1])
    }
}
