/// Why a Redis command did not succeed; above all, whether it may have had its effect.
public struct RedisError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What went wrong, and with it whether the command had an effect.
    public enum Code: String, Sendable {
        /// It was never handed to a connection: no effect. Time, room or the client ended before Redis could be reached.
        case notSent = "not_sent"
        /// Redis has refused it for its own state (LOADING, READONLY, OOM, …): no effect.
        case rejected
        /// It was sent and no answer came: it may have had its effect or not.
        case outcomeUnknown = "outcome_unknown"
        /// It has had its effect on the primary; the number of replicas asked for (`wait_replicas`) did not confirm.
        case notReplicated = "not_replicated"
        /// Redis has answered with an error of the command itself (WRONGTYPE, ERR, …).
        case failed
        /// User or password are wrong or lack a right.
        case unauthorized
        /// More waits than the client may hold: no effect.
        case overloaded
        /// This server cannot be used at all, e.g. a Redis Cluster.
        case unusable
        /// The URL or the command is wrong.
        case invalid
    }

    /// Stable, for programs.
    public let code: Code
    /// One sentence, without any of the data.
    public let message: String

    /// `message` must hold none of the data.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The command had no effect and may have one later. With `outcomeUnknown` only the caller knows whether doing it twice does harm.
    public var isRetryable: Bool { [.notSent, .rejected, .overloaded].contains(code) }

    public var description: String { message }
}

/// What an error reply means for the connection; by its first word, as Redis documents it.
enum RedisReplyError {
    /// The server will not do this for anybody now; another connection, or the same server later, will.
    case serverState
    /// The script is not known (any more).
    case unknownScript
    case command(RedisError)

    init(_ text: String) {
        let word = text.prefix { $0 != " " }
        switch word {
        case "LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN", "CLUSTERDOWN", "BUSY": self = .serverState
        case "NOSCRIPT": self = .unknownScript
        case "OOM": self = .command(RedisError(.rejected, "Redis is out of memory (maxmemory): \(text)"))
        case "MISCONF", "NOREPLICAS": self = .command(RedisError(.rejected, "Redis does not take writes: \(text)"))
        case "NOAUTH", "WRONGPASS", "NOPERM":
            self = .command(RedisError(.unauthorized, "Redis: \(text); check user and password of the URL"))
        case "MOVED", "ASK", "CROSSSLOT": self = .command(RedisServerFacts.clusterError)
        default: self = .command(RedisError(.failed, "Redis: \(text)"))
        }
    }
}
