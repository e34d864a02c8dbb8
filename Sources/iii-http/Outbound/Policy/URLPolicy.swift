import IIIHTTPClient
import IIIProtocol
import IIISettings

/// Which remote endpoints functions may have (docs/security.md#outgoing-calls): checked at registration and again before
/// every call.
///
/// The order of checks is fixed: parse, scheme, allow-list, address. A value without I/O: the caller resolves names and shows
/// the addresses to `check(addresses:)`.
package struct URLPolicy: Sendable {
    /// Default: everything.
    package var allowlist: [AllowedEndpoint] = []
    /// Default true.
    package var blocksPrivateAddresses = true
    /// Default true.
    package var requiresHTTPS = true

    package init() {}

    /// Everything that needs no name resolution. Throws `url_validation_failed`.
    package func check(_ text: String) throws(InvocationError) -> HTTPURL {
        let url: HTTPURL
        do throws(HTTPURL.Invalid) {
            url = try HTTPURL(text)
        } catch {
            throw Self.refusal(error == .scheme && requiresHTTPS ? "HTTPS is required" : "Invalid URL")
        }
        if requiresHTTPS && !url.isSecure { throw Self.refusal("HTTPS is required") }
        guard allowlist.isEmpty || allowlist.contains(where: { $0.permits(url) }) else { throw Self.refusal("URL not in allowlist") }
        if let address = url.address { try check(addresses: [address]) }
        return url
    }

    /// Whether the URL's host has to be resolved before it may be connected to.
    package func needsResolution(_ url: HTTPURL) -> Bool { blocksPrivateAddresses && url.address == nil }

    /// One blocked address suffices to refuse; none at all means that the name does not exist.
    package func check(addresses: [IPAddress]) throws(InvocationError) {
        guard !addresses.isEmpty else { throw Self.lookupFailed }
        if blocksPrivateAddresses, addresses.contains(where: \.isPrivate) { throw Self.privateAddress }
    }

    package static let lookupFailed = refusal("DNS lookup failed")
    package static let privateAddress = refusal("Private IP blocked")

    private static func refusal(_ message: String) -> InvocationError { InvocationError(.urlValidationFailed, message) }
}

extension AllowedEndpoint {
    func permits(_ url: HTTPURL) -> Bool {
        permits(scheme: url.scheme, host: url.host, port: url.port, isDefaultPort: url.isDefaultPort, path: url.path)
    }
}
