import IIICrypto
import NIOConcurrencyHelpers

/// The secrets that make a connection privileged (docs/reference/core-workers.md#the-secret): one per spawn of a built-in,
/// plus the shared one that separately started built-ins read from a file. Locked, because the supervisor issues them from
/// its own thread.
package final class BuiltinSecrets: Sendable {
    /// Whose secret it is: one process of an entry. Generation nil: of a unit of its own, which shows the shared secret.
    package struct Bearer: Sendable, Hashable {
        package var name: String
        package var generation: Int?

        package init(name: String, generation: Int?) {
            self.name = name
            self.generation = generation
        }
    }

    private struct State {
        var secrets: [Bearer: [UInt8]] = [:]
        var shared: [UInt8]?
    }

    private let state = NIOLockedValueBox(State())

    package init(shared: String? = nil) {
        if let shared { state.withLockedValue { $0.shared = Array(shared.utf8) } }
    }

    /// A fresh secret for one process; those of the entry's other processes stay good until they are revoked.
    package func issue(for bearer: Bearer) -> String {
        let secret = SecureBytes.hex(SecureBytes.random(count: 32))
        state.withLockedValue { $0.secrets[bearer] = Array(secret.utf8) }
        return secret
    }

    package func revoke(_ bearer: Bearer) {
        state.withLockedValue { $0.secrets[bearer] = nil }
    }

    /// Whom `secret` was issued for; with the name `""` for the shared one, whose bearer names itself; nil if it is neither.
    package func owner(of secret: String) -> Bearer? {
        let presented = Array(secret.utf8)
        return state.withLockedValue { state in
            if let shared = state.shared, SecureBytes.constantTimeEquals(shared, presented) { return Bearer(name: "", generation: nil) }
            return state.secrets.first { SecureBytes.constantTimeEquals($0.value, presented) }?.key
        }
    }
}
