import IIICrypto
import NIOConcurrencyHelpers

/// The secrets that make a connection privileged (design.md §4): one per spawn of a built-in, plus the shared one that
/// separately started built-ins read from a file. Locked, because the supervisor issues them from its own thread.
package final class BuiltinSecrets: Sendable {
    private struct State {
        var byName: [String: [UInt8]] = [:]
        var shared: [UInt8]?
    }

    private let state = NIOLockedValueBox(State())

    package init(shared: String? = nil) {
        if let shared { state.withLockedValue { $0.shared = Array(shared.utf8) } }
    }

    /// A fresh secret for `name`; the one before is void from now on.
    package func issue(for name: String) -> String {
        let secret = SecureBytes.hex(SecureBytes.random(count: 32))
        state.withLockedValue { $0.byName[name] = Array(secret.utf8) }
        return secret
    }

    package func revoke(_ name: String) {
        state.withLockedValue { $0.byName[name] = nil }
    }

    /// The entry name that `secret` was issued for; `""` for the shared one, whose bearer names itself; nil if it is neither.
    package func owner(of secret: String) -> String? {
        let presented = Array(secret.utf8)
        return state.withLockedValue { state in
            if let shared = state.shared, SecureBytes.constantTimeEquals(shared, presented) { return "" }
            return state.byName.first { SecureBytes.constantTimeEquals($0.value, presented) }?.key
        }
    }
}
