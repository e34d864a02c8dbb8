/// Keys of `iii-http-functions`. Read by `OutboundConfiguration`.
package enum HTTPFunctionsSettings {
    package static let security = Setting("security", .object(SecuritySettings.group), default: [:], "Which endpoints may be called.")
    package static let maximumResponseBytes = Setting(
        "max_response_bytes", .bytes(1...Int64(Int32.max)), default: 67_108_864,
        "Larger bodies: `http_response_failed`. A result that does not fit the listener's `max_message_bytes`: `payload_too_large`.")
    package static let maximumConcurrentRequests = Setting(
        "max_concurrent_requests", .count(1...Int64(Int32.max)), default: 1024,
        "Further calls fail with `too_many_in_flight`. Bodies may take this number times `max_response_bytes` of memory.")
    package static let certificateFile = Setting(
        "ca_file", .text(.readableFile), absent: "the system's", example: "/etc/iii/ca.pem",
        "PEM file of the certificate authorities to trust instead of the system's.")

    package static let group = SettingGroup(change: .restart) {
        security
        maximumResponseBytes
        maximumConcurrentRequests
        certificateFile
    }

    package enum SecuritySettings {
        package static let allowlist = Setting<[AllowedEndpoint]>(
            "url_allowlist", .list(SettingType.text(pattern).compactMap { try? AllowedEndpoint($0) }), default: [],
            "Empty: everything. Globs (`*`, `?`, `[a-z]`, `[!a-z]`) over the host; with `://` over scheme, host, port and path, each on its own."
        )
        package static let blocksPrivateAddresses = Setting(
            "block_private_ips", .boolean, default: true,
            "Every address of the host must be a public one, at registration and before each call.")
        package static let requiresHTTPS = Setting("require_https", .boolean, default: true, "Plain HTTP endpoints are refused.")

        package static let group = SettingGroup {
            allowlist
            blocksPrivateAddresses
            requiresHTTPS
        }

        private static let pattern = TextRule("a glob such as '*.example.com'") { text, _ in
            if text.isEmpty { return "" }
            do throws(GlobPattern.Invalid) {
                _ = try AllowedEndpoint(text)
                return nil
            } catch { return error.description }
        }
    }
}
