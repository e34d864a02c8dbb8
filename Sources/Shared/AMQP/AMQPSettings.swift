/// How connections to RabbitMQ are made.
package struct AMQPSettings: Sendable, Equatable {
    package var url: AMQPURL
    /// Shown by `rabbitmqctl list_connections client_properties`, with what the connection is for.
    package var clientName = "iii"
    /// Seconds between signs of life; two missing ones end a connection.
    package var heartbeat = 10
    /// Milliseconds; for TCP and TLS together, then for the login.
    package var connectTimeout = 5000
    /// Milliseconds that any answer of the broker may take.
    package var answerTimeout = 10_000
    /// Pauses between attempts to connect, in milliseconds; they double from the first to the second, ± 30 %.
    package var firstReconnectDelay = 100
    package var maximumReconnectDelay = 5000
    /// PEM file with the authorities of `amqps://`; nil = those of the system.
    package var authorityFile: String?
    /// PEM files of the client's certificate and key.
    package var certificateFile: String?
    package var keyFile: String?
    /// Whether the certificate's name must be the host of the URL. Off only for tests and tunnels.
    package var verifiesHost = true

    package init(url: AMQPURL) {
        self.url = url
        if let seconds = url.heartbeat { heartbeat = seconds }
    }
}
