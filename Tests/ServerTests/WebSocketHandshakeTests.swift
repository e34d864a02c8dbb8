import NIOCore
import NIOHTTP1
import Testing

@testable import IIIServer

@Suite struct WebSocketHandshakeTests {
    private static let sound = [
        ("Host", "localhost"), ("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]

    private static func head(
        _ change: [String: String?] = [:], _ more: [(String, String)] = [], method: HTTPMethod = .GET, version: HTTPVersion = .http1_1
    ) -> HTTPRequestHead {
        var headers = HTTPHeaders(sound)
        for (name, value) in change {
            headers.remove(name: name)
            if let value { headers.add(name: name, value: value) }
        }
        for (name, value) in more { headers.add(name: name, value: value) }
        return HTTPRequestHead(version: version, method: method, uri: "/any/path?x=1", headers: headers)
    }

    private static func take(_ machine: inout WebSocketHandshake, _ head: HTTPRequestHead) -> WebSocketHandshake.Action {
        machine.headReceived(head, remoteAddress: nil) { _, origin in origin == "bad" ? HTTPAnswer(.forbidden) : nil }
    }

    private static func status(_ action: WebSocketHandshake.Action) -> UInt? {
        guard case .respond(let answer) = action else { return nil }
        return answer.status.code
    }

    private static func fail(_ expected: Comment) { Issue.record(expected) }

    @Test func aSoundRequestIsDecidedOnOnceItIsComplete() {
        var machine = WebSocketHandshake()
        guard case .none = Self.take(&machine, Self.head([:], [("Content-Length", "0")])) else { return Self.fail("not yet") }
        guard case .decide(let request) = machine.endReceived() else { return Self.fail("now") }
        #expect(request.path == "/any/path" && request.query == "x=1")
        #expect(machine.isDeciding)
        guard case .upgrade(let headers) = machine.accepted(subprotocol: nil) else { return Self.fail("upgraded") }
        #expect(headers.first(name: "sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        #expect(!headers.contains(name: "sec-websocket-protocol"))
        guard case .none = machine.accepted(subprotocol: nil) else { return Self.fail("once only") }
    }

    @Test(
        arguments: [
            (["Host": nil], 400), (["Host": "x y"], 400), (["Connection": "close"], 400), (["Sec-WebSocket-Version": "8"], 426),
            (["Sec-WebSocket-Version": "13, 8"], 426), (["Sec-WebSocket-Version": nil], 400), (["Sec-WebSocket-Key": nil], 400),
            (["Sec-WebSocket-Key": "short"], 400), (["Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!=="], 400), (["Origin": "bad"], 403),
            (["Content-Length": "5"], 400), (["Transfer-Encoding": "chunked"], 400), (["Content-Length": "00"], 400),
        ] as [([String: String?], UInt)])
    func unsoundRequestsAreRefusedAtTheirHead(_ change: [String: String?], _ status: UInt) {
        var machine = WebSocketHandshake()
        let action = Self.take(&machine, Self.head(change))
        #expect(Self.status(action) == status)
        if case .respond(let answer) = action, change.keys.contains("Sec-WebSocket-Version") {
            #expect(answer.headers.contains { $0 == ("sec-websocket-version", "13") })
        }
        guard case .none = machine.endReceived() else { return Self.fail("what follows is nothing to it") }
    }

    @Test(arguments: ["Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Origin"]) func nothingMayBeSaidTwice(_ name: String) {
        var machine = WebSocketHandshake()
        let head = Self.head(["Origin": "http://a"], [(name, Self.sound.first { $0.0 == name }?.1 ?? "http://a")])
        #expect((400...426).contains(Self.status(Self.take(&machine, head)) ?? 0))
    }

    @Test func http10CannotUpgrade() {
        var machine = WebSocketHandshake()
        #expect(Self.status(Self.take(&machine, Self.head(version: .http1_0))) == 400)
    }

    @Test(arguments: [HTTPMethod.POST, .HEAD]) func otherMethodsAreAnsweredByTheOwner(_ method: HTTPMethod) {
        var machine = WebSocketHandshake()
        guard case .answer = Self.take(&machine, Self.head(method: method)) else { return Self.fail("plain") }
        var other = WebSocketHandshake()
        guard case .answer = Self.take(&other, Self.head(["Upgrade": nil])) else { return Self.fail("plain") }
    }

    @Test func anAbsentEndAnAbsentHeadAndAnAbsentDecisionRunIntoTheirDeadline() {
        var silent = WebSocketHandshake()
        guard case .drop = silent.timeExpired() else { return Self.fail("dropped") }
        var endless = WebSocketHandshake()
        _ = Self.take(&endless, Self.head())
        guard case .drop = endless.timeExpired() else { return Self.fail("dropped") }
        guard case .none = endless.endReceived() else { return Self.fail("too late") }
        var undecided = WebSocketHandshake()
        _ = Self.take(&undecided, Self.head())
        _ = undecided.endReceived()
        #expect(Self.status(undecided.timeExpired()) == 503)
        guard case .none = undecided.accepted(subprotocol: nil) else { return Self.fail("too late") }
    }

    @Test func onlyAnOfferedSubprotocolIsSelected() {
        for (chosen, status) in [("Authorization", nil), ("tok", nil), ("authorization", 500)] as [(String, UInt?)] {
            var machine = WebSocketHandshake()
            _ = Self.take(&machine, Self.head([:], [("Sec-WebSocket-Protocol", "Authorization, tok"), ("Sec-WebSocket-Protocol", "more")]))
            guard case .decide(let request) = machine.endReceived() else { return Self.fail("decided") }
            #expect(request.offeredProtocols == ["Authorization", "tok", "more"])
            #expect(request.fields["sec-websocket-protocol"] == "Authorization, tok, more")
            let action = machine.accepted(subprotocol: chosen)
            #expect(Self.status(action) == status)
            if case .upgrade(let headers) = action { #expect(headers["sec-websocket-protocol"] == [chosen]) }
        }
    }

    @Test func repeatedHeadersAreJoinedAsTheirKindWantsIt() {
        let headers = HTTPHeaders([("X-A", "1"), ("x-a", "2"), ("Cookie", "a=1"), ("cookie", "b=2")])
        let request = UpgradeRequest(path: "/", query: "", headers: headers, remoteAddress: nil)
        #expect(request.fields == ["x-a": "1, 2", "cookie": "a=1; b=2"])
    }
}
