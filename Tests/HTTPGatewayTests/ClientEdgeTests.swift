import IIIProtocol
import NIOCore
import Testing

@testable import IIIHTTPGateway

/// What clients do at the edges: leftovers behind a last request, half-closed connections, odd hosts, and too much at a time.
@Suite struct ClientEdgeTests {
    private func answered(_ harness: GatewayHarness = GatewayHarness(), _ send: (GatewayHarness.Client) -> Void) throws -> (
        GatewayHarness, GatewayHarness.Client
    ) {
        try harness.route("GET", "/a")
        try harness.route("POST", "/a")
        let client = try harness.connect()
        send(client)
        return (harness, client)
    }

    // MARK: Behind the last request

    @Test(arguments: ["x", "GET /a HTTP/1.1\r\nhost: a\r\n\r\n", "\r\n", "\0\u{7F}"])
    func whateverFollowsALastRequestCostsNoAnswer(_ rest: String) throws {
        for isSplit in [true, false] {
            let head = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            let (harness, client) = try answered { client in
                client.send(isSplit ? head : head + rest)
                if isSplit { client.send(rest) }
                client.send(rest)
            }
            #expect(harness.link.calls.count == 1)
            harness.link.next().answer("{}")
            let response = client.response()
            #expect(response.status == 200 && response.header("connection") == "close")
        }
    }

    @Test func garbageInSeveralReadsIsRefusedOnceAfterTheAnswer() throws {
        let (harness, client) = try answered { client in
            client.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n<garbage>\r\n\r\n")
            client.send("<more>\r\n")
        }
        harness.link.next().answer("{}")
        #expect(client.received().components(status: "HTTP/1.1 ") == ["200", "400"])
    }

    private func closeInput(_ client: GatewayHarness.Client) {
        client.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        client.loop.run()
    }

    @Test func aClientThatHasClosedItsSideGetsAllItsAnswers() throws {
        let (harness, client) = try answered { client in
            let one = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
            client.send(one + one)
            closeInput(client)
        }
        #expect(client.isOpen)
        harness.link.next().answer("{}")
        #expect(client.response().status == 200 && client.isOpen)
        harness.link.next().answer("{}")
        #expect(client.response().status == 200 && !client.isOpen)
    }

    @Test func anIdleConnectionEndsWithItsClientsSide() throws {
        let (_, client) = try answered { closeInput($0) }
        #expect(!client.isOpen)
    }

    @Test func aRequestThatNeverBecomesWholeEndsWithItsClientsSide() throws {
        let (harness, client) = try answered { client in
            client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n[1")
            closeInput(client)
        }
        #expect(!client.isOpen && harness.link.calls.isEmpty && harness.core.memory.total == 0)
    }

    @Test func aStreamEndsWithItsReadersSide() throws {
        let (harness, client) = try answered { $0.request("GET /a") }
        let call = harness.link.next()
        let ref = try unwrap(call.payload?["response"].flatMap(ChannelRef.init(json:)))
        #expect(harness.core.channelOpened(ref))
        let socket = try unwrap(harness.link.opened.last).socket
        Array("x".utf8).withUnsafeBytes { socket.onMessage?($0, false) }
        _ = client.received()
        closeInput(client)
        #expect(!client.isOpen && socket.onMessage == nil)
    }

    @Test func whiteSpaceAroundValuesIsNotPartOfThem() throws {
        let (harness, client) = try answered {
            $0.send(
                "POST /a HTTP/1.1\r\nhost:\ta\t \r\nx-tag: \t b c \t\r\ncontent-type: application/json\t\r\nexpect: 100-continue \r\ncontent-length: 2\r\n\r\n"
            )
        }
        #expect(client.received() == "HTTP/1.1 100 Continue\r\n\r\n")
        client.send("[]")
        let headers = harness.link.next().payload?["headers"]
        #expect(headers?["host"] == "a" && headers?["x-tag"] == "b c" && headers?["content-type"] == "application/json")
    }

    // MARK: Addresses

    @Test(arguments: [
        "x y", "a b:80", "a/b", "a@b", "<x>", "a:b", "a:1:2", "[::1", "[]", "[::1]x", "\"a\"", "[g::]", "a%zz", "a%2", "a?b", "a#b", "a\\b",
        "\u{E9}",
    ])
    func hostsThatAreNoneAreRefused(_ host: String) throws {
        let (harness, client) = try answered { $0.send("GET /a HTTP/1.1\r\nhost: \(host)\r\n\r\n") }
        #expect(client.response().status == 400 && harness.link.calls.isEmpty)
    }

    @Test(arguments: [
        "a", "a.b:80", "127.0.0.1:3111", "[::1]", "[::1]:99", "a_b-c.d", "xn--nxasmq6b", "", "a:", "a%20b", "~!$&'()*+,;=", "a\t", "\ta ",
    ])
    func hostsThatAreHostsAreTaken(_ host: String) throws {
        let (harness, _) = try answered { $0.send("GET /a HTTP/1.1\r\nhost: \(host)\r\n\r\n") }
        #expect(harness.link.calls.count == 1)
    }

    @Test(
        arguments: [
            ("1.2.3.4", "1.2.3.4"), ("1.2.3.4:5678", "1.2.3.4"), ("[2001:db8::1]:99", "2001:db8::1"), ("[2001:DB8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"), ("9.9.9.9, 1.2.3.4", "1.2.3.4"), ("9.9.9.9,\t1.2.3.4 ", "1.2.3.4"), ("unknown", nil),
            ("<script>", nil), ("_hidden", nil), ("1.2.3.4:", nil), ("1.2.3.4:x", nil), ("[1.2.3.4]", nil), ("[::1", nil), ("", nil),
            ("1.2.3", nil), ("1.2.3.4:123456", nil), ("9.9.9.9,", nil), ("fe80::1%eth0", nil), ("1.2.3.4 5.6.7.8", nil),
        ] as [(String, String?)])
    func forwardedAddressesAreAddresses(_ field: String, _ address: String?) {
        #expect(ForwardedAddress.last(of: field) == address)
    }

    // MARK: Patterns, bodies, status

    @Test(arguments: ["/a?x", "/sp ace", "/a#b", "/\u{7}", "/caf\u{E9}", "/a/:id/\t"])
    func pathsThatNoRequestCanHaveAreRefused(_ path: String) {
        #expect(throws: RoutePatternError.self) { try RoutePattern(path) }
    }

    @Test func aByteOrderMarkIsNoPartOfTheJSON() throws {
        let (harness, _) = try answered {
            $0.request("POST /a", ["content-type: application/json"], body: "\u{FEFF}{\"a\":1}")
        }
        #expect(harness.link.next().payload?["body"] == ["a": 1])
    }

    @Test(arguments: ["0", "99", "101", "600", "999", "1000", "70000", "-1", "99999999999999999999"])
    func aStatusThatCannotBeSentIs500(_ status: String) throws {
        let (harness, client) = try answered { $0.request("GET /a") }
        harness.link.next().answer(#"{"status_code":\#(status),"body":1}"#)
        #expect(client.response().status == 500)
    }

    @Test func a205HasNoContentAndSaysSo() throws {
        let (harness, client) = try answered { $0.request("GET /a") }
        harness.link.next().answer(#"{"status_code":205,"body":{"a":1}}"#)
        let response = client.response()
        #expect(response.status == 205 && response.body == "" && response.header("content-length") == "0")
    }

    @Test(arguments: ["handler", "condition"]) func aBodyTooLargeForTheFunctionsWorkerIs413(_ stage: String) throws {
        let harness = GatewayHarness()
        try harness.route("POST", "/p", condition: stage == "condition" ? "c" : nil)
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json"], body: "[]")
        harness.link.next().fail("payload_too_large", "The message is 9 bytes; this worker's SDK takes at most 8")
        let response = client.response()
        #expect(response.status == 413 && client.isOpen)
    }

    // MARK: Memory

    @Test func halfBodiesOfAllConnectionsTogetherAreBounded() throws {
        let harness = GatewayHarness { $0.maximumBufferedBytes = 1 << 20 }
        try harness.route("POST", "/p")
        try harness.route("GET", "/p")
        let head = "POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 600000\r\n\r\n"
        let clients = try (0..<10).map { _ in try harness.connect() }
        for client in clients { client.send(head + String(repeating: "1", count: 200_000)) }
        #expect(harness.core.memory.total <= 1 << 20)
        #expect(harness.core.memory.peak <= (1 << 20) + 200_000)
        let statuses = clients.map { $0.response().status }
        #expect(statuses.prefix(5).allSatisfy { $0 == 0 } && statuses.contains(503))
        #expect(harness.core.memory.refusals > 0)
        for client in clients where client.isOpen { try client.channel.close().wait() }
        #expect(harness.core.memory.total == 0)
        let next = try harness.connect()
        next.request("GET /p")
        #expect(harness.link.calls.count == 1)
    }

    // MARK: Timers

    /// A timer outlives the configuration that started it: what it is linked into lives as long as it runs.
    @Test func aTimerKeepsItsQueue() {
        final class Owner { var fired = 0 }
        let harness = GatewayHarness()
        let owner = Owner()
        let entries = (0..<3).map { _ in DeadlineEntry(owner: owner) }
        var queue: DeadlineQueue<Owner>? = DeadlineQueue(eventLoop: harness.loop, length: .seconds(1)) { $0.fired += 1 }
        for entry in entries { queue?.start(entry) }
        queue = nil
        entries[1].cancel()
        let other = DeadlineQueue<Owner>(eventLoop: harness.loop, length: .seconds(2)) { $0.fired += 10 }
        other.start(entries[2])
        harness.loop.advanceTime(by: .seconds(1))
        #expect(owner.fired == 1)
        harness.loop.advanceTime(by: .seconds(1))
        #expect(owner.fired == 11)
    }
}
