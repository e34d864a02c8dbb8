/// What a reload changes, by entry id (docs/reference/supervisor.md#reload). Order, comments and formatting of the file do
/// not count.
package struct ConfigurationDiff: Sendable, Equatable {
    package var added: [String] = []
    package var removed: [String] = []
    package var changed: [String] = []
    package var unchanged: [String] = []

    package init(from old: EngineConfiguration, to new: EngineConfiguration) {
        for entry in new.entries {
            switch old.entry(entry.id) {
            case nil: added.append(entry.id)
            case let previous? where previous.isEquivalent(to: entry): unchanged.append(entry.id)
            default: changed.append(entry.id)
            }
        }
        removed = old.entries.map(\.id).filter { new.entry($0) == nil }
    }

    package var isEmpty: Bool { added.isEmpty && removed.isEmpty && changed.isEmpty }

    /// The log line of a reload; nothing is ever revived here because the supervisor restarts the dead at once.
    package var summary: String {
        "reload: diff +\(added.count) added, -\(removed.count) removed, ~\(changed.count) changed (0 revived), =\(unchanged.count) unchanged"
    }
}
