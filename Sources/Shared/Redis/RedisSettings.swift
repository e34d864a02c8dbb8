import IIICrypto
import NIOCore

/// How a client of Redis behaves.
public struct RedisSettings: Sendable {
    /// Where the server is, and who one is there.
    public var url: RedisURL
    /// Shown by `CLIENT LIST`.
    public var clientName = "iii"
    /// For the whole of connecting: TCP, TLS, AUTH, SELECT.
    public var connectTimeout = TimeAmount.seconds(5)
    /// From giving a command to its outcome, waiting for a connection included.
    public var commandTimeout = TimeAmount.seconds(10)
    /// Commands without an outcome; more are refused (`overloaded`).
    public var maximumCommands = 65_536
    /// Their bytes.
    public var maximumBytes = 64 << 20
    /// Longest reply, in bytes; a longer one ends the connection. Default 512 MiB.
    public var maximumReplyBytes = 512 << 20
    /// Replicas that must have a write before it counts (`WAIT`); 0 = the primary alone.
    public var waitReplicas = 0
    /// How long the replicas have to confirm; then the write fails with `notReplicated`.
    public var waitTimeout = TimeAmount.seconds(1)
    /// Pauses between attempts to connect double from the first to the second, ± 30 %.
    public var firstReconnectDelay = TimeAmount.milliseconds(50)
    /// The longest of these pauses.
    public var maximumReconnectDelay = TimeAmount.seconds(5)
    /// A replica is no place for writes: left again until a primary answers at the address. Off for readers.
    public var requiresPrimary = true
    /// PEM file with the authorities of `rediss://`; nil = those of the system.
    public var authorityFile: String?
    /// Whether the certificate's name must be the host of the URL. Off only for tests and tunnels.
    public var verifiesHost = true

    /// With the defaults that stand at each property.
    public init(url: RedisURL) { self.url = url }
}

/// A Lua script, called by the digest of its text.
public final class RedisScript: Sendable {
    /// The text in Lua.
    public let source: String
    /// What EVALSHA calls it by.
    public let digest: String

    /// Made once and kept: clients load the scripts they are given at every new connection.
    public init(_ source: String) {
        self.source = source
        digest = SHA1Digest.hex(of: source)
    }
}
