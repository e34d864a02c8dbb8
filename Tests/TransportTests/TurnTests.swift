import IIIProtocol
import NIOCore
import NIOEmbedded
import Testing

@testable import IIITransport

/// A peer's burst is handled in turns, in order, and nothing of it is lost whoever leaves when.
@Suite struct TurnTests {
    /// Every message costs half a turn.
    private final class Costly: WebSocketConnection {
        var messages: [String] = []
        var closures = 0
        override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
            messages.append(String(decoding: bytes, as: UTF8.self))
            spend(nanoseconds: 1 << 20)
        }
        override func connectionClosed() { closures += 1 }
    }

    private let loop = EmbeddedEventLoop()
    private let coalescer: WriteCoalescer
    private let connection: Costly
    private let channel: EmbeddedChannel

    init() throws {
        coalescer = WriteCoalescer(eventLoop: loop)
        connection = Costly(role: .server, limits: WebSocketLimits(), coalescer: coalescer)
        channel = EmbeddedChannel(loop: loop)
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        try channel.pipeline.syncOperations.addHandler(connection)
    }

    /// Ten messages in one read.
    private func burst(closing: Bool = false) throws {
        var bytes: [UInt8] = []
        for index in 0..<10 { bytes += [0x81, 0x81, 0, 0, 0, 0, UInt8(ascii: "0") + UInt8(index)] }
        if closing { bytes += [0x88, 0x80, 0, 0, 0, 0] }
        try channel.writeInbound(ByteBuffer(bytes: bytes))
    }

    private func nextTurn() {
        loop.run()
        loop.advanceTime(by: TurnQueue.pause)
    }

    private let all = (0..<10).map(String.init)

    @Test func aBurstIsHandledInTurnsAndInOrder() throws {
        try burst()
        #expect((1...3).contains(connection.messages.count))
        #expect(!connection.isBeingRead, "the socket is not read while messages wait")
        let first = connection.messages.count
        nextTurn()
        #expect((first + 1...first + 3).contains(connection.messages.count))
        for _ in 0..<10 { nextTurn() }
        #expect(connection.messages == all)
        #expect(connection.isBeingRead && connection.unhandledBytes == 0 && coalescer.budget.inbound == 0)
    }

    @Test func whatAPeerSentBeforeItLeftIsHandled() throws {
        try burst()
        channel.close(promise: nil)
        #expect(connection.phase == .draining && connection.closures == 0)
        for _ in 0..<10 { nextTurn() }
        #expect(connection.messages == all && connection.phase == .closed && connection.closures == 1)
        #expect(coalescer.budget.inbound == 0)
    }

    @Test func aCloseFrameBehindABurstStillCountsAsClean() throws {
        try burst(closing: true)
        channel.close(promise: nil)
        for _ in 0..<10 { nextTurn() }
        #expect(connection.messages == all && connection.hasClosedCleanly && connection.closures == 1)
    }

    @Test(arguments: [true, false]) func nothingMoreIsHandledOfAPeerThatIsPaused(_ byFeeding: Bool) throws {
        try burst()
        if byFeeding { connection.readsAutomatically = false } else { connection.isHeld = true }
        let before = connection.messages.count
        for _ in 0..<10 { nextTurn() }
        #expect(connection.messages.count == before)
        if byFeeding { connection.readsAutomatically = true } else { connection.isHeld = false }
        for _ in 0..<10 { nextTurn() }
        #expect(connection.messages == all)
    }

    @Test func aPausedPeerThatHasLeftEndsWhenItIsClosed() throws {
        try burst()
        connection.readsAutomatically = false
        channel.close(promise: nil)
        for _ in 0..<10 { nextTurn() }
        #expect(connection.phase == .draining)
        connection.close(.internalError)
        #expect(connection.phase == .closed && connection.closures == 1)
        #expect(coalescer.budget.inbound == 0)
    }

    @Test func aMessageTooLongIsRefusedBeforeItIsCollected() throws {
        var limits = WebSocketLimits()
        limits.maximumMessageLength = 100
        let pair = try Pair(limits)
        // A first fragment of 60 bytes, then the head of one of 41.
        try pair.toServer([0x01, 0x80 | 60, 0, 0, 0, 0] + [UInt8](repeating: 0x61, count: 60) + [0x80, 0x80 | 41, 0, 0, 0, 0])
        #expect(pair.server.phase == .closing && pair.server.messages.isEmpty)
    }

    @Test func passingATotalIsReportedOnceAndOutsideOfWhatPassedIt() {
        let budget = coalescer.budget
        budget.maximumOutbound = 1_000
        var reports: [BufferBudget.Direction] = []
        budget.exceeded = { direction in reports.append(direction) }
        for _ in 0..<20 { budget.addOutbound(100) }
        #expect(reports.isEmpty)
        loop.run()
        #expect(reports == [.outbound])
        budget.removeOutbound(1_000)
        budget.addOutbound(1)
        budget.removeOutbound(100)
        loop.run()
        #expect(reports == [.outbound], "what is over by then is no matter")
    }

    @Test func whatADroppedPeerHoldsCountsNoLonger() {
        for _ in 0..<20 { connection.sendText([UInt8](repeating: 0x61, count: 100)) }
        #expect(coalescer.budget.outbound > 1_000)
        connection.drop(.tryAgainLater)
        #expect(coalescer.budget.outbound == 0)
        loop.run()
        loop.advanceTime(by: .seconds(3))
        #expect(coalescer.budget.outbound == 0 && connection.closures == 1)
    }

    @Test func unfinishedMessagesCountAgainstTheTotal() throws {
        coalescer.budget.maximumInbound = 1_000
        var reports: [BufferBudget.Direction] = []
        coalescer.budget.exceeded = { [connection] direction in
            reports.append(direction)
            connection.cut()
        }
        // A frame of 2 000 bytes of which 1 500 come.
        try channel.writeInbound(ByteBuffer(bytes: [0x81, 0x80 | 126, 0x07, 0xD0, 0, 0, 0, 0] + [UInt8](repeating: 0x61, count: 1_500)))
        loop.run()
        #expect(reports == [.inbound] && coalescer.budget.inbound == 0 && connection.closures == 1)
    }
}
