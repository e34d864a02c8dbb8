import IIICrypto
import IIIProtocol
import IIIServer
import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// One channel with the sockets at its ends. Confined to the engine's loop.
package final class DataChannel {
    let id: String
    let accessKey: [UInt8]
    /// Whose disconnect takes back the ends that nobody has opened.
    let owner: UUIDBits?
    let createdAt: NIODeadline
    package internal(set) var pipe: ChannelPipe
    var writer: ChannelConnection?
    var reader: ChannelConnection?
    /// The writer is not read, because the channel or all of them together hold enough.
    var isWriterPaused = false

    init(id: String, accessKey: [UInt8], owner: UUIDBits?, createdAt: NIODeadline, pipe: ChannelPipe) {
        self.id = id
        self.accessKey = accessKey
        self.owner = owner
        self.createdAt = createdAt
        self.pipe = pipe
    }
}

/// All channels of the engine: created on request, or materialised from a minted reference when somebody opens it
/// (docs/reference/worker-protocol.md#references-without-a-round-trip); removed when both ends are done, retired, orphaned
/// or expired. Confined to the engine's loop.
///
/// Limits: `max_channels_per_worker` (10 000), `channel_buffer_bytes` per channel (16 MiB), `channels_buffer_bytes` for all
/// together (64 MiB; beyond, every writer that holds more than its share waits), five minutes to open both ends.
final class Channels {
    /// A built-in that mints references, and the function that is told when one of them is opened.
    private struct Minter {
        let worker: Worker
        let function: FunctionID
    }

    /// More than this in the reader's socket, and messages wait in the pipe instead.
    private static let readerHighWater = 256 << 10
    /// What one channel may hold although all together hold too much, so that none starves.
    private static let fairShare = 64 << 10
    /// Until when both ends must have been opened.
    static let openingTime = TimeAmount.minutes(5)

    private unowned let engine: Engine
    private let mac: HMACSHA256
    private var channels: [String: DataChannel] = [:]
    private var byOwner: [UUIDBits: Set<String>] = [:]
    private var minters: [String: Minter] = [:]
    private var connections: [ObjectIdentifier: ChannelConnection] = [:]
    private(set) var waitingBytes = 0
    private var waitingForRoom: [DataChannel] = []

    init(engine: Engine) {
        self.engine = engine
        mac = HMACSHA256(key: Array(engine.channelKey.utf8))
    }

    var count: Int { channels.count }
    var connectionCount: Int { connections.count }
    var openConnections: [ChannelConnection] { Array(connections.values) }

    // MARK: Life cycle

    /// A channel whose id and key nobody can guess; nil when `owner` has as many as it may have.
    func create(capacity: Int, owner: UUIDBits?) -> DataChannel? {
        insert(UUIDBits.random().text, Array(UUIDBits.random().text.utf8), capacity: capacity, owner: owner)
    }

    private func insert(_ id: String, _ accessKey: [UInt8], capacity: Int, owner: UUIDBits?) -> DataChannel? {
        if let owner {
            guard byOwner[owner, default: []].count < engine.options.maximumChannelsPerWorker else {
                engine.counters.channelLimitReached += 1
                return nil
            }
            byOwner[owner, default: []].insert(id)
        }
        let channel = DataChannel(
            id: id, accessKey: accessKey, owner: owner, createdAt: .now(),
            pipe: ChannelPipe(maximumMessages: capacity, maximumBytes: engine.options.channelBufferBytes))
        channels[id] = channel
        engine.counters.channelsCreated += 1
        return channel
    }

    private func remove(_ channel: DataChannel) {
        guard channels.removeValue(forKey: channel.id) != nil else { return }
        waitingBytes -= channel.pipe.waitingBytes
        if let owner = channel.owner {
            byOwner[owner]?.remove(channel.id)
            if byOwner[owner]?.isEmpty == true { byOwner[owner] = nil }
        }
        makeRoom()
    }

    /// Nobody may open an end of these any more; an end whose other side never came is closed with 1011.
    func retire(_ ids: [String]) {
        for id in ids { if let channel = channels[id] { dropVacantEnds(of: channel, "the channel was retired") } }
    }

    /// What a worker created and handed out dies with it, unless both ends are in use (docs/reference/worker-protocol.md#channels).
    func ownerDisconnected(_ owner: UUIDBits) {
        for (prefix, minter) in minters where minter.worker.id == owner { minters[prefix] = nil }
        for id in byOwner[owner] ?? [] {
            if let channel = channels[id] { dropVacantEnds(of: channel, "the owner of the channel is gone") }
        }
    }

    /// Removes what has been waiting for one of its ends for too long.
    func expire(_ now: NIODeadline) {
        for channel in Array(channels.values)
        where now - channel.createdAt > Self.openingTime && (channel.pipe.writer == .vacant || channel.pipe.reader == .vacant) {
            engine.counters.channelsExpired += 1
            dropVacantEnds(of: channel, "the other end was never opened")
        }
    }

    private func dropVacantEnds(of channel: DataChannel, _ reason: String) {
        guard channel.pipe.writer == .vacant || channel.pipe.reader == .vacant else { return }
        remove(channel)
        channel.writer?.close(.internalError, reason: reason)
        channel.reader?.close(.internalError, reason: reason)
    }

    func shutDown() {
        for connection in Array(connections.values) { connection.close(.serviceRestart, reason: "engine is shutting down") }
    }

    // MARK: Minted references

    /// References whose nonce starts with `prefix` are this built-in's; `function` is told of each that somebody opens.
    func announce(prefix: String, worker: Worker, function: FunctionID) {
        minters[prefix] = Minter(worker: worker, function: function)
    }

    /// The channel of a genuine, unexpired reference of a connected built-in.
    private func materialise(_ id: String, key: String, _ direction: ChannelRef.Direction) -> DataChannel? {
        guard let reference = ChannelReference(channelID: id), reference.deadline >= UInt64(WallClock.milliseconds()),
            let minter = minters[reference.mintPrefix], reference.isOpened(by: key, mac: mac.authenticate(reference.base)),
            let channel = insert(id, Array(key.utf8), capacity: 64, owner: minter.worker.id)
        else { return nil }
        engine.call(
            minter.function, data: ChannelRef(channelID: id, accessKey: key, direction: direction).json.bytes, callee: minter.worker)
        return channel
    }

    // MARK: Opening

    /// Decides on an upgrade request for `/ws/channels/{id}` (docs/reference/worker-protocol.md#channels).
    func decide(_ request: UpgradeRequest, limits: WebSocketLimits) -> UpgradeDecision {
        let id = String(request.path.dropFirst(Engine.channelPath.count))
        var key: String?
        var direction: ChannelRef.Direction?
        // Other members are somebody else's (0.25 clients keep their base URL's query).
        for member in request.query.split(separator: "&") {
            let parts = member.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { continue }
            if parts[0] == "key" { key = parts[1] }
            if parts[0] == "dir" { direction = ChannelRef.Direction(rawValue: parts[1]) }
        }
        guard let key, let direction else {
            return .refuse(.badRequest, body: "a channel is opened with ?key=<access key>&dir=read or &dir=write\n")
        }
        let known = channels[id].flatMap { SecureBytes.constantTimeEquals($0.accessKey, Array(key.utf8)) ? $0 : nil }
        guard let channel = known ?? (channels[id] == nil ? materialise(id, key: key, direction) : nil) else {
            return .refuse(.notFound, body: "Channel not found")
        }
        return .accept(
            ChannelConnection(channels: self, channel: channel, direction: direction, limits: limits, coalescer: engine.coalescer))
    }

    /// Gives `connection` its end; false when it is taken.
    func opened(_ connection: ChannelConnection) -> Bool {
        let channel = connection.channel
        guard channels[channel.id] === channel else { return false }
        switch connection.direction {
        case .write:
            guard channel.pipe.takeWriter() else { return false }
            channel.writer = connection
        case .read:
            guard channel.pipe.takeReader() else { return false }
            channel.reader = connection
            readerAdvanced(channel)
            // Tells a reader that all that waited for it is on its way; ordinary clients just answer the ping.
            connection.sendPing()
        }
        connections[ObjectIdentifier(connection)] = connection
        return true
    }

    // MARK: Data

    func received(_ bytes: UnsafeRawBufferPointer, isText: Bool, from writer: ChannelConnection) {
        let channel = writer.channel
        guard channels[channel.id] === channel else { return }
        engine.counters.channelMessages &+= 1
        let keepsUp = (channel.reader?.queuedBytes ?? 0) < Self.readerHighWater
        switch channel.pipe.accept(bytes, isText: isText, readerKeepsUp: keepsUp) {
        case .passOn: channel.reader?.send(bytes, isText: isText)
        case .kept:
            waitingBytes += bytes.count
            if mustWait(channel) { pause(channel) }
        case .discarded: break
        }
    }

    private func mustWait(_ channel: DataChannel) -> Bool {
        channel.pipe.isFull || (waitingBytes > engine.options.channelsBufferBytes && channel.pipe.waitingBytes > Self.fairShare)
    }

    private func pause(_ channel: DataChannel) {
        guard !channel.isWriterPaused, let writer = channel.writer else { return }
        channel.isWriterPaused = true
        engine.counters.channelWritersPaused += 1
        writer.readsAutomatically = false
        if !channel.pipe.isFull { waitingForRoom.append(channel) }
    }

    private func resume(_ channel: DataChannel) {
        guard channel.isWriterPaused else { return }
        if mustWait(channel) {
            // Not full any more, but all channels together are: `makeRoom` comes back to it.
            if !channel.pipe.isFull, !waitingForRoom.contains(where: { $0 === channel }) { waitingForRoom.append(channel) }
            return
        }
        channel.isWriterPaused = false
        channel.writer?.readsAutomatically = true
    }

    /// The reader's socket has room: moves on what waits, then lets the writer go on or closes the delivered end.
    func readerAdvanced(_ channel: DataChannel) {
        guard let reader = channel.reader, channels[channel.id] === channel else { return }
        let before = channel.pipe.waitingBytes
        while reader.queuedBytes < Self.readerHighWater, let message = channel.pipe.takeNext() {
            message.bytes.withUnsafeReadableBytes { reader.send($0, isText: message.isText) }
        }
        waitingBytes -= before - channel.pipe.waitingBytes
        resume(channel)
        if before != channel.pipe.waitingBytes { makeRoom() }
        // Closed only when nothing waits: the close handshake's time must not be spent on data.
        if channel.pipe.isDelivered, reader.queuedBytes == 0 { closeReader(channel) }
    }

    private func makeRoom() {
        guard waitingBytes <= engine.options.channelsBufferBytes, !waitingForRoom.isEmpty else { return }
        let batch = waitingForRoom
        waitingForRoom = []
        for channel in batch { resume(channel) }
    }

    private func closeReader(_ channel: DataChannel) {
        switch channel.pipe.ending {
        case .complete: channel.reader?.closeWithoutCode()
        case .broken: channel.reader?.close(.internalError, reason: "the writer of the channel was lost")
        case nil: break
        }
    }

    // MARK: Closing

    func ended(_ connection: ChannelConnection) {
        connections[ObjectIdentifier(connection)] = nil
        let channel = connection.channel
        switch connection.direction {
        case .write:
            channel.writer = nil
            channel.isWriterPaused = false
            channel.pipe.writerEnded(connection.hasClosedCleanly ? .complete : .broken)
            readerAdvanced(channel)
        case .read:
            channel.reader = nil
            if channels[channel.id] === channel { waitingBytes -= channel.pipe.waitingBytes }
            channel.pipe.readerEnded()
            // Nobody will read: the writer learns it at once instead of at its next message.
            if channel.pipe.writer == .taken { channel.writer?.close(.internalError, reason: "the reader of the channel is gone") }
            makeRoom()
        }
        // Without a reader nothing can happen any more.
        if channel.pipe.reader == .gone { remove(channel) }
    }
}
