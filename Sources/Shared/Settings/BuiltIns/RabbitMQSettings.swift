import IIIProtocol

/// Keys of the adapter `rabbitmq` of `iii-queue`.
package enum RabbitMQSettings {
    package enum QueueType: String, Sendable, CaseIterable { case classic, quorum }
    package enum QueueMode: String, Sendable, CaseIterable { case standard, fifo }

    package static let url = Setting(
        "amqp_url", .text(.url("amqp", "amqps")), default: "amqp://localhost:5672", secret: false,
        "Broker, user and virtual host: `amqp://user:password@host:port/vhost`, `amqps://` for TLS; a password in it is not shown.")
    package static let queueType = Setting<QueueType>(
        "queue_type", .choice, default: "classic",
        "`classic` queues under the names of the reference, or replicated `quorum` queues under names of their own.")
    package static let prefix = Setting(
        "prefix", .text, default: "iii", "Leads every name: systems that share a virtual host and are not the same need different ones.")
    package static let maxAttempts = Setting(
        "max_attempts", .count(1...Int64(Int32.max)), default: 3, "Attempts of subscriptions that say nothing.")
    package static let prefetch = Setting(
        "prefetch_count", .count(1...65_535), default: 10, "Messages at a time of subscriptions that say nothing.")
    package static let mode = Setting<QueueMode>("queue_mode", .choice, default: "standard", "Order of subscriptions that say nothing.")
    package static let authorityFile = Setting(
        "ca_file", .text(.readableFile), absent: "those of the system", example: "/etc/iii/rabbitmq-ca.pem",
        "PEM: authorities that may have signed the broker's certificate.")
    package static let certificateFile = Setting(
        "cert_file", .text(.readableFile), absent: "none is shown", example: "/etc/iii/client.pem",
        "PEM: certificate to show to the broker; without a user in `amqp_url` it says who we are (EXTERNAL).")
    package static let keyFile = Setting(
        "key_file", .text(.readableFile), absent: "none", example: "/etc/iii/client.key", "PEM: the key of `cert_file`.")
    package static let heartbeat = Setting(
        "heartbeat_seconds", .count(1...3600), default: 10, "Between signs of life; a connection without two of them is made anew.")

    package static let declaration = AdapterDeclaration(
        "rabbitmq", "A RabbitMQ broker.",
        SettingGroup(open: true) {
            url
            queueType
            prefix
            maxAttempts
            prefetch
            mode
            authorityFile
            certificateFile
            keyFile
            heartbeat
            SettingRule("`cert_file` and `key_file` come together; files of TLS need `amqps://`.") { values in
                var findings: [SettingRule.Finding] = []
                let (certificate, key) = (values[certificateFile], values[keyFile])
                if (certificate == nil) != (key == nil) {
                    findings.append(
                        .problem(
                            certificate == nil ? keyFile.declaration.key : certificateFile.declaration.key,
                            message: "cert_file and key_file are given together or not at all"))
                }
                if !values[url].hasPrefix("amqps://") {
                    for setting in [authorityFile, certificateFile, keyFile] where values[setting] != nil {
                        findings.append(
                            .problem(setting.declaration.key, message: "acts with TLS only; amqp_url must begin with amqps://"))
                    }
                }
                return findings
            }
        })
}
