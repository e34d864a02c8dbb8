import NIOCore

/// Triggers that may be mistakes, each to be looked at once, and what was found, grouped by cause. A value: no I/O, no clock.
///
/// Bounded: 100 000 triggers wait to be looked at, 1 000 causes are told apart; what is beyond is counted.
struct TriggerDoubts {
    enum Cause: Hashable {
        case type(String)
        case function(String, namespace: String)
    }

    struct Group {
        let cause: Cause
        var count = 0
        /// The first few ids.
        var examples: [String] = []
    }

    private static let maximumExamples = 20

    let maximumWaiting: Int
    let maximumGroups: Int
    private var waiting: [(due: NIODeadline, id: String)] = []
    private var head = 0
    private var known: Set<String> = []
    private var groups: [Group] = []
    private var index: [Cause: Int] = [:]
    private var unexamined = 0

    init(maximumWaiting: Int = 100_000, maximumGroups: Int = 1_000) {
        self.maximumWaiting = maximumWaiting
        self.maximumGroups = maximumGroups
    }

    /// `id` is to be looked at; again and again the same id waits once. Deadlines must not decrease.
    mutating func add(_ id: String, due: NIODeadline) {
        guard !known.contains(id) else { return }
        guard known.count < maximumWaiting else {
            unexamined += 1
            return
        }
        known.insert(id)
        waiting.append((due, id))
    }

    var nextDue: NIODeadline? { head < waiting.count ? waiting[head].due : nil }

    func isDue(_ now: NIODeadline) -> Bool { nextDue.map { $0 <= now } ?? false }

    /// The next ids to look at.
    mutating func takeDue(_ now: NIODeadline, limit: Int) -> [String] {
        var due: [String] = []
        while head < waiting.count, waiting[head].due <= now, due.count < limit {
            due.append(waiting[head].id)
            known.remove(waiting[head].id)
            head += 1
        }
        if head == waiting.count || head > 4_096 && head * 2 > waiting.count {
            waiting.removeFirst(head)
            head = 0
        }
        return due
    }

    mutating func count(_ cause: Cause, _ id: String) {
        if index[cause] == nil {
            guard groups.count < maximumGroups else {
                unexamined += 1
                return
            }
            index[cause] = groups.count
            groups.append(Group(cause: cause))
        }
        guard let place = index[cause] else { return }
        groups[place].count += 1
        if groups[place].examples.count < Self.maximumExamples { groups[place].examples.append(id) }
    }

    var hasFinds: Bool { !groups.isEmpty || unexamined > 0 }

    /// What was found, the most frequent cause first, and how many triggers are in none of the groups.
    mutating func takeGroups() -> (groups: [Group], unexamined: Int) {
        defer {
            groups = []
            index = [:]
            unexamined = 0
        }
        return (groups.sorted { $0.count > $1.count }, unexamined)
    }
}
