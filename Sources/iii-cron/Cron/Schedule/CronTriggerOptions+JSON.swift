import IIIProtocol

extension CronTriggerOptions {
    private static let day: Int64 = 86_400_000

    /// The keys of a trigger's config, for the hint at a misspelt one.
    static let keys = [
        "expression", "condition_function_id", "timezone", "concurrency_policy", "catch_up", "catch_up_limit", "catch_up_window_ms",
        "starting_deadline_ms", "timeout_ms", "jitter_ms", "key", "singleton", "start_at", "end_at", "max_runs", "paused", "on_lock_error",
        "on_lost_claim",
    ]

    /// From a trigger's config. A value of a wrong type or out of its range is refused, with the key, the value's kind and the cure.
    init(config: JSONValue) throws(InvocationError) {
        self.init()
        let reader = Reader(config: config)
        concurrency = try reader.choice("concurrency_policy") ?? .forbid
        catchUp = try reader.choice("catch_up") ?? .none
        catchUpLimit = try reader.integer("catch_up_limit", 1...1_000) ?? catchUpLimit
        catchUpWindow = try reader.integer("catch_up_window_ms", 1_000...(31 * Self.day)) ?? catchUpWindow
        startingDeadline = try reader.integer("starting_deadline_ms", 1...(31 * Self.day))
        timeout = try reader.integer("timeout_ms", 0...(31 * Self.day))
        jitter = try reader.integer("jitter_ms", 0...Self.day) ?? 0
        key = try reader.key()
        isSingleton = try reader.flag("singleton") ?? (key != nil)
        startAt = try reader.time("start_at")
        endAt = try reader.time("end_at")
        maximumRuns = try reader.integer("max_runs", 1...Int64(Int32.max))
        isPaused = try reader.flag("paused") ?? false
        onLockError = try reader.choice("on_lock_error") ?? .skip
        onLostClaim = try reader.choice("on_lost_claim") ?? .skip
        if let startAt, let endAt, endAt < startAt {
            throw Reader.refusal("end_at lies before start_at")
        }
    }

    /// Keys that act on nothing, each with its sentence.
    static func unknownKeys(_ config: JSONValue) -> [String] {
        (config.object ?? [:]).keys.filter { !keys.contains($0) }.sorted().map { key in
            let near = EditDistance.nearest(to: key, among: keys).map { " (did you mean '\($0)'?)" } ?? ""
            return "'\(key.prefix(64))' has no effect: the key is not known here\(near)"
        }
    }

    /// Typed access to the members of a config; null counts as absent.
    private struct Reader {
        let config: JSONValue

        static func refusal(_ message: String) -> InvocationError { InvocationError(.triggerRegistrationFailed, message) }

        private func value(_ key: String) -> JSONValue? {
            guard let value = config[key], !value.isNull else { return .none }
            return value
        }

        func integer(_ key: String, _ range: ClosedRange<Int64>) throws(InvocationError) -> Int? {
            guard let value = value(key) else { return nil }
            guard let number = value.integer, range.contains(number) else {
                throw Self.refusal("\(key) must be an integer from \(range.lowerBound) to \(range.upperBound)")
            }
            return Int(number)
        }

        func flag(_ key: String) throws(InvocationError) -> Bool? {
            guard let value = value(key) else { return nil }
            guard let flag = value.bool else { throw Self.refusal("\(key) must be true or false") }
            return flag
        }

        func choice<Choice: RawRepresentable<String> & CaseIterable>(_ key: String) throws(InvocationError) -> Choice? {
            guard let value = value(key) else { return nil }
            let words = Choice.allCases.map(\.rawValue)
            guard let word = value.string, let choice = Choice(rawValue: word) else {
                let near = value.string.flatMap { EditDistance.nearest(to: $0, among: words) }.map { " (did you mean '\($0)'?)" } ?? ""
                throw Self.refusal("\(key) must be one of \(words.map { "'\($0)'" }.joined(separator: ", "))\(near)")
            }
            return choice
        }

        func key() throws(InvocationError) -> String? {
            guard let value = value("key") else { return nil }
            guard let key = value.string, (1...200).contains(key.utf8.count), key.unicodeScalars.allSatisfy({ $0.value > 0x20 }) else {
                throw Self.refusal("key must be a text of 1 to 200 bytes without white space")
            }
            return key
        }

        /// Milliseconds since the epoch.
        func time(_ key: String) throws(InvocationError) -> Int? {
            guard let value = value(key) else { return nil }
            guard let time = CronTime.milliseconds(value) else {
                throw Self.refusal("\(key) must be \(CronTime.expectation)")
            }
            return time
        }
    }
}

/// An instant as functions and triggers take it.
enum CronTime {
    static let expectation = "a time such as \"2026-03-29T03:00:00+02:00\", or milliseconds since 1970"
    /// Up to the year 9999.
    private static let range: ClosedRange<Int64> = 0...253_402_300_799_999

    /// Milliseconds since the epoch; nil for what is neither.
    static func milliseconds(_ value: JSONValue) -> Int? {
        switch value {
        case .integer(let number): range.contains(number) ? Int(number) : nil
        case .string(let text): RFC3339.milliseconds(text).flatMap { range.contains(Int64($0)) ? $0 : nil }
        default: nil
        }
    }
}
