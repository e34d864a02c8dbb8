import Glibc

/// An IPv4 or IPv6 address, and whether it belongs to a network that a public service has no business in.
package enum IPAddress: Hashable, Sendable, CustomStringConvertible {
    case v4(UInt32)
    case v6(high: UInt64, low: UInt64)

    /// From strict text: dotted decimal without leading zeros, or IPv6 without brackets and zone.
    package init?(_ text: String) {
        var four = in_addr()
        var six = in6_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            self = .v4(UInt32(bigEndian: four.s_addr))
        } else if inet_pton(AF_INET6, text, &six) == 1 {
            self.init(six)
        } else {
            return nil
        }
    }

    /// From a socket address; nil for any other family.
    package init?(_ address: UnsafePointer<sockaddr>) {
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            self = address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { .v4(UInt32(bigEndian: $0.pointee.sin_addr.s_addr)) }
        case AF_INET6:
            self = address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { IPAddress($0.pointee.sin6_addr) }
        default:
            return nil
        }
    }

    private init(_ address: in6_addr) {
        self = withUnsafeBytes(of: address) {
            .v6(
                high: UInt64(bigEndian: $0.loadUnaligned(as: UInt64.self)),
                low: UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
        }
    }

    /// Canonical text, IPv6 without brackets.
    package var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        switch self {
        case .v4(let value):
            var address = in_addr(s_addr: value.bigEndian)
            inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
        case .v6(let high, let low):
            var words = (high.bigEndian, low.bigEndian)
            inet_ntop(AF_INET6, &words, &text, socklen_t(text.count))
        }
        return text.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    }

    package var isIPv6: Bool {
        if case .v6 = self { return true }
        return false
    }

    // MARK: Classes

    /// Whether `block_private_ips` refuses it: everything that is not a public unicast address, also when such an IPv4
    /// address is wrapped in an IPv6 form.
    package var isPrivate: Bool {
        switch self {
        case .v4(let value): Self.privateV4.contains { value & $0.mask == $0.network }
        case .v6(let high, let low): Self.isPrivateV6(high, low)
        }
    }

    private static func network(_ a: UInt32, _ b: UInt32, _ c: UInt32, _ length: UInt32) -> (network: UInt32, mask: UInt32) {
        (a << 24 | b << 16 | c << 8, UInt32.max << (32 - length))
    }

    private static let privateV4: [(network: UInt32, mask: UInt32)] = [
        network(0, 0, 0, 8),  // this network, unspecified
        network(10, 0, 0, 8),  // RFC 1918
        network(100, 64, 0, 10),  // carrier-grade NAT
        network(127, 0, 0, 8),  // loopback
        network(169, 254, 0, 16),  // link-local, cloud metadata
        network(172, 16, 0, 12),  // RFC 1918
        network(192, 0, 0, 24),  // protocol assignments
        network(192, 0, 2, 24),  // documentation
        network(192, 168, 0, 16),  // RFC 1918
        network(198, 18, 0, 15),  // benchmarking
        network(198, 51, 100, 24),  // documentation
        network(203, 0, 113, 24),  // documentation
        network(224, 0, 0, 4),  // multicast
        network(240, 0, 0, 4),  // reserved, broadcast
    ]

    private static func isPrivateV6(_ high: UInt64, _ low: UInt64) -> Bool {
        func embedded(_ value: UInt64) -> Bool { IPAddress.v4(UInt32(truncatingIfNeeded: value)).isPrivate }
        switch high >> 48 {
        case 0xFC00...0xFDFF: return true  // unique local
        case 0xFE80...0xFEFF: return true  // link-local, and the old site-local
        case 0xFF00...0xFFFF: return true  // multicast
        case 0x2002: return embedded(high >> 16)  // 6to4
        default: break
        }
        // Documentation, old and new, and the discard prefix.
        if high >> 32 == 0x2001_0DB8 || high >> 44 == 0x3FFF0 || high == 0x0100_0000_0000_0000 { return true }
        // Teredo: the server's address, and the client's with all bits turned.
        if high >> 32 == 0x2001_0000 { return embedded(high) || embedded(~low) }
        // NAT64: the well-known prefix wraps an address; the local-use prefix is some network's own.
        if high == 0x0064_FF9B_0000_0000 { return low >> 32 != 0 || embedded(low) }
        if high >> 16 == 0x0064_FF9B_0001 { return true }
        guard high == 0 else { return false }
        // Mapped and translated forms; all else below is loopback, unspecified or the compatible form.
        if low >> 32 == 0xFFFF || low >> 32 == 0xFFFF_0000 { return embedded(low) }
        return low >> 32 != 0 || low <= 1 || embedded(low)
    }
}
