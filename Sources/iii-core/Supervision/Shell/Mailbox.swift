import CSupervision
import Glibc
import Synchronization

/// Carries messages from any thread to the supervisor's thread; the eventfd wakes its loop.
package final class Mailbox<Message: Sendable>: Sendable {
    private let state = Mutex<(messages: [Message], isClosed: Bool)>(([], false))
    package let descriptor: Int32

    package init() { descriptor = csup_eventfd() }

    deinit { Glibc.close(descriptor) }

    package var count: Int { state.withLock { $0.messages.count } }

    /// False when the reader is gone and nobody will see the message.
    @discardableResult
    package func post(_ message: Message) -> Bool {
        let (isAccepted, isFirst) = state.withLock { state in
            if state.isClosed { return (false, false) }
            state.messages.append(message)
            return (true, state.messages.count == 1)
        }
        if isFirst {
            var one: UInt64 = 1
            _ = write(descriptor, &one, 8)
        }
        return isAccepted
    }

    package func take() -> [Message] {
        var counter: UInt64 = 0
        _ = read(descriptor, &counter, 8)
        return state.withLock { state in
            let taken = state.messages
            state.messages.removeAll()
            return taken
        }
    }

    /// Refuses further messages and returns those nobody has read.
    package func close() -> [Message] {
        state.withLock { $0.isClosed = true }
        return take()
    }
}
