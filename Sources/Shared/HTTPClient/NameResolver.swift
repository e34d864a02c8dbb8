import Glibc
import NIOCore
import NIOPosix

/// Looks host names up on threads of their own, because `getaddrinfo` blocks. Confined to one event loop.
///
/// At most `threadCount` look-ups run at once, others wait their turn; a caller that has a deadline keeps it itself.
package final class NameResolver {
    private static let threadCount = 8

    private let threads = NIOThreadPool(numberOfThreads: threadCount)
    private let eventLoop: any EventLoop

    package init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        threads.start()
    }

    /// Every address of `host`, in the system's order of preference; none when there is no such name or the look-up failed.
    package func addresses(of host: String, completion: @escaping ([IPAddress]) -> Void) {
        let waiting = NIOLoopBound(completion, eventLoop: eventLoop)
        threads.runIfActive(eventLoop: eventLoop) { Self.lookUp(host) }.whenComplete { result in
            waiting.value((try? result.get()) ?? [])
        }
    }

    private static func lookUp(_ host: String) -> [IPAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var addresses: [IPAddress] = []
        var next = list
        while let entry = next {
            if let address = entry.pointee.ai_addr.flatMap({ IPAddress($0) }), !addresses.contains(address) { addresses.append(address) }
            next = entry.pointee.ai_next
        }
        return addresses
    }
}
