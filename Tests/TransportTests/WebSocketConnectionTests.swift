import IIIProtocol
import NIOCore
import NIOEmbedded
import Testing

@testable import IIITransport

/// Two connections talk to each other over embedded channels: no sockets, no time.
@Suite struct WebSocketConnectionTests {
    @Test(arguments: [0, 1, 125, 126, 127, 65_535, 65_536, 300_000], [1, 7, 4096])
    func textArrivesWholeHoweverItIsCut(_ length: Int, _ chunk: Int) throws {
        let pair = try Pair()
        let text = (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) }
        pair.client.sendText(expectedLength: 3) { $0.writeBytes(text) }
        try pair.deliver(chunk: length > 10_000 ? max(chunk, 4096) : chunk)
        #expect(pair.server.messages == [.text(text)])
        pair.server.sendText(expectedLength: 200_000) { $0.writeBytes(text) }
        try pair.deliver(chunk: length > 10_000 ? max(chunk, 4096) : chunk)
        #expect(pair.client.messages == [.text(text)])
    }

    @Test func longTextIsFragmentedBetweenScalars() throws {
        var limits = WebSocketLimits()
        limits.fragmentLength = 10
        let pair = try Pair(limits)
        let text = Array("ééééééééééééé😀😀😀€€€".utf8)
        pair.server.sendText(text)
        let bytes = try pair.takeServerOutput()
        // Every fragment is UTF-8 of its own.
        var rest = bytes[...]
        var opcodes: [UInt8] = []
        while let first = rest.first {
            let length = Int(rest[rest.startIndex + 1])
            let payload = Array(rest.dropFirst(2).prefix(length))
            #expect(length <= 10 && payload.withUnsafeBytes { UTF8Validation.isValid($0) })
            opcodes.append(first)
            rest = rest.dropFirst(2 + length)
        }
        #expect(opcodes.first == 0x01 && opcodes.last == 0x80 && opcodes.dropFirst().dropLast().allSatisfy { $0 == 0x00 })
        try pair.toClient(bytes)
        #expect(pair.client.messages == [.text(text)])
    }

    @Test func manyMessagesLeaveInOneWrite() throws {
        let pair = try Pair()
        for index in 0..<100 { pair.server.sendText(Array("\(index)".utf8)) }
        pair.loop.run()
        #expect(try pair.serverChannel.readOutbound(as: ByteBuffer.self) != nil)
        #expect(try pair.serverChannel.readOutbound(as: ByteBuffer.self) == nil)
    }

    @Test func messageLimitEndsWith1009() throws {
        var limits = WebSocketLimits()
        limits.maximumMessageLength = 100
        limits.fragmentLength = 40
        let pair = try Pair(limits)
        pair.client.sendText([UInt8](repeating: 0x61, count: 101))
        try pair.deliver()
        #expect(pair.server.messages.isEmpty)
        #expect(pair.client.peerCloseCode == 1009)
    }

    @Test func overflowingTheQueueDropsThePeer() throws {
        var limits = WebSocketLimits()
        limits.maximumQueuedBytes = 1_000
        let pair = try Pair(limits)
        for _ in 0..<50 { pair.server.sendText([UInt8](repeating: 0x61, count: 100)) }
        #expect(pair.server.phase == .closing && pair.server.overflows == 1)
        pair.loop.advanceTime(by: .seconds(3))
        #expect(!pair.serverChannel.isActive)
    }

    @Test func closeHandshake() throws {
        let pair = try Pair()
        pair.server.close(.serviceRestart, reason: "bye")
        try pair.deliver()
        #expect(pair.client.peerCloseCode == 1012)
        #expect(pair.client.closures == 1 && pair.server.closures == 1)
    }

    @Test func aPeerThatIgnoresTheCloseIsCut() throws {
        let pair = try Pair()
        pair.server.close(.serviceRestart)
        pair.loop.advanceTime(by: .seconds(3))
        #expect(!pair.serverChannel.isActive && pair.server.closures == 1)
    }

    @Test func nothingIsSentAfterTheClose() throws {
        let pair = try Pair()
        pair.server.close(.normal)
        pair.server.sendText(Array("late".utf8))
        try pair.deliver()
        #expect(pair.client.messages.isEmpty)
    }

    /// Seeded random bytes into either end: the connection ends or waits, nothing else.
    @Test(arguments: 0..<64)
    func randomBytesNeverTrap(_ seed: Int) throws {
        var generator = SeededGenerator(seed: UInt64(seed))
        func next() -> UInt8 { UInt8.random(in: .min ... .max, using: &generator) }
        let pair = try Pair()
        for _ in 0..<200 {
            var bytes = (0..<Int(next() % 40)).map { _ in next() }
            // Half of the time, something that begins like a frame.
            if next() % 2 == 0 { bytes = [[0x81, 0x01, 0x80, 0x89, 0x88, 0x82][Int(next() % 6)], 0x80 | next() % 127] + bytes }
            try pair.toServer(bytes)
        }
        pair.loop.advanceTime(by: .seconds(3))
    }
}

enum Message: Equatable {
    case text([UInt8])
    case binary([UInt8])
}

final class RecordingConnection: WebSocketConnection {
    var messages: [Message] = []
    var closures = 0
    var overflows = 0

    override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        messages.append(isText ? .text(Array(bytes)) : .binary(Array(bytes)))
    }
    override func connectionClosed() { closures += 1 }
    override func queueOverflowed() { overflows += 1 }
}

/// A client and a server end, and the wire between them.
final class Pair {
    let loop = EmbeddedEventLoop()
    let server: RecordingConnection
    let client: RecordingConnection
    let serverChannel: EmbeddedChannel
    let clientChannel: EmbeddedChannel

    init(_ limits: WebSocketLimits = WebSocketLimits()) throws {
        let coalescer = WriteCoalescer(eventLoop: loop)
        server = RecordingConnection(role: .server, limits: limits, coalescer: coalescer)
        client = RecordingConnection(role: .client, limits: limits, coalescer: coalescer)
        serverChannel = EmbeddedChannel(loop: loop)
        clientChannel = EmbeddedChannel(loop: loop)
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
        serverChannel.connect(to: address, promise: nil)
        clientChannel.connect(to: address, promise: nil)
        try serverChannel.pipeline.syncOperations.addHandler(server)
        try clientChannel.pipeline.syncOperations.addHandler(client)
        client.open()
    }

    /// Carries bytes both ways until neither end has any.
    func deliver(chunk: Int = .max) throws {
        while true {
            loop.run()
            var moved = false
            while let buffer = try clientChannel.readOutbound(as: ByteBuffer.self) {
                moved = true
                try cut(buffer, chunk, toServer)
            }
            while let buffer = try serverChannel.readOutbound(as: ByteBuffer.self) {
                moved = true
                try cut(buffer, chunk, toClient)
            }
            if !moved { return }
        }
    }

    private func cut(_ buffer: ByteBuffer, _ chunk: Int, _ target: ([UInt8]) throws -> Void) throws {
        var buffer = buffer
        while buffer.readableBytes > 0 {
            try target(buffer.readBytes(length: min(chunk, buffer.readableBytes)) ?? [])
        }
    }

    func toServer(_ bytes: [UInt8]) throws {
        guard serverChannel.isActive else { return }
        try serverChannel.writeInbound(ByteBuffer(bytes: bytes))
        loop.run()
    }

    func toClient(_ bytes: [UInt8]) throws {
        guard clientChannel.isActive else { return }
        try clientChannel.writeInbound(ByteBuffer(bytes: bytes))
        loop.run()
    }

    func takeServerOutput() throws -> [UInt8] {
        loop.run()
        var all: [UInt8] = []
        while let buffer = try serverChannel.readOutbound(as: ByteBuffer.self) { all += Array(buffer.readableBytesView) }
        return all
    }
}
