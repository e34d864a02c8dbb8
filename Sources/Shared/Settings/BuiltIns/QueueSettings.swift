import IIIProtocol

/// Keys of `iii-queue`.
package enum QueueSettings {
    package static let queues = Setting<[String: SettingValues]>(
        "queue_configs", .map(of: .object(queue)), default: [:], "Settings by name of the queue.")
    package static let adapter = Setting(
        "adapter", .adapter([builtIn, .redis, rabbitMQ, .bridge]), default: ["name": "builtin"], "Where messages are kept.")

    package static let group = SettingGroup(change: .restart, inert: "iii-queue is not part of this build") {
        queues
        adapter
    }

    private static let type = Setting("type", .choice("standard", "fifo"), default: "standard", "`fifo` keeps the order of each group.")
    private static let groupField = Setting(
        "message_group_field", .text, absent: "none", example: "order_id", "Member of the payload that names the group.")

    private static let queue = SettingGroup {
        type
        groupField
        Setting("max_retries", .count, default: 3, "Attempts before a message is dead.")
        Setting("concurrency", .count, default: 10, "Messages handled at a time.")
        Setting("backoff_ms", .milliseconds, default: 1000, "Pause before the first repetition.")
        Setting("poll_interval_ms", .milliseconds, default: 100, "Of the reference; messages are handed on at once.")
        Setting("max_priority", .integer(1...255), absent: "no priorities", example: 10, "Highest priority of a message.")
        Setting("priority_field", .text, absent: "none", example: "priority", "Member of the payload that holds the priority.")
        SettingRule("A fifo queue needs `message_group_field`.") { values in
            values[type] == "fifo" && values[groupField] == nil
                ? [.problem(message: "a fifo queue needs the field `message_group_field`")] : []
        }
    }

    private static let builtIn = AdapterDeclaration(
        "builtin", "An embedded store.",
        SettingGroup(open: true) {
            Setting<String?>(
                "store_method", .choice("in_memory", "file_based"), absent: "`file_based`", example: "file_based", "Where messages live.")
            Setting("file_path", .text, absent: "`./data/<entry>`", example: "./data/queue.db", "File or directory of `file_based`.")
            Setting(
                "save_interval_ms", .milliseconds, absent: "saved before the answer", example: 5000,
                "Longest time a message waits to be saved.")
            Setting("channel_size", .count, default: 256, "Messages that may wait for one subscriber.")
            Setting("max_attempts", .count, default: 3, "Attempts where a queue says nothing.")
            Setting("backoff_ms", .milliseconds, default: 1000, "Pause where a queue says nothing.")
            Setting("concurrency", .count, default: 10, "Messages at a time where a queue says nothing.")
            Setting("poll_interval_ms", .milliseconds, default: 100, "Of the reference; messages are handed on at once.")
            Setting("mode", .choice("concurrent", "fifo"), default: "concurrent", "Order where a queue says nothing.")
        })

    private static let rabbitMQ = AdapterDeclaration(
        "rabbitmq", "A RabbitMQ broker.",
        SettingGroup(open: true) {
            Setting("amqp_url", .text(.url("amqp", "amqps")), default: "amqp://localhost:5672", "Broker; a password in it is not shown.")
            Setting("max_attempts", .count, default: 3, "Attempts before a message is dead.")
            Setting("prefetch_count", .count(1...65_535), default: 10, "Messages taken ahead.")
            Setting("queue_mode", .choice("standard", "fifo"), default: "standard", "Kind of queues that are declared.")
        })
}
