/// Triggers of restricted workers that call a function only because that worker serves it itself: the right ends when somebody else
/// serves the function. Pure.
struct OwnTargets {
    private var triggers: [FunctionKey: Set<String>] = [:]
    private var keys: [String: Set<FunctionKey>] = [:]

    var isEmpty: Bool { keys.isEmpty }

    /// Replaces what was said of `trigger`.
    mutating func set(_ trigger: String, targets: Set<FunctionKey>) {
        remove(trigger)
        guard !targets.isEmpty else { return }
        keys[trigger] = targets
        for key in targets { triggers[key, default: []].insert(trigger) }
    }

    mutating func remove(_ trigger: String) {
        for key in keys.removeValue(forKey: trigger) ?? [] {
            triggers[key]?.remove(trigger)
            if triggers[key]?.isEmpty == true { triggers[key] = nil }
        }
    }

    func triggers(calling key: FunctionKey) -> Set<String> { triggers[key] ?? [] }
}
