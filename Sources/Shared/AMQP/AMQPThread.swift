import CRabbitMQ
import Glibc
import NIOConcurrencyHelpers

/// What one connection is for. All of it runs on the connection's thread.
protocol AMQPWork: AnyObject {
    /// A connection has been made; throws what makes it useless.
    func connected(_ connection: AMQPConnection) throws(AMQPError)
    /// There may be something to do.
    func proceed(_ connection: AMQPConnection) throws(AMQPError)
    func received(_ event: AMQPEvent, _ connection: AMQPConnection) throws(AMQPError)
    /// The connection is gone, or could not be made.
    func disconnected(_ error: AMQPError)
    /// The thread ends.
    func stopped()
}

/// What is known of a connection, for whoever shows it.
package struct AMQPState: Sendable, Equatable {
    package var isConnected = false
    /// Why there is no connection.
    package var trouble: AMQPError?
    /// Why the broker takes no messages at present.
    package var blocked: String?
    package var brokerVersion = ""
    /// Connections made so far.
    package var connections = 0
}

/// One connection and the thread that blocks in it. It connects by itself, again and again, with growing pauses.
///
/// The library's handle is touched by this thread alone; everybody else leaves work in a mailbox and wakes it.
final class AMQPThread: @unchecked Sendable {
    private let settings: AMQPSettings
    private let purpose: String
    private let wakeUp: CInt
    private let work: any AMQPWork
    private struct Flags {
        var isStopping = false
        var state = AMQPState()
    }
    private let flags = NIOLockedValueBox(Flags())
    private let changed: @Sendable (AMQPState) -> Void

    /// `changed` is called on the thread whenever the state has changed.
    init(_ settings: AMQPSettings, purpose: String, work: any AMQPWork, changed: @escaping @Sendable (AMQPState) -> Void) {
        self.settings = settings
        self.purpose = purpose
        self.work = work
        self.changed = changed
        wakeUp = eventfd(0, CInt(EFD_CLOEXEC | EFD_NONBLOCK))
    }

    deinit { close(wakeUp) }

    var state: AMQPState { flags.withLockedValue { $0.state } }

    func start() {
        let context = Unmanaged.passRetained(self)
        var thread = pthread_t()
        let result = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<AMQPThread>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, context.toOpaque())
        guard result == 0 else {
            context.release()
            update { $0.trouble = AMQPError(.other, "no thread can be started: \(String(cString: strerror(result)))") }
            return
        }
        pthread_detach(thread)
    }

    /// Something was put into the work's mailbox.
    func wake() {
        var one: UInt64 = 1
        _ = write(wakeUp, &one, 8)
    }

    /// The thread ends soon; `stopped` of its work tells when.
    func stop() {
        flags.withLockedValue { $0.isStopping = true }
        wake()
    }

    private var isStopping: Bool { flags.withLockedValue { $0.isStopping } }

    func update(_ body: (inout AMQPState) -> Void) {
        let new: AMQPState? = flags.withLockedValue { flags in
            let old = flags.state
            body(&flags.state)
            return flags.state == old ? nil : flags.state
        }
        if let new { changed(new) }
    }

    // MARK: The thread

    private func run() {
        var all = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, nil)
        var pause = settings.firstReconnectDelay
        while !isStopping {
            do throws(AMQPError) {
                let connection = try AMQPConnection(settings, purpose: purpose)
                try work.connected(connection)
                pause = settings.firstReconnectDelay
                update {
                    $0.isConnected = true
                    $0.trouble = nil
                    $0.brokerVersion = connection.brokerVersion
                    $0.connections += 1
                }
                try serve(connection)
            } catch {
                update {
                    $0.isConnected = false
                    $0.trouble = error
                    $0.blocked = nil
                }
                work.disconnected(error)
                waitOut(Int(Double(pause) * Double.random(in: 0.7...1.3)))
                pause = min(pause * 2, settings.maximumReconnectDelay)
            }
        }
        work.stopped()
    }

    /// Serves it until it ends or the thread is to stop.
    private func serve(_ connection: AMQPConnection) throws(AMQPError) {
        while !isStopping {
            try work.proceed(connection)
            var count = 0
            // In bursts: what has come is handed on before more is read.
            while count < 256, let event = try connection.next(within: 0) {
                count += 1
                switch event {
                case .blocked(let reason): update { $0.blocked = reason.isEmpty ? "no reason given" : reason }
                case .unblocked: update { $0.blocked = nil }
                default: break
                }
                try work.received(event, connection)
            }
            connection.releaseBuffers()
            if count == 0, !connection.hasBuffered { wait(connection.socket, milliseconds: 1000) }
        }
        // What was taken is done.
        try work.proceed(connection)
    }

    private func wait(_ socket: CInt, milliseconds: Int) {
        var descriptors = [
            pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0), pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
        ]
        poll(&descriptors, 2, CInt(milliseconds))
        if descriptors[0].revents != 0 { drain() }
    }

    private func drain() {
        var value: UInt64 = 0
        _ = read(wakeUp, &value, 8)
    }

    private func waitOut(_ milliseconds: Int) {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let end = now.tv_sec * 1000 + now.tv_nsec / 1_000_000 + milliseconds
        while !isStopping {
            clock_gettime(CLOCK_MONOTONIC, &now)
            let left = end - (now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
            guard left > 0 else { return }
            var descriptor = pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0)
            poll(&descriptor, 1, CInt(left))
            drain()
        }
    }
}
