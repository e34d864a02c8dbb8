import CSupervision
import Glibc

/// A plain epoll loop for one thread: descriptors with a closure each. Level-triggered.
package final class EventLoop {
    package enum Interest: Int32 {
        case read = 1
        case write = 2
        case both = 3
        case none = 0
    }

    private let epoll: Int32
    private var receivers: [UInt64: (_ readable: Bool, _ writable: Bool) -> Void] = [:]
    private var descriptors: [UInt64: Int32] = [:]
    private var nextTag: UInt64 = 1

    package init() { epoll = csup_epoll_create() }

    deinit { close(epoll) }

    /// Returns the tag to change or remove the registration with. The descriptor stays the caller's to close.
    @discardableResult
    package func add(_ descriptor: Int32, _ interest: Interest, _ receive: @escaping (_ readable: Bool, _ writable: Bool) -> Void) -> UInt64
    {
        let tag = nextTag
        nextTag += 1
        receivers[tag] = receive
        descriptors[tag] = descriptor
        _ = csup_epoll_add(epoll, descriptor, interest.rawValue, tag)
        return tag
    }

    package func modify(_ tag: UInt64, _ interest: Interest) {
        if let descriptor = descriptors[tag] { _ = csup_epoll_modify(epoll, descriptor, interest.rawValue, tag) }
    }

    /// Call it before closing the descriptor.
    package func remove(_ tag: UInt64) {
        if let descriptor = descriptors.removeValue(forKey: tag) { csup_epoll_remove(epoll, descriptor) }
        receivers[tag] = nil
    }

    /// Waits for events until `deadline` (nil: for ever) and delivers them. An event whose registration was removed by an
    /// earlier one of the same batch is dropped, because tags are never used twice.
    package func turn(until deadline: Duration?) {
        var timeout: Int32 = -1
        if let deadline {
            let left = deadline - MonotonicClock.now
            // Rounded up: waking a fraction too early would spin.
            let (seconds, attoseconds) = left.components
            let milliseconds = seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
            timeout = Int32(clamping: max(0, milliseconds))
        }
        var events = [csup_event](repeating: csup_event(), count: 64)
        let count = csup_epoll_wait(epoll, &events, 64, timeout)
        guard count > 0 else { return }
        for event in events.prefix(Int(count)) {
            receivers[event.tag]?(event.events & UInt32(CSUP_READ) != 0, event.events & UInt32(CSUP_WRITE) != 0)
        }
    }
}
