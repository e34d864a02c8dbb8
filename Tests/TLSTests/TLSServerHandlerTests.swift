import COpenSSL
import NIOCore
import NIOEmbedded
import Testing

@testable import IIITLS

@Suite struct TLSServerHandlerTests {
    @Test(arguments: [1, 2, 3, 5, 6, 100, Int.max])
    func recordsMayBeCutAnywhere(_ step: Int) throws {
        let it = try TLSHarness()
        it.handshake(step: step)
        #expect(it.isEstablished)
        it.clientSends(String(repeating: "request ", count: 5000), step: step)
        #expect(String(buffer: it.seen.bytes) == String(repeating: "request ", count: 5000))
        it.channel.writeAndFlush(ByteBuffer(string: "answer"), promise: nil)
        it.pump()
        #expect(String(buffer: it.received) == "answer")
    }

    @Test func partialRecordsCompleteNoReadBehindIt() throws {
        let it = try TLSHarness()
        it.handshake(step: 1)
        #expect(it.seen.readsCompleted == 0)
        _ = it.client.send(ByteBuffer(string: "x"))
        it.deliver(it.client.takeOutput(), step: 1)
        #expect(it.seen.readsCompleted == 1)
    }

    @Test func aLargeWriteIsOneWriteOfFullRecords() throws {
        let it = try TLSHarness()
        it.handshake()
        it.writes.sizes = []
        it.channel.writeAndFlush(ByteBuffer(repeating: 7, count: 100_000), promise: nil)
        #expect(it.writes.sizes.count == 1)
        #expect(it.recordLengths().count == 7)
    }

    @Test func smallWritesShareARecord() throws {
        let it = try TLSHarness()
        it.handshake()
        it.writes.sizes = []
        let done = it.channel.eventLoop.makePromise(of: Void.self)
        for _ in 0..<99 { it.channel.write(ByteBuffer(string: "0123456789"), promise: nil) }
        it.channel.write(ByteBuffer(string: "0123456789"), promise: done)
        #expect(it.writes.sizes.isEmpty)
        it.channel.flush()
        #expect(it.writes.sizes.count == 1)
        try done.futureResult.wait()
        it.deliverToClient()
        #expect(it.received.readableBytes == 1000)
    }

    /// What is not flushed goes on to the channel all the same, so that its writability counts it.
    @Test func lessThanARecordWaitsForAFlush() throws {
        let it = try TLSHarness()
        it.handshake()
        it.writes.sizes = []
        for _ in 0..<100 { it.channel.write(ByteBuffer(repeating: 1, count: 4096), promise: nil) }
        #expect(it.writes.sizes.reduce(0, +) >= 100 * 4096 - TLSSession.recordBytes)
    }

    @Test func everyPromiseIsKept() throws {
        let it = try TLSHarness()
        let early = it.channel.eventLoop.makePromise(of: Void.self)
        it.channel.writeAndFlush(ByteBuffer(string: "early"), promise: early)
        it.handshake()
        try early.futureResult.wait()
        #expect(String(buffer: it.received) == "early")
        let never = it.channel.eventLoop.makePromise(of: Void.self)
        it.channel.write(ByteBuffer(string: "late"), promise: never)
        it.channel.close(promise: nil)
        it.loop.run()
        #expect(throws: (any Error).self) { try never.futureResult.wait() }
    }

    /// So a drain need not wait for clients that have connected and say nothing.
    @Test func anEmptyWriteNeedsNoHandshake() throws {
        let it = try TLSHarness()
        let done = it.channel.eventLoop.makePromise(of: Void.self)
        it.channel.writeAndFlush(ByteBuffer(), promise: done)
        try done.futureResult.wait()
        it.handshake()
        #expect(it.isEstablished)
    }

    @Test func whatIsWrittenBeforeTheHandshakeIsBounded() throws {
        let it = try TLSHarness()
        let refused = it.channel.eventLoop.makePromise(of: Void.self)
        it.channel.write(ByteBuffer(repeating: 0, count: TLSServerHandler.maximumEarlyBytes), promise: nil)
        it.channel.write(ByteBuffer(string: "x"), promise: refused)
        #expect(throws: (any Error).self) { try refused.futureResult.wait() }
    }

    // MARK: Ends

    @Test func theClientsCloseNotifyIsACleanEnd() throws {
        let it = try TLSHarness()
        it.handshake()
        it.client.sendCloseNotify()
        it.pump()
        #expect(!it.channel.isActive && it.seen.errors.isEmpty)
        #expect(it.endpoint.counters.truncated == 0 && it.clientOutcome == .closed)
    }

    @Test func anEndWithoutCloseNotifyIsTruncation() throws {
        let it = try TLSHarness()
        it.handshake()
        it.clientSends("half")
        it.channel.pipeline.fireChannelInactive()
        #expect(it.events.values.last == .truncated)
        #expect(it.seen.errors.first as? TLSServerHandler.Failure == .truncated)
    }

    @Test func ourCloseSaysSo() throws {
        let it = try TLSHarness()
        it.handshake()
        it.channel.close(promise: nil)
        it.deliverToClient()
        #expect(it.clientOutcome == .closed && it.endpoint.counters.truncated == 0)
    }

    @Test func anUncleanCloseDoesNot() throws {
        let it = try TLSHarness()
        it.handshake()
        it.channel.triggerUserOutboundEvent(TLSUncleanClose(), promise: nil)
        it.channel.close(promise: nil)
        #expect(it.deliverToClient() == 0 && it.clientOutcome == .needsMore)
    }

    @Test func closingTheOutputSendsWhatWaitsAndThenCloseNotify() throws {
        let it = try TLSHarness()
        it.handshake()
        it.channel.write(ByteBuffer(string: "last"), promise: nil)
        it.channel.close(mode: .output, promise: nil)
        it.deliverToClient()
        #expect(String(buffer: it.received) == "last" && it.clientOutcome == .closed)
    }

    // MARK: Hostile peers

    @Test func plainHTTPIsAnsweredInPlainText() throws {
        let it = try TLSHarness()
        it.deliver(ByteBuffer(string: "GET / HTTP/1.1\r\nhost: x\r\n\r\n"))
        let answer = try #require(try it.channel.readOutbound(as: ByteBuffer.self))
        let text = String(buffer: answer)
        #expect(text.hasPrefix("HTTP/1.1 400 Bad Request\r\n") && text.hasSuffix("\r\n\r\nthis port speaks TLS"))
        #expect(it.endpoint.counters.plaintextRefused == 1 && it.seen.bytes.readableBytes == 0)
    }

    /// Every prefix of a client's hello, then the end.
    @Test func aTruncatedHandshakeFailsAndNothingElse() throws {
        let whole = try TLSHarness()
        _ = whole.client.startHandshake()
        let hello = whole.client.takeOutput()
        for length in stride(from: 1, to: hello.readableBytes, by: 7) {
            let it = try TLSHarness()
            it.deliver(try #require(hello.getSlice(at: 0, length: length)))
            it.channel.pipeline.fireChannelInactive()
            #expect(it.endpoint.counters.handshakesFailed == 1 && it.endpoint.counters.established == 0)
        }
    }

    @Test(arguments: 0..<64)
    func randomBytesNeverTrap(_ seed: Int) throws {
        var random = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
        func next() -> UInt8 {
            random ^= random << 13
            random ^= random >> 7
            random ^= random << 17
            return UInt8(truncatingIfNeeded: random >> 24)
        }
        let it = try TLSHarness()
        _ = it.client.startHandshake()
        var bytes = it.client.takeOutput()
        // A hello with some of its bytes changed, or mere noise that begins like a record.
        if seed.isMultiple(of: 2) {
            for _ in 0...(seed % 5) { bytes.setInteger(next(), at: 1 + Int(next()) % (bytes.readableBytes - 1)) }
        } else {
            bytes = ByteBuffer(bytes: [22, 3, 1] + (0..<700).map { _ in next() })
        }
        it.deliver(bytes, step: 1 + seed)
        #expect(it.endpoint.counters.established == 0 && it.seen.bytes.readableBytes == 0)
        it.channel.pipeline.fireChannelInactive()
        #expect(it.endpoint.counters.handshakesFailed == 1)
    }

    @Test func aForgedRecordBreaksTheConnection() throws {
        let it = try TLSHarness()
        it.handshake()
        _ = it.client.send(ByteBuffer(string: "genuine"))
        var record = it.client.takeOutput()
        record.setInteger(record.getInteger(at: record.writerIndex - 1, as: UInt8.self)! ^ 1, at: record.writerIndex - 1)
        it.deliver(record)
        #expect(it.seen.bytes.readableBytes == 0 && !it.channel.isActive)
        guard case .connectionFailed(let reason)? = it.events.values.last else {
            Issue.record("no failure was told")
            return
        }
        #expect(reason.contains("bad record mac") || reason.contains("decryption failed"), "\(reason)")
    }

    @Test func aSilentPeerIsTimedOut() throws {
        let it = try TLSHarness()
        it.loop.advanceTime(by: .seconds(9))
        #expect(it.channel.isActive)
        it.loop.advanceTime(by: .seconds(1))
        #expect(!it.channel.isActive && it.endpoint.counters.handshakesTimedOut == 1)
    }

    @Test func anEstablishedConnectionIsNot() throws {
        let it = try TLSHarness()
        it.handshake()
        it.loop.advanceTime(by: .hours(1))
        #expect(it.channel.isActive)
    }

    /// Every key update asks for one in return; a peer that reads none of them is dropped.
    @Test func aPeerThatAsksAndNeverReadsIsDropped() throws {
        let it = try TLSHarness()
        it.handshake()
        it.channel.isWritable = false
        it.channel.pipeline.fireChannelWritabilityChanged()
        var rounds = 0
        while it.channel.isActive, rounds < 20_000 {
            it.client.requestKeyUpdate()
            _ = it.client.send(ByteBuffer(string: "x"))
            it.deliver(it.client.takeOutput())
            rounds += 1
        }
        #expect(!it.channel.isActive)
        #expect(it.writes.sizes.reduce(0, +) < TLSServerHandler.maximumUnreadReplies + 8192)
    }

    // MARK: Negotiation

    @Test func anotherProtocolIsRefused() throws {
        let it = try TLSHarness(alpn: ["h2", "spdy/1"])
        it.handshake()
        #expect(it.endpoint.counters.established == 0 && it.endpoint.counters.handshakesFailed == 1)
        guard case .failed(let reason) = it.clientOutcome else {
            Issue.record("the client got no alert")
            return
        }
        #expect(reason.contains("no application protocol"), "\(reason)")
    }

    @Test(arguments: [["http/1.1"], ["h2", "http/1.1"], []])
    func http11IsSpoken(_ offered: [String]) throws {
        let it = try TLSHarness(alpn: offered)
        it.handshake()
        #expect(it.isEstablished)
    }

    @Test func tls12Works() throws {
        let it = try TLSHarness(maximumVersion: TLS1_2_VERSION)
        it.handshake(step: 1)
        #expect(it.events.values == [.established(version: "TLSv1.2", isResumed: false)])
        it.clientSends("old")
        #expect(String(buffer: it.seen.bytes) == "old")
    }
}
