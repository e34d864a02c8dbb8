/// An `http` or `https` address in the one form that is checked, logged and handed to libcurl.
///
/// Whatever the text could mean to another parser is settled here: the scheme and host are lower-case, numeric hosts in any
/// spelling (`0x7f.1`, `2130706433`) become dotted decimal, dot segments are resolved, the fragment is gone. What no two parsers
/// agree on is refused: user and password, backslashes, control characters, percent signs and non-ASCII letters in the host.
package struct HTTPURL: Hashable, Sendable, CustomStringConvertible {
    package enum Invalid: Error { case syntax, scheme }

    package let isSecure: Bool
    /// Name or address; IPv6 without brackets.
    package let host: String
    /// Set when the host is an address.
    package let address: IPAddress?
    package let port: Int
    /// Absolute path, percent-encoded.
    package let path: String
    /// With its question mark; empty when there is none.
    package let query: String

    package init(_ text: String) throws(Invalid) {
        guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "\\") }), text.utf8.count <= 8192 else {
            throw .syntax
        }
        // First of all, so that no combining character hides a delimiter from what follows: all is ASCII from here on.
        let text = Self.encoded(text)
        guard let separator = text.firstRange(of: "://"), separator.lowerBound != text.startIndex else { throw .syntax }
        let scheme = text[..<separator.lowerBound].lowercased()
        guard scheme.utf8.allSatisfy({ $0.isLetter || $0.isDigit || "+-.".utf8.contains($0) }) else { throw .syntax }
        guard scheme == "http" || scheme == "https" else { throw .scheme }
        isSecure = scheme == "https"
        let afterScheme = text[separator.upperBound...]
        let end = afterScheme.firstIndex { "/?#".contains($0) } ?? afterScheme.endIndex
        (host, address, port) = try Self.authority(afterScheme[..<end], defaultPort: isSecure ? 443 : 80)
        let target = afterScheme[end...].prefix { $0 != "#" }
        let queryStart = target.firstIndex(of: "?") ?? target.endIndex
        path = Self.normalizedPath(target[..<queryStart])
        query = String(target[queryStart...])
    }

    package var scheme: String { isSecure ? "https" : "http" }
    package var isDefaultPort: Bool { port == (isSecure ? 443 : 80) }
    /// As a URL has it: IPv6 in brackets.
    package var bracketedHost: String { address?.isIPv6 == true ? "[\(host)]" : host }
    /// The text that goes to libcurl.
    package var description: String { "\(scheme)://\(bracketedHost)\(isDefaultPort ? "" : ":\(port)")\(path)\(query)" }

    // MARK: Pieces

    private static func authority(_ text: Substring, defaultPort: Int) throws(Invalid) -> (String, IPAddress?, Int) {
        guard !text.contains("@") else { throw .syntax }
        var hostText = text
        var portText: Substring = ""
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { throw .syntax }
            hostText = text[...close]
            let rest = text[text.index(after: close)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw .syntax }
            portText = rest.dropFirst()
        } else if let colon = text.firstIndex(of: ":") {
            hostText = text[..<colon]
            portText = text[text.index(after: colon)...]
        }
        guard portText.utf8.allSatisfy(\.isDigit) else { throw .syntax }
        guard let port = portText.isEmpty ? defaultPort : Int(portText), (1...65535).contains(port) else { throw .syntax }
        if hostText.hasPrefix("[") {
            guard let address = IPAddress(String(hostText.dropFirst().dropLast())), address.isIPv6 else { throw .syntax }
            return (address.description, address, port)
        }
        let (host, address) = try Self.host(hostText.lowercased())
        return (host, address, port)
    }

    private static func host(_ text: String) throws(Invalid) -> (String, IPAddress?) {
        var name = Substring(text)
        // The root's dot changes nothing but how the text compares.
        if name.hasSuffix(".") { name = name.dropLast() }
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        guard !name.isEmpty, name.utf8.count <= 253, labels.allSatisfy({ !$0.isEmpty && $0.utf8.count <= 63 }),
            name.utf8.allSatisfy({
                $0.isLetter || $0.isDigit || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_")
            })
        else { throw .syntax }
        // As browsers and resolvers do: a last label that reads as a number makes the whole host an IPv4 address.
        guard let last = labels.last, last.utf8.allSatisfy(\.isDigit) || number(last) != nil else { return (String(name), nil) }
        guard let value = numericAddress(labels) else { throw .syntax }
        let address = IPAddress.v4(value)
        return (address.description, address)
    }

    /// One to four numbers, decimal, octal (`017`) or hexadecimal (`0xf`); the last fills the remaining bytes.
    private static func numericAddress(_ labels: [Substring]) -> UInt32? {
        guard (1...4).contains(labels.count) else { return nil }
        let numbers = labels.compactMap(number)
        guard numbers.count == labels.count, let last = numbers.last, numbers.dropLast().allSatisfy({ $0 <= 255 }) else { return nil }
        guard last < UInt64(1) << (8 * UInt64(5 - numbers.count)) else { return nil }
        var value = UInt32(last)
        for (index, number) in numbers.dropLast().enumerated() { value |= UInt32(number) << (24 - 8 * UInt32(index)) }
        return value
    }

    private static func number(_ label: Substring) -> UInt64? {
        if label.hasPrefix("0x") { return label.count == 2 ? 0 : UInt64(label.dropFirst(2), radix: 16) }
        guard label.utf8.allSatisfy(\.isDigit) else { return nil }
        return label.count > 1 && label.hasPrefix("0") ? UInt64(label, radix: 8) : UInt64(label)
    }

    /// Resolves `.` and `..`, also percent-encoded, so that a path pattern sees what the server is asked for.
    private static func normalizedPath(_ text: Substring) -> String {
        var segments: [Substring] = []
        let parts = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        for (index, part) in parts.enumerated() {
            let isLast = index == parts.count - 1
            switch part.lowercased().replacing("%2e", with: ".") {
            case ".": if isLast { segments.append("") }
            case "..":
                _ = segments.popLast()
                if isLast { segments.append("") }
            default: segments.append(part)
            }
        }
        return "/" + segments.joined(separator: "/")
    }

    /// Percent-encodes what may not stand in a URL; what is encoded already stays as it is.
    private static func encoded(_ text: String) -> String {
        var output: [UInt8] = []
        for byte in text.utf8 {
            guard byte <= 0x20 || byte >= 0x7F || "\"<>`{}|^".utf8.contains(byte) else {
                output.append(byte)
                continue
            }
            // Never below 0x20, so always two digits.
            output.append(UInt8(ascii: "%"))
            output.append(contentsOf: String(byte, radix: 16, uppercase: true).utf8)
        }
        return String(decoding: output, as: UTF8.self)
    }
}

extension UInt8 {
    /// ASCII letters and digits only.
    var isLetter: Bool { (self | 0x20) &- 0x61 < 26 }
    var isDigit: Bool { self &- 0x30 < 10 }
}
