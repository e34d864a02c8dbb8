import CSupervision
import Glibc
import Synchronization

/// Writes whole lines to a console from a thread of its own, so that nobody else ever waits for a stopped terminal.
///
/// Limit: 4 MiB of lines wait; beyond that lines are dropped and counted, and the count is printed once there is room.
package final class ConsoleWriter: Sendable {
    private struct Queue {
        var bytes: [UInt8] = []
        var dropped = 0
        var isWriting = false
        var isClosed = false
    }

    private let queue = Mutex(Queue())
    private let descriptor: Int32
    private let wakeUp: Int32
    private let limit: Int

    package init(descriptor: Int32, limit: Int = 4_194_304) {
        self.descriptor = descriptor
        self.limit = limit
        // Blocking: the thread sleeps in read(2).
        wakeUp = csup_eventfd()
        let flags = fcntl(wakeUp, F_GETFL)
        _ = fcntl(wakeUp, F_SETFL, flags & ~O_NONBLOCK)
        let context = Unmanaged.passRetained(self).toOpaque()
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<ConsoleWriter>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, context)
        if status == 0 { pthread_detach(thread) } else { Unmanaged<ConsoleWriter>.fromOpaque(context).release() }
    }

    /// Queues complete lines; never blocks.
    package func write(_ lines: [UInt8]) {
        let isFirst = queue.withLock { queue -> Bool in
            guard queue.bytes.count + lines.count <= limit else {
                queue.dropped += 1
                return false
            }
            queue.bytes += lines
            return true
        }
        if isFirst { signal() }
    }

    package func write(_ line: String) { write(Array(line.utf8) + [UInt8(ascii: "\n")]) }

    package var dropped: Int { queue.withLock { $0.dropped } }

    /// Waits until everything is written, at most `timeout`; then ends the thread.
    package func close(within timeout: Duration) {
        let end = MonotonicClock.now + timeout
        while MonotonicClock.now < end, queue.withLock({ !$0.bytes.isEmpty || $0.isWriting }) { usleep(2000) }
        queue.withLock { $0.isClosed = true }
        signal()
    }

    private func signal() {
        var one: UInt64 = 1
        _ = Glibc.write(wakeUp, &one, 8)
    }

    private func run() {
        var counter: UInt64 = 0
        while true {
            _ = read(wakeUp, &counter, 8)
            while let chunk = take() {
                var start = 0
                while start < chunk.count {
                    let count = chunk.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress.map { $0 + start }, chunk.count - start) }
                    if count > 0 { start += count } else if errno == EAGAIN { waitUntilWritable() } else if errno != EINTR { break }
                }
                queue.withLock { $0.isWriting = false }
            }
            if queue.withLock({ $0.isClosed }) { break }
        }
        Glibc.close(wakeUp)
    }

    private func take() -> [UInt8]? {
        queue.withLock { queue in
            guard !queue.bytes.isEmpty else { return nil }
            var chunk: [UInt8] = []
            swap(&chunk, &queue.bytes)
            if queue.dropped > 0 {
                chunk += Array("… \(queue.dropped) lines dropped because the console was blocked\n".utf8)
                queue.dropped = 0
            }
            queue.isWriting = true
            return chunk
        }
    }

    private func waitUntilWritable() {
        var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&request, 1, 1000)
    }
}
