import CSupervision
import Glibc

/// Answers 503 on the listening sockets of children that do not serve, so that no client waits for nobody (`Reception`).
///
/// On the supervisor's loop, never blocking. Limits: 256 connections at a time (others wait in the kernel's queue), 16 KiB of a
/// request, 5 s for each. What a client sends behind its head is read and thrown away (at most 1 MiB), because closing with
/// unread input would cost it the answer. Anything but HTTP, TLS too, is closed.
final class StandIn {
    static let maximumConnections = 256
    static let connectionLifetime: Duration = .seconds(5)
    private static let maximumDiscarded = 1_048_576

    private struct Door {
        var descriptor: Int32
        var tag: UInt64
        var state: String
        var retryAfter: Duration
        var isPaused = false
    }

    private struct Client {
        var descriptor: Int32
        var name: String
        var deadline: Duration
        var input: [UInt8] = []
        var output: [UInt8] = []
        var isAnswered = false
        var discarded = 0
    }

    private let loop: EventLoop
    private var doors: [String: Door] = [:]
    private var clients: [UInt64: Client] = [:]
    /// Requests answered in place of a child, since the start.
    private(set) var answered = 0

    init(loop: EventLoop) { self.loop = loop }

    var deadline: Duration? { clients.values.map(\.deadline).min() }

    func serve(_ name: String, on socket: ListeningSocket, state: String, retryAfter: Duration) {
        if doors[name]?.descriptor != socket.descriptor {
            withdraw(from: name)
            let tag = loop.add(socket.descriptor, .read) { [weak self] _, _ in self?.accept(name) }
            doors[name] = Door(descriptor: socket.descriptor, tag: tag, state: state, retryAfter: retryAfter)
        }
        doors[name]?.state = state
        doors[name]?.retryAfter = retryAfter
    }

    /// The child accepts again; who has been accepted here is still answered here.
    func withdraw(from name: String) {
        guard let door = doors.removeValue(forKey: name) else { return }
        loop.remove(door.tag)
    }

    func expire(_ now: Duration) {
        for (tag, client) in clients where now >= client.deadline { end(tag, client) }
    }

    func close() {
        for name in Array(doors.keys) { withdraw(from: name) }
        for (tag, client) in clients { end(tag, client) }
    }

    // MARK: Connections

    private func accept(_ name: String) {
        guard let door = doors[name] else { return }
        while clients.count < Self.maximumConnections {
            let accepted = csup_accept(door.descriptor)
            guard accepted >= 0 else { return }
            var tag: UInt64 = 0
            tag = loop.add(accepted, .read) { [weak self] readable, writable in self?.turn(tag, readable, writable) }
            clients[tag] = Client(descriptor: accepted, name: name, deadline: MonotonicClock.now + Self.connectionLifetime)
        }
        doors[name]?.isPaused = true
        loop.modify(door.tag, .none)
    }

    private func turn(_ tag: UInt64, _ readable: Bool, _ writable: Bool) {
        guard var client = clients[tag] else { return }
        if readable, !receive(&client) { return end(tag, client) }
        if !client.isAnswered {
            let door = doors[client.name]
            let step = UnavailableAnswer.step(
                client.input, name: client.name, state: door?.state ?? "restarting", retryAfter: door?.retryAfter ?? .seconds(1))
            switch step {
            case .wait: break
            case .close: return end(tag, client)
            case .answer(let bytes):
                client.isAnswered = true
                client.output = bytes
                answered += 1
            }
        }
        if !send(&client) { return end(tag, client) }
        clients[tag] = client
        loop.modify(tag, client.output.isEmpty ? .read : .both)
    }

    /// False when the client has gone.
    private func receive(_ client: inout Client) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 16_384)
        let count = read(client.descriptor, &buffer, buffer.count)
        if count == 0 { return false }
        guard count > 0 else { return errno == EAGAIN || errno == EINTR }
        if client.isAnswered {
            client.discarded += count
            return client.discarded <= Self.maximumDiscarded
        }
        client.input += buffer.prefix(min(count, UnavailableAnswer.maximumHead - client.input.count))
        return true
    }

    /// False when the client takes nothing any more.
    private func send(_ client: inout Client) -> Bool {
        guard client.isAnswered, !client.output.isEmpty else { return true }
        let count = Glibc.send(client.descriptor, client.output, client.output.count, Int32(MSG_NOSIGNAL))
        guard count >= 0 else { return errno == EAGAIN || errno == EINTR }
        client.output.removeFirst(count)
        // The client closes when it has read everything.
        if client.output.isEmpty { shutdown(client.descriptor, Int32(SHUT_WR)) }
        return true
    }

    private func end(_ tag: UInt64, _ client: Client) {
        loop.remove(tag)
        Glibc.close(client.descriptor)
        clients[tag] = nil
        for (name, door) in doors where door.isPaused {
            doors[name]?.isPaused = false
            loop.modify(door.tag, .read)
        }
    }
}
