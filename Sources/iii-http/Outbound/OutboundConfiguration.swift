import IIIProtocol
import IIISettings

/// Settings of an `iii-http-functions` entry; `HTTPFunctionsSettings` says what each means.
package struct OutboundConfiguration: Sendable {
    package var policy: URLPolicy
    package var maximumResponseBytes: Int
    package var maximumConcurrentRequests: Int
    /// PEM file of certificate authorities in place of the system's.
    package var certificateFile: String?

    package init(_ values: SettingValues) {
        typealias Key = HTTPFunctionsSettings
        typealias Security = HTTPFunctionsSettings.SecuritySettings
        maximumResponseBytes = values[Key.maximumResponseBytes]
        maximumConcurrentRequests = values[Key.maximumConcurrentRequests]
        certificateFile = values[Key.certificateFile]
        let security = values[Key.security]
        policy = URLPolicy()
        policy.blocksPrivateAddresses = security[Security.blocksPrivateAddresses]
        policy.requiresHTTPS = security[Security.requiresHTTPS]
        policy.allowlist = security[Security.allowlist]
    }
}
