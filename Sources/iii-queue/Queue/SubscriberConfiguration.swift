import IIIWorker

/// What a `durable:subscriber` trigger asks for (docs/reference/queue.md#the-trigger-type-durablesubscriber).
struct SubscriberConfiguration {
    let topic: String
    let condition: TriggerCondition?
    let options: QueueOptions
    /// Keys that are there and cannot be used; for the log.
    private(set) var ignored: [String] = []

    /// nil for a config without a topic: it is taken and never fires. Throws what a registration is refused for.
    init?(_ config: JSONValue, defaults: QueueOptions) throws(InvocationError) {
        condition = try TriggerCondition(config: config)
        guard let topic = (config["topic"] ?? config["queue"])?.string, !topic.isEmpty else { return nil }
        self.topic = topic
        var options = defaults
        var ignored: [String] = []
        let nested = config["queue_config"] ?? .null
        /// The first of the names that is there, the config's own members before those of `queue_config`.
        func value(_ names: String..., isNestedOnly: Bool = false) -> (name: String, value: JSONValue)? {
            for source in isNestedOnly ? [nested] : [config, nested] {
                for name in names { if let value = source[name], !value.isNull { return (name, value) } }
            }
            return nil
        }
        func number(_ found: (name: String, value: JSONValue)?, _ range: ClosedRange<Int64> = 0...Int64(Int32.max)) -> Int? {
            guard let found else { return nil }
            guard let number = found.value.integer, range.contains(number) else {
                ignored.append(found.name)
                return nil
            }
            return Int(number)
        }
        if let found = value("type", isNestedOnly: true) {
            if let type = found.value.string { options.isSerial = type.lowercased() == "fifo" } else { ignored.append(found.name) }
        }
        if let retries = number(value("maxRetries", "max_retries")) { options.maxAttempts = retries + 1 }
        if let count = number(value("concurrency", isNestedOnly: true)) { options.concurrency = count }
        if let pause = number(value("backoffDelayMs", "backoff_delay_ms", "backoff_ms")) { options.backoffMilliseconds = pause }
        if let seconds = number(value("visibilityTimeout", "visibility_timeout", isNestedOnly: true), 0...31_536_000) {
            options.timeout = seconds * 1000
        }
        if let seconds = number(value("delaySeconds", "delay_seconds", isNestedOnly: true), 0...31_536_000) {
            options.delay = seconds * 1000
        }
        if let found = value("backoffType", "backoff_type", isNestedOnly: true) {
            if let type = found.value.string.flatMap(QueueOptions.Backoff.init) {
                options.backoff = type
            } else {
                ignored.append(found.name)
            }
        }
        self.options = options
        self.ignored = ignored
    }
}
