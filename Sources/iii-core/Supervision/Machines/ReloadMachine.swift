/// Keeps reloads apart, and knows what became of the changed configurations that each has offered. Pure.
///
/// A running core worker is offered its changed `config`, and until it has answered, nobody knows what is in force. So one reload
/// is under way at a time: one that is asked for meanwhile waits, then reads the file as it is then, once for all who asked. What
/// is in force is therefore known whenever a new file is compared with it.
package struct ReloadMachine: Sendable {
    /// Who is to take over a changed configuration.
    package enum Addressee: Sendable, Equatable {
        /// That very process under this supervisor.
        case generation(Int)
        /// Processes that somebody else runs (systemd units): nobody here can restart them.
        case units
    }

    package struct Offer: Sendable, Equatable {
        package var inForce: ChildSpecification
        package var wanted: ChildSpecification
        package var addressee: Addressee
    }

    /// What follows from an answer.
    package enum Settlement: Sendable, Equatable {
        /// The wanted configuration is in force, or will be when its process starts anew by itself.
        case adopt(ChildSpecification, remark: String)
        /// Only a restart brings it into force.
        case restart(ChildSpecification, reason: String)
        /// The former one stays in force.
        case keep(ChildSpecification)
    }

    package struct Outcome: Sendable, Equatable {
        package var number: Int
        /// Why nothing of the file is in force.
        package var refusal: String?
        /// What somebody would not take over, each with its reason.
        package var problems: [String] = []

        /// Nil when all of the file is in force.
        package var error: String? { refusal ?? (problems.isEmpty ? nil : problems.joined(separator: "\n")) }
    }

    private enum Phase: Sendable, Equatable { case idle, applying, waiting }

    private var phase = Phase.idle
    private var offers: [String: Offer] = [:]
    private var problems: [String] = []
    private var refusal: String?
    private var nextCause: String?
    /// Of the reload that is under way, or was the last.
    package private(set) var number = 0

    package init() {}

    package var isUnderWay: Bool { phase != .idle }

    /// Asks for a reload that reads the file after now. Returns its number, and whether it is to begin at once.
    package mutating func request(_ cause: String) -> (number: Int, begins: Bool) {
        guard phase == .idle else {
            nextCause = nextCause ?? cause
            return (number + 1, false)
        }
        begin()
        return (number, true)
    }

    private mutating func begin() {
        number += 1
        phase = .applying
        problems = []
        refusal = nil
    }

    package mutating func offer(_ wanted: ChildSpecification, inForce: ChildSpecification, to addressee: Addressee) {
        offers[wanted.name] = Offer(inForce: inForce, wanted: wanted, addressee: addressee)
    }

    /// The file as a whole cannot be used; nothing of it is in force.
    package mutating func refused(_ error: String) { refusal = error }

    /// Everything that needs no answer has been done.
    package mutating func applied() { phase = .waiting }

    /// - Parameter isStillThere: the process that was asked is the current one, ready and about to stay.
    package mutating func answered(_ name: String, _ answer: LiveChange, isStillThere: Bool) -> Settlement? {
        guard let offer = offers.removeValue(forKey: name) else { return nil }
        guard isStillThere else {
            return .restart(offer.wanted, reason: "it ended during the change")
        }
        switch (answer, offer.addressee) {
        case (.invalid(let reason), _):
            problems.append("\(name): \(reason)")
            return .keep(offer.inForce)
        case (.applied, _): return .adopt(offer.wanted, remark: "configuration applied without a restart")
        case (.needsRestart(let reason), .generation): return .restart(offer.wanted, reason: reason)
        case (.unanswered, .generation): return .restart(offer.wanted, reason: "it did not answer")
        case (.absent, .generation): return .restart(offer.wanted, reason: "it is not connected")
        case (.needsRestart(let reason), .units):
            return .adopt(offer.wanted, remark: "its process ends, to be started with the changed configuration by who runs it: \(reason)")
        case (.unanswered, .units):
            return .adopt(offer.wanted, remark: "did not answer; it gets its changed configuration when it connects next")
        case (.absent, .units): return .adopt(offer.wanted, remark: "is not connected; it gets its changed configuration when it connects")
        }
    }

    /// The outcome, once nobody has to answer any more; nil before, and when no reload is under way.
    package mutating func finish() -> Outcome? {
        guard phase == .waiting, offers.isEmpty else { return nil }
        phase = .idle
        return Outcome(number: number, refusal: refusal, problems: problems)
    }

    /// Begins the reload that has waited, if there is one, and returns its cause.
    package mutating func beginNext() -> String? {
        guard phase == .idle, let cause = nextCause else { return nil }
        nextCause = nil
        begin()
        return cause
    }
}
