/// The form of files before 0.11: `- class: modules::…::XModule` in place of `- name: iii-…`.
enum LegacyModules {
    /// Class names of modules, without their path, and the workers that took their place.
    private static let successors: [String: String] = [
        "RestApiModule": "iii-http", "StreamModule": "iii-stream", "StateModule": "iii-state", "QueueModule": "iii-queue",
        "EventModule": "iii-queue", "PubSubModule": "iii-pubsub", "CronModule": "iii-cron", "OtelModule": "iii-observability",
        "ExecModule": "iii-exec",
    ]

    /// What to say of an entry without a name.
    static func missingName(_ className: String?) -> String {
        guard let className else { return "missing field `name`: which worker the entry is, e.g. `name: iii-http`" }
        let form = "missing field `name`: `class: \(className)` is the form before 0.11"
        let last = className.split(separator: ":").last.map(String.init) ?? className
        if let successor = successors[last] {
            return "\(form); write `name: \(successor)` in its place, under `workers:`, and adapters by their names (`adapter: {name: …}`)"
        }
        return "\(form); write `name: iii-…` for what the engine brings, or a name of your own with `exec:`"
    }
}
