import IIIProtocol
import IIIWorker
import NIOCore
import Testing

@testable import IIIHTTPGateway

/// The race between a return value and the response channel, and the request body's way out.
@Suite struct StreamTests {
    private let harness = GatewayHarness()

    private func ref(_ call: FakeLink.Call, _ member: String) throws -> ChannelRef {
        try unwrap(call.payload?[member].flatMap(ChannelRef.init(json:)))
    }

    /// The handler opens its response channel; what comes back is the gateway's end of it.
    private func openResponse(_ call: FakeLink.Call) throws -> ChannelSocket {
        #expect(harness.core.channelOpened(try ref(call, "response")))
        let (opened, socket) = try unwrap(harness.link.opened.last)
        #expect(opened.direction == .read)
        return socket
    }

    private func write(_ socket: ChannelSocket, _ text: String, isText: Bool = false) {
        Array(text.utf8).withUnsafeBytes { socket.onMessage?($0, isText) }
    }

    private func begin(_ line: String = "GET /p", _ headers: [String] = [], body: String? = nil) throws -> (
        GatewayHarness.Client, FakeLink.Call
    ) {
        try harness.route("GET", "/p")
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request(line, headers, body: body)
        return (client, harness.link.next())
    }

    @Test func headIsCollectedAndBodyIsChunked() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        write(socket, #"{"type":"set_status","status_code":206}"#, isText: true)
        write(socket, #"{"type":"set_headers","headers":{"X-A":"1","bad name":"x","content-length":"9"}}"#, isText: true)
        write(socket, #"{"type":"set_headers","headers":{"x-a":"2"}}"#, isText: true)
        for junk in ["", "not json", "[]", #"{"type":"nosuch"}"#, #"{"type":"set_status","status_code":700}"#, #"{"type":"set_headers"}"#] {
            write(socket, junk, isText: true)
        }
        #expect(client.received() == "")
        write(socket, "0123456789abcdef")
        let head = client.response()
        #expect(head.status == 206)
        #expect(head.all("x-a") == ["2"])
        #expect(head.header("transfer-encoding") == "chunked" && head.header("content-length") == nil && head.header("content-type") == nil)
        #expect(head.body == "10\r\n0123456789abcdef\r\n")
        write(socket, "")
        write(socket, #"{"type":"set_status","status_code":500}"#, isText: true)
        #expect(client.received() == "")
        call.answer(#"{"status_code":404}"#)
        socket.onEnd?(.complete)
        #expect(client.received() == "0\r\n\r\n")
        // The connection goes on.
        client.request("GET /p")
        harness.link.next().answer("{}")
        #expect(client.response().status == 200)
    }

    @Test func bytesWrittenBeforeTheReturnValueWin() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        call.answer(#"{"status_code":404}"#)
        #expect(client.received() == "", "what was written before is not known yet")
        write(socket, "x")
        #expect(client.response().status == 200)
        socket.onCaughtUp?()
        socket.onEnd?(.complete)
        #expect(client.received() == "0\r\n\r\n")
    }

    @Test func theReturnValueWinsOverControlMessages() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        call.answer(#"{"status_code":202}"#)
        write(socket, #"{"type":"set_status","status_code":201}"#, isText: true)
        socket.onCaughtUp?()
        harness.loop.advanceTime(by: ResponseStream.settleTime)
        #expect(client.response().status == 202)
        #expect(!harness.core.channelOpened(try ref(call, "request_body")), "the exchange is over")
    }

    @Test func bytesOnTheirWayWhenTheReturnValueComesStillWin() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        write(socket, #"{"type":"set_status","status_code":201}"#, isText: true)
        socket.onCaughtUp?()
        call.answer(#"{"status_code":202}"#)
        write(socket, "x")
        harness.loop.advanceTime(by: ResponseStream.settleTime)
        let response = client.response()
        #expect(response.status == 201 && response.body == "1\r\nx\r\n")
    }

    @Test func aWriterThatComesWithinTheGraceIsWaitedFor() throws {
        let (client, call) = try begin()
        call.answer("null")
        harness.loop.advanceTime(by: .milliseconds(900))
        let socket = try openResponse(call)
        harness.loop.advanceTime(by: .seconds(20))
        #expect(client.received() == "")
        write(socket, "late")
        #expect(client.response().body.hasPrefix("4\r\nlate"))
    }

    @Test func aWriterThatNeverWritesMeetsTheDeadline() throws {
        let (client, call) = try begin()
        _ = try openResponse(call)
        call.answer("null")
        harness.loop.advanceTime(by: .seconds(30))
        #expect(client.response().status == 504)
    }

    @Test func closingWithoutBytesIsAnEmptyResponse() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        write(socket, #"{"type":"set_status","status_code":201}"#, isText: true)
        socket.onEnd?(.complete)
        let response = client.response()
        #expect(response.status == 201 && response.header("content-length") == "0" && response.body == "")
    }

    @Test func aFailureBeforeTheHeadIs500WhateverWasCollected() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        write(socket, #"{"type":"set_status","status_code":201}"#, isText: true)
        call.fail("invocation_failed", "boom")
        #expect(client.response().status == 500)
    }

    @Test(arguments: [true, false]) func aStreamLostBeforeTheHeadIs502UnlessTheHandlerAnswers(returnsNothing: Bool) throws {
        let (client, call) = try begin()
        try openResponse(call).onEnd?(.broken)
        #expect(client.received() == "")
        call.answer(returnsNothing ? nil : #"{"status_code":203}"#)
        #expect(client.response().status == (returnsNothing ? 502 : 203))
    }

    @Test func aStreamLostBehindTheHeadIsCutWithoutTheFinalChunk() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        write(socket, "x")
        _ = client.received()
        socket.onEnd?(.broken)
        #expect(client.received() == "")
        #expect(!client.isOpen)
    }

    @Test func aClientThatLeavesEndsTheStream() throws {
        let (client, call) = try begin()
        let socket = try openResponse(call)
        write(socket, "x")
        client.channel.close(promise: nil)
        harness.loop.run()
        #expect(socket.onMessage == nil, "the socket was ended")
        #expect(harness.core.connectionCount == 0)
    }

    @Test(arguments: ["HEAD /p", "GET /p"]) func nothingFollowsAHeadThatMayHaveNoBody(_ line: String) throws {
        let (client, call) = try begin(line)
        let socket = try openResponse(call)
        if line.hasPrefix("GET") { write(socket, #"{"type":"set_status","status_code":304}"#, isText: true) }
        write(socket, "x")
        let response = client.response()
        #expect(response.body == "" && response.header("transfer-encoding") == nil)
        #expect(socket.onMessage == nil)
        client.request("GET /p")
        harness.link.next().answer("{}")
        #expect(client.response().status == 200)
    }

    @Test func anHTTP10ClientGetsABodyThatEndsWithTheConnection() throws {
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.send("GET /p HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        let socket = try openResponse(harness.link.next())
        write(socket, "raw")
        let response = client.response()
        #expect(response.header("connection") == "close" && response.header("transfer-encoding") == nil && response.body == "raw")
        socket.onEnd?(.complete)
        #expect(client.received() == "")
        #expect(!client.isOpen)
    }

    @Test func bothChannelsOpenOnceAndInTheirDirectionOnly() throws {
        let (_, call) = try begin()
        let (body, response) = (try ref(call, "request_body"), try ref(call, "response"))
        func turned(_ ref: ChannelRef) -> ChannelRef {
            ChannelRef(channelID: ref.channelID, accessKey: ref.accessKey, direction: ref.direction == .read ? .write : .read)
        }
        #expect(!harness.core.channelOpened(turned(body)) && !harness.core.channelOpened(turned(response)))
        #expect(harness.core.channelOpened(body) && harness.core.channelOpened(response))
        #expect(harness.link.opened.map(\.ref) == [turned(body), turned(response)])
        #expect(!harness.core.channelOpened(body) && !harness.core.channelOpened(response))
    }

    @Test func referencesOfAnEarlierExchangeOpenNothing() throws {
        let (client, first) = try begin()
        first.answer("{}")
        _ = client.received()
        client.request("GET /p")
        let second = harness.link.next()
        #expect(!harness.core.channelOpened(try ref(first, "response")))
        #expect(harness.core.channelOpened(try ref(second, "response")))
    }

    @Test func aBodyThatNobodyTakesStopsTheClientAtItsMark() throws {
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.send("POST /p HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n")
        let connection = try unwrap(harness.core.slots.connections.first)
        for _ in 0..<4 { client.send(String(repeating: "x", count: 65_536)) }
        #expect(connection.machine.exchange.isBodyFull)
        harness.link.next().answer("{}")
        #expect(client.response().status == 200)
        #expect(connection.machine.waitingBytes == 0, "the rest is discarded")
    }

    @Test func noContinueBehindAResponseThatHasBegun() throws {
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.send("POST /p HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        let call = harness.link.next()
        write(try openResponse(call), "x")
        #expect(client.response().header("connection") == "close")
        #expect(harness.core.channelOpened(try ref(call, "request_body")))
        #expect(client.received() == "")
    }

    @Test func continueIsSaidWhenTheBodyIsAskedFor() throws {
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.send("POST /p HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        let call = harness.link.next()
        #expect(client.received() == "")
        #expect(harness.core.channelOpened(try ref(call, "request_body")))
        #expect(client.received() == "HTTP/1.1 100 Continue\r\n\r\n")
    }
}
