import IIIProtocol
import IIITransport
import NIOCore

extension WorkerClient {
    /// Makes a one-way channel: keep one reference and hand the other out in a payload or a result.
    ///
    /// `bufferSize` messages (1 to 1024) may wait for the reader. What nobody has opened dies with this worker's connection.
    /// Throws `too_many_channels` beyond the engine's `max_channels_per_worker`.
    public func createChannel(bufferSize: Int = 64) async throws -> (writer: ChannelRef, reader: ChannelRef) {
        let made = try await call("engine::channels::create", json: ["buffer_size": JSONValue(bufferSize)])
        guard let writer = made?["writer"].flatMap(ChannelRef.init(json:)), let reader = made?["reader"].flatMap(ChannelRef.init(json:))
        else {
            throw InvocationError(.invalidMessage, "The engine answered engine::channels::create without two references")
        }
        return (writer, reader)
    }

    /// Opens the writing end.
    public func openWriter(_ ref: ChannelRef) async throws -> ChannelWriter {
        try await onLink { link, promise in ChannelWriter(socket: link.makeChannelSocket(), on: link.eventLoop).start(ref, link, promise) }
    }

    /// Opens the reading end. What comes faster than it is consumed waits at the sender, beyond 1 MiB.
    public func openReader(_ ref: ChannelRef) async throws -> ChannelReader {
        try await onLink { link, promise in ChannelReader.open(ref, link, opened: promise) }
    }
}

/// A message of a channel.
public enum ChannelMessage: Sendable, Hashable {
    case text(String)
    case binary([UInt8])
}

/// Why a channel ended early.
public struct ChannelBroken: Error, Sendable, CustomStringConvertible {
    /// What happened, as one sentence.
    public let description: String
}

/// The writing end of a channel. Call `finish` when all is written: without it the reader learns that something is missing.
public final class ChannelWriter: Sendable {
    /// More than this waiting in the socket, and `write` waits.
    private static let highWater = 1 << 20

    private struct State {
        var waiting: [EventLoopPromise<Void>] = []
        var ending: ChannelSocket.Ending?
    }

    private let socket: NIOLoopBound<ChannelSocket>
    private let state: NIOLoopBoundBox<State>
    private let loop: any EventLoop

    fileprivate init(socket: ChannelSocket, on loop: any EventLoop) {
        self.loop = loop
        self.socket = NIOLoopBound(socket, eventLoop: loop)
        state = NIOLoopBoundBox(State(), eventLoop: loop)
    }

    fileprivate func start(_ ref: ChannelRef, _ link: WorkerLink, _ opened: EventLoopPromise<ChannelWriter>) {
        let socket = socket.value
        socket.onOpen = { opened.succeed(self) }
        socket.onDrained = { self.drained() }
        socket.onEnd = { ending in
            opened.fail(ChannelBroken(description: "the channel cannot be opened for writing"))
            self.state.value.ending = ending
            for promise in self.state.value.waiting { promise.fail(Self.broken) }
            self.state.value.waiting = []
        }
        link.open(ref, with: socket)
    }

    private static var broken: ChannelBroken { ChannelBroken(description: "the reader of the channel is gone") }

    private func drained() {
        guard socket.value.queuedBytes < Self.highWater else { return }
        let waiting = state.value.waiting
        state.value.waiting = []
        for promise in waiting { promise.succeed() }
    }

    /// Sends one message; returns when there is room for the next. Throws `ChannelBroken` when nobody reads any more.
    public func write(_ message: ChannelMessage) async throws {
        let promise = loop.makePromise(of: Void.self)
        loop.execute { [self] in
            let socket = socket.value
            guard state.value.ending == nil, socket.isOpen else { return promise.fail(Self.broken) }
            switch message {
            case .text(let text): socket.sendText(Array(text.utf8))
            case .binary(let bytes): bytes.withUnsafeBytes { socket.sendBinary($0) }
            }
            if socket.queuedBytes < Self.highWater { promise.succeed() } else { state.value.waiting.append(promise) }
        }
        try await promise.futureResult.get()
    }

    /// The same for a binary message.
    public func write(_ bytes: [UInt8]) async throws { try await write(.binary(bytes)) }

    /// All is written: the reader gets the rest and then the end.
    public func finish() { loop.execute { [self] in socket.value.finish() } }

    /// Gives up: the reader gets what was sent and then an abnormal end.
    public func cancel() { loop.execute { [self] in socket.value.abort() } }
}

/// The reading end of a channel, as a sequence of its messages. Iterate once. It throws `ChannelBroken` when the writer was lost.
public struct ChannelReader: AsyncSequence, Sendable {
    /// One message of the channel.
    public typealias Element = ChannelMessage
    fileprivate typealias Producer = NIOThrowingAsyncSequenceProducer<
        ChannelMessage, any Error, NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark, Flow
    >

    /// Stops and resumes the socket as the consumer keeps up.
    fileprivate final class Flow: NIOAsyncSequenceProducerDelegate {
        private let socket: NIOLoopBound<ChannelSocket>
        private let loop: any EventLoop

        init(_ socket: ChannelSocket, on loop: any EventLoop) {
            self.loop = loop
            self.socket = NIOLoopBound(socket, eventLoop: loop)
        }

        func produceMore() { loop.execute { [socket] in socket.value.readsAutomatically = true } }
        func didTerminate() { loop.execute { [socket] in socket.value.abort() } }
    }

    /// Messages that wait for the consumer before the socket is not read: 16 of at most 64 KiB from SDKs.
    private static let highWatermark = 16

    private let sequence: Producer

    fileprivate static func open(_ ref: ChannelRef, _ link: WorkerLink, opened: EventLoopPromise<ChannelReader>) {
        let socket = link.makeChannelSocket()
        let made = Producer.makeSequence(
            elementType: ChannelMessage.self, failureType: (any Error).self,
            backPressureStrategy: .init(lowWatermark: highWatermark / 2, highWatermark: highWatermark), finishOnDeinit: false,
            delegate: Flow(socket, on: link.eventLoop))
        let source = made.source
        let reader = ChannelReader(sequence: made.sequence)
        socket.onOpen = { opened.succeed(reader) }
        socket.onMessage = { [unowned socket] bytes, isText in
            let message = isText ? ChannelMessage.text(String(decoding: bytes, as: UTF8.self)) : .binary(Array(bytes))
            if case .stopProducing = source.yield(message) { socket.readsAutomatically = false }
        }
        socket.onEnd = { ending in
            opened.fail(ChannelBroken(description: "the channel cannot be opened for reading"))
            if ending == .complete {
                source.finish()
            } else {
                source.finish(ChannelBroken(description: "the writer of the channel was lost"))
            }
        }
        link.open(ref, with: socket)
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(base: sequence.makeAsyncIterator()) }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate var base:
            NIOThrowingAsyncSequenceProducer<
                ChannelMessage, any Error, NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark, Flow
            >.AsyncIterator

        public mutating func next() async throws -> ChannelMessage? { try await base.next() }
    }
}
