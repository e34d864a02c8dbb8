import NIOCore
import Testing

@testable import IIIHTTPGateway

@Suite struct HTTPConnectionTests {
    // MARK: Routing

    @Test func unknownPathIsEmpty404WithCORS() throws {
        let client = try GatewayHarness().connect()
        client.request("GET /x")
        let response = client.response()
        #expect(response.status == 404)
        #expect(response.body.isEmpty)
        #expect(response.header("access-control-allow-origin") == "*")
        #expect(client.isOpen)
    }

    @Test func wrongMethodIs405WithAllow() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        let response = client.response()
        #expect(response.status == 405)
        #expect(response.header("allow") == "POST")
        client.request("BREW /p")
        #expect(!client.isOpen || client.response().status >= 400)
    }

    @Test func optionsIsAnsweredByCORS() throws {
        let client = try GatewayHarness().connect()
        for target in ["/any", "*"] {
            client.request("OPTIONS \(target)")
            let response = client.response()
            #expect(response.status == 200)
            #expect(response.body.isEmpty)
            #expect(response.header("access-control-allow-origin") == "*")
            #expect(response.header("access-control-allow-methods") == "*")
            #expect(response.header("access-control-allow-headers") == "*")
            #expect(response.header("vary") == "origin, access-control-request-method, access-control-request-headers")
        }
    }

    @Test func preflightNeverReachesARouteButPlainOptionsDoes() throws {
        let harness = GatewayHarness()
        try harness.route("OPTIONS", "/p")
        let client = try harness.connect()
        client.request(
            "OPTIONS /p", ["origin: http://a", "access-control-request-method: PUT", "access-control-request-headers: authorization"])
        #expect(client.response().header("access-control-allow-headers") == "authorization")
        #expect(harness.link.calls.isEmpty)
        client.request("OPTIONS /p")
        #expect(harness.link.calls.count == 1)
    }

    @Test(arguments: [("http://ok.test", "http://ok.test"), ("http://evil.test", nil), (nil, nil)] as [(String?, String?)])
    func listedOriginsAreEchoed(_ origin: String?, _ allowed: String?) throws {
        let harness = GatewayHarness { $0.cors = CORSPolicy(allowedOrigins: ["http://ok.test"], allowedMethods: ["GET", "POST"]) }
        let client = try harness.connect()
        client.request("GET /x", origin.map { ["Origin: \($0)"] } ?? [])
        let response = client.response()
        #expect(response.header("access-control-allow-origin") == allowed)
        #expect(response.header("access-control-expose-headers") == nil)
        #expect(response.header("vary") != nil)
        client.request("OPTIONS /x", origin.map { ["Origin: \($0)"] } ?? [])
        #expect(client.response().header("access-control-allow-methods") == "GET,POST")
    }

    // MARK: Order and delivery

    @Test func byteByByteDeliveryGivesOneResponse() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p/:id")
        let client = try harness.connect()
        for _ in 0..<2 {
            client.sendByteByByte(
                "POST /p/7?a=b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}")
            let call = harness.link.next()
            #expect(call.payload?["body"] == ["a": 1])
            #expect(call.payload?["path_params"] == ["id": "7"])
            call.answer(#"{"body":{"ok":true}}"#)
            #expect(client.response().body == #"{"ok":true}"#)
        }
        #expect(client.isOpen)
    }

    @Test func chunkedBodyIsCollected() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.sendByteByByte(
            "POST /p HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n"
        )
        #expect(harness.link.next().payload?["body"] == ["a": 1])
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/a", to: "a")
        try harness.route("GET", "/b", to: "b")
        let client = try harness.connect()
        let requests = ["/a", "/missing", "/b", "/a"].map { "GET \($0) HTTP/1.1\r\nhost: x\r\n\r\n" }
        client.send(requests.joined())
        #expect(client.received().isEmpty)
        #expect(harness.link.calls.map(\.function) == ["a"])
        harness.link.next().answer(#"{"body":1}"#)
        #expect(client.received().components(status: "HTTP/1.1 ") == ["200", "404"])
        #expect(harness.link.calls.map(\.function) == ["b"])
        harness.link.next().answer(#"{"body":2}"#)
        harness.link.next().answer(#"{"body":3}"#)
        #expect(client.received().components(status: "HTTP/1.1 ") == ["200", "200"])
        #expect(client.isOpen)
    }

    @Test func longPipelineOfImmediateAnswersNeedsNoStack() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/a")
        harness.link.automaticAnswer = { $0.answer(#"{"body":1}"#) }
        let client = try harness.connect()
        client.send(String(repeating: "GET /a HTTP/1.1\r\nhost: x\r\n\r\n", count: 5000))
        #expect(client.received().components(status: "HTTP/1.1 ").count == 5000)
    }

    @Test func connectionCloseIsHonoured() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/a")
        let client = try harness.connect()
        client.request("GET /a", ["connection: close"])
        harness.link.next().answer("{}")
        let response = client.response()
        #expect(response.header("connection") == "close")
        #expect(!client.isOpen)
    }

    @Test func oldVersionClosesUnlessAskedToStay() throws {
        let harness = GatewayHarness()
        harness.link.automaticAnswer = { $0.answer("{}") }
        try harness.route("GET", "/a")
        let staying = try harness.connect()
        staying.send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        #expect(staying.response().header("connection") == "keep-alive")
        #expect(staying.isOpen)
        let leaving = try harness.connect()
        leaving.send("GET /a HTTP/1.0\r\n\r\n")
        #expect(leaving.response().status == 200)
        #expect(!leaving.isOpen)
    }

    @Test func expectationIsAnsweredBeforeTheBody() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["expect: 100-continue", "content-type: application/json", "content-length: 2"])
        #expect(client.received() == "HTTP/1.1 100 Continue\r\n\r\n")
        client.send("{}")
        harness.link.next().answer("{}")
        #expect(client.response().status == 200)
        #expect(client.isOpen)
    }

    @Test func refusedExpectationClosesInsteadOfWaiting() throws {
        let client = try GatewayHarness().connect()
        client.request("POST /missing", ["expect: 100-continue", "content-length: 2"])
        let response = client.response()
        #expect(response.status == 404)
        #expect(response.header("connection") == "close")
    }

    // MARK: Bad input

    struct BadHead: CustomTestStringConvertible {
        let testDescription: String
        let text: String
        let status: Int

        init(_ name: String, _ text: String, _ status: Int = 400) {
            testDescription = name
            self.text = text
            self.status = status
        }
    }

    @Test(arguments: [
        BadHead("no host", "GET / HTTP/1.1\r\n\r\n"), BadHead("two hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        BadHead("length and coding", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"),
        BadHead("coding and length", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n"),
        BadHead("two lengths", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"),
        BadHead("negative length", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"),
        BadHead("unknown coding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n"),
        BadHead("space before colon", "GET / HTTP/1.1\r\nhost : a\r\n\r\n"),
        BadHead("folding", "GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n"),
        BadHead("NUL", "GET / HTTP/1.1\r\nhost: a\u{0}b\r\n\r\n"), BadHead("nonsense", "nonsense\r\n\r\n"),
        BadHead("bare line feeds", "GET / HTTP/1.1\nhost: a\n\n"), BadHead("version", "GET / HTTP/3.0\r\nhost: a\r\n\r\n"),
        BadHead("bare line feed in header", "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n"),
        BadHead("long target", "GET /\(String(repeating: "a", count: 17_000)) HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        BadHead("long field", "GET / HTTP/1.1\r\nhost: a\r\nx: \(String(repeating: "a", count: 70_000))\r\n\r\n", 431),
        BadHead("many fields", "GET / HTTP/1.1\r\nhost: a\r\n" + String(repeating: "x: y\r\n", count: 101) + "\r\n", 431),
    ])
    func badHeadsAreRefusedAndClosed(_ bad: BadHead) throws {
        let client = try GatewayHarness().connect()
        client.send(bad.text)
        let response = client.response()
        #expect(response.status == bad.status)
        #expect(response.header("connection") == "close")
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(client.received().isEmpty)
    }

    @Test func badChunkSizeEndsTheConnection() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json", "transfer-encoding: chunked"])
        client.send("zz\r\n")
        #expect(client.response().status == 400)
        #expect(harness.link.calls.isEmpty)
    }

    @Test func garbageBehindARequestIsRefusedAfterItsAnswer() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/a")
        let client = try harness.connect()
        client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n<garbage>\r\n\r\n")
        #expect(client.received().isEmpty)
        harness.link.next().answer("{}")
        #expect(client.received().components(status: "HTTP/1.1 ") == ["200", "400"])
    }

    @Test(arguments: [true, false]) func largeBodyIs413(_ announcesLength: Bool) throws {
        let harness = GatewayHarness { $0.bodyLimit = 10 }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        if announcesLength {
            client.request("POST /p", ["content-type: application/json", "content-length: 11"])
        } else {
            client.request("POST /p", ["content-type: application/json", "transfer-encoding: chunked"])
            client.send("6\r\n[1,2,3\r\n6\r\n,4,5,6\r\n")
        }
        let response = client.response()
        #expect(response.status == 413)
        #expect(response.header("connection") == "close")
        #expect(harness.link.calls.isEmpty)
    }

    @Test func uploadWithoutJSONIsNotWaitedFor() throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/octet-stream", "content-length: 6"])
        harness.link.next().answer(#"{"body":1}"#)
        #expect(client.response().status == 200)
        client.send("abc")
        client.send("defGET /missing HTTP/1.1\r\nhost: a\r\n\r\n")
        #expect(client.response().status == 404)
        #expect(client.isOpen)
    }
}

extension String {
    /// The status codes of all responses in this text.
    func components(status mark: String) -> [String] {
        ranges(of: mark).map { String(self[$0.upperBound...].prefix(3)) }
    }
}
