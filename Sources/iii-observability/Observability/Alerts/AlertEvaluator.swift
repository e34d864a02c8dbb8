import IIIProtocol
import IIISignals

/// All rules with their windows and states: a value; whoever owns it has the clock and carries out what is to be told.
struct AlertEvaluator: Sendable {
    /// Metrics of the engine itself, by the names that rules use.
    static let engineMetrics: Set<String> = [
        "iii.invocations.total", "iii.invocations.success", "iii.invocations.error", "iii.invocations.deferred", "iii.workers.spawns",
        "iii.workers.deaths", "iii.workers.active",
    ]

    private(set) var states: [AlertState]
    private var windows: [Int: AlertWindow] = [:]
    private var counters: [Int: CounterWindow] = [:]
    private var gauges: [Int: Double] = [:]
    /// Names that rules watch, and which.
    private let watchers: [String: [Int]]

    init(_ rules: [AlertRule]) {
        states = rules.map(AlertState.init)
        watchers = Dictionary(grouping: rules.indices, by: { rules[$0].metric })
        for (index, rule) in rules.enumerated() {
            if !Self.engineMetrics.contains(rule.metric) {
                windows[index] = AlertWindow(window: rule.window)
            } else if rule.metric != "iii.workers.active" {
                counters[index] = CounterWindow(window: rule.window)
            }
        }
    }

    var needsEngine: Bool { watchers.keys.contains { Self.engineMetrics.contains($0) } }
    var firingCount: Int { states.filter(\.isFiring).count }

    /// Points that have just come.
    mutating func add(_ metrics: [Metric], now: Duration, nanoseconds: UInt64) {
        for metric in metrics {
            for index in watchers[metric.name] ?? [] { windows[index]?.add(metric, now: now, nanoseconds: nanoseconds) }
        }
    }

    /// What the engine counts, by the names of `engineMetrics`.
    mutating func add(engine: [String: Double], now: Duration) {
        for (name, value) in engine {
            for index in watchers[name] ?? [] {
                if counters[index] != nil { counters[index]?.add(value, now: now) } else { gauges[index] = value }
            }
        }
    }

    /// Looks at every rule; returns what is to be told, by the place of its state.
    mutating func evaluate(now: Duration, wallMilliseconds: Int64) -> [(index: Int, notice: AlertState.Notice)] {
        states.indices.compactMap { index in
            let value = windows[index]?.value(now: now) ?? counters[index]?.value ?? gauges[index]
            return states[index].evaluate(value, now: now, wallMilliseconds: wallMilliseconds).map { (index: index, notice: $0) }
        }
    }

    mutating func delivered(_ index: Int, error: String?) { states[index].deliveryError = error }
}
