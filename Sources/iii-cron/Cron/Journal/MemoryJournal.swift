import IIITelemetry
import Synchronization

/// The journal of `store_method: in_memory`: a restart forgets it.
final class MemoryJournal: RunJournal {
    private struct State {
        var runs: [RunRecord] = []
        var limits: HistoryLimits
    }

    private let state: Mutex<State>

    /// Of what the settings allow, as much as a process should hold.
    private static let maximumRuns = 10_000

    init(limits: HistoryLimits) { state = Mutex(State(limits: limits)) }

    func load(now: Int) async -> (memories: [String: JobMemory], lost: Int) { ([:], 0) }
    func remember(_ identity: String, _ memory: JobMemory?) {}

    func began(_ run: RunRecord) { state.withLock { Self.append(run, to: &$0) } }

    func ended(_ run: RunRecord) {
        state.withLock { state in
            guard let index = state.runs.lastIndex(where: { $0.owner == run.owner }) else { return Self.append(run, to: &state) }
            state.runs[index] = run
        }
    }

    private static func append(_ run: RunRecord, to state: inout State) {
        state.runs.append(run)
        let maximum = min(state.limits.maximumRuns, maximumRuns)
        // In pieces, so that a full history does not move with every run.
        if state.runs.count > maximum + maximum / 8 { state.runs.removeFirst(state.runs.count - maximum) }
    }

    func lost(_ run: RunRecord) { began(run) }

    func history(_ query: HistoryQuery) async -> [RunRecord] {
        let now = WallClock.milliseconds()
        return state.withLock { state in
            let oldest = now - state.limits.maximumAge
            return Array(state.runs.reversed().lazy.filter { $0.started >= oldest && query.matches($0) }.prefix(query.limit))
        }
    }

    func setLimits(_ limits: HistoryLimits) { state.withLock { $0.limits = limits } }
    func flush() async {}
}
