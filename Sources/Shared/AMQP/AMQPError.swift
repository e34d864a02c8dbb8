/// Why RabbitMQ did not do what was asked of it.
package struct AMQPError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What kind of trouble it is.
    package enum Code: Sendable, Equatable {
        /// No connection: refused, unknown host, closed, silent.
        case unreachable
        /// User, password, or the rights of the user.
        case accessRefused
        /// The virtual host.
        case noSuchVirtualHost
        /// Certificates, names, versions.
        case tls
        /// A queue or exchange exists with other arguments.
        case preconditionFailed
        case notFound
        /// Somebody else consumes exclusively.
        case locked
        case timeout
        /// The broker takes no messages: memory or disk alarm.
        case blocked
        /// No queue was there for the message.
        case unroutable
        /// The broker could not store the message.
        case refused
        /// More waits than may wait.
        case overloaded
        /// Settings or messages that cannot be.
        case invalid
        case other
    }

    package let code: Code
    /// Without user, password or payloads.
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    /// Whether the same may succeed later by itself.
    package var isRetryable: Bool {
        switch code {
        case .unreachable, .timeout, .blocked, .refused, .overloaded, .unroutable, .locked: true
        case .accessRefused, .noSuchVirtualHost, .tls, .preconditionFailed, .notFound, .invalid, .other: false
        }
    }

    /// Whether the channel it came over, and nothing more, is gone.
    package var endsChannelOnly: Bool {
        switch code {
        case .preconditionFailed, .notFound, .locked, .accessRefused: true
        default: false
        }
    }

    /// From a reply code of the protocol and the text that came with it.
    init(replyCode: Int, text: String, _ what: String) {
        let code: Code =
            switch replyCode {
            // Also what a second exclusive consumer gets.
            case 403: text.contains("exclusive use") ? .locked : .accessRefused
            case 404: .notFound
            case 405: .locked
            case 406: .preconditionFailed
            case 530: .noSuchVirtualHost
            case 320, 541: .unreachable
            case 311: .invalid
            default: .other
            }
        self.init(code, "\(what): \(text)")
    }
}
