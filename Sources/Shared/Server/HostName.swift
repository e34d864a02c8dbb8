import IIIProtocol

/// The host part of a `Host` or `Origin` header, in one spelling: lower case, without brackets and port.
package struct HostName: Sendable, Hashable {
    package let name: String

    /// nil for what RFC 9110 §7.2 does not allow: spaces, a port that is no number, an empty name, unbalanced brackets.
    package init?(header text: String) {
        var rest = Substring(text)
        var name: Substring
        if rest.hasPrefix("[") {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            name = rest[rest.index(after: rest.startIndex)..<end]
            rest = rest[rest.index(after: end)...]
            guard !name.isEmpty, name.utf8.allSatisfy({ Self.isAddressByte($0) }) else { return nil }
        } else {
            let end = rest.firstIndex(of: ":") ?? rest.endIndex
            name = rest[..<end]
            rest = rest[end...]
            guard !name.isEmpty, name.utf8.allSatisfy({ Self.isNameByte($0) }) else { return nil }
        }
        if !rest.isEmpty {
            guard rest.first == ":", rest.dropFirst().utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
                rest.dropFirst().utf8.count <= 5
            else { return nil }
        }
        // A name with the dot of the root is the same name.
        if name.hasSuffix("."), name.utf8.count > 1 { name = name.dropLast() }
        self.name = name.lowercased()
    }

    /// RFC 3986 §3.2.2: unreserved, percent, sub-delims.
    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: "-._~%!$&'()*+,;=".utf8.contains(byte)
        }
    }

    private static func isAddressByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: byte == UInt8(ascii: ":") || byte == UInt8(ascii: ".")
        }
    }

    /// Names of this machine for itself.
    package var isLoopback: Bool {
        name == "localhost" || name.hasSuffix(".localhost") || name == "::1" || isDottedQuad && name.hasPrefix("127.")
    }

    private var isDottedQuad: Bool {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
    }

    /// Whether a stranger may own this name in the public DNS and point it at 127.0.0.1. Addresses, names without a dot, and those
    /// below `.localhost` and `.internal`, which are never delegated, are nobody's.
    package var isPublicName: Bool {
        guard name.contains("."), !name.contains(":"), !isDottedQuad else { return false }
        return !name.hasSuffix(".localhost") && !name.hasSuffix(".internal")
    }
}
