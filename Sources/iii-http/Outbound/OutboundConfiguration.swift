import Glibc
import IIIProtocol

/// Settings of an `iii-http-functions` entry (http.md §17.1 and docs/configuration.md). Unknown keys are refused by the core.
package struct OutboundConfiguration: Sendable {
    package var policy = URLPolicy()
    /// Largest response body that is taken. Default 64 MiB.
    package var maximumResponseBytes = 64 << 20
    /// Calls that may run at once; further ones fail with `too_many_in_flight`. Default 1 024.
    package var maximumConcurrentRequests = 1_024
    /// PEM file of certificate authorities in place of the system's; must be readable. Default none.
    package var certificateFile: String?

    package struct Invalid: Error { package let message: String }

    package init(json: JSONValue) throws(Invalid) {
        if let value = json["max_response_bytes"], !value.isNull { maximumResponseBytes = try Self.count(value, "max_response_bytes") }
        if let value = json["max_concurrent_requests"], !value.isNull {
            maximumConcurrentRequests = try Self.count(value, "max_concurrent_requests")
        }
        if let value = json["ca_file"], !value.isNull {
            guard let path = value.string else { throw Invalid(message: "ca_file must be a path") }
            guard access(path, R_OK) == 0 else {
                throw Invalid(message: "ca_file: '\(path)' cannot be read: \(String(cString: strerror(errno)))")
            }
            certificateFile = path
        }
        let security = json["security"] ?? .null
        guard security.isNull || security.object != nil else { throw Invalid(message: "security must be a map") }
        policy.blocksPrivateAddresses = try Self.flag(security, "block_private_ips")
        policy.requiresHTTPS = try Self.flag(security, "require_https")
        policy.allowlist = try Self.allowlist(security["url_allowlist"] ?? .null)
    }

    private static func allowlist(_ value: JSONValue) throws(Invalid) -> [AllowedEndpoint] {
        guard !value.isNull else { return [] }
        guard let patterns = value.array else { throw Invalid(message: "security.url_allowlist must be a list of texts") }
        var allowlist: [AllowedEndpoint] = []
        for (index, pattern) in patterns.enumerated() {
            guard let text = pattern.string, !text.isEmpty else {
                throw Invalid(message: "security.url_allowlist[\(index)] must be a text, e.g. '*.example.com'")
            }
            do throws(GlobPattern.Invalid) {
                allowlist.append(try AllowedEndpoint(text))
            } catch {
                throw Invalid(message: "security.url_allowlist[\(index)]: \(error)")
            }
        }
        return allowlist
    }

    private static func flag(_ security: JSONValue, _ key: String) throws(Invalid) -> Bool {
        guard let value = security[key], !value.isNull else { return true }
        guard let flag = value.bool else { throw Invalid(message: "security.\(key) must be true or false") }
        return flag
    }

    private static func count(_ value: JSONValue, _ key: String) throws(Invalid) -> Int {
        guard let number = value.integer, (1...Int64(Int32.max)).contains(number) else {
            throw Invalid(message: "\(key) must be an integer from 1 to \(Int32.max)")
        }
        return Int(number)
    }
}
