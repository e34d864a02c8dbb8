import IIIProtocol

/// What one worker may be made to remember for one of its trigger types.
public struct TriggerLimits: Sendable {
    /// Bindings held at a time; further ones are refused. Default 100 000.
    public var bindings = 100_000
    /// Bytes of their registrations; beyond, further ones are refused. Default 256 MiB.
    public var bytes = 256 << 20
    /// Changes of one trigger that may wait for one being decided; further ones are refused. Default 32.
    public var waitingChanges = 32

    /// With the defaults that stand at each property.
    public init() {}
}

/// A registration as it came from the engine, or why it cannot be taken.
struct TriggerOffer {
    let id: String
    /// As written, for the answer.
    let functionID: String
    let content: Result<TriggerBinding, InvocationError>
    /// Length of the message.
    let bytes: Int
}

/// The bindings of one trigger type: what is in force, what is being decided, what waits. Pure: no I/O, no clock.
///
/// Per trigger id one thing happens at a time, in the order in which the engine said it: an offer is decided (`accept`), or a
/// binding is let go (`release`), however long that takes, and what comes meanwhile waits. The rules:
///
/// * An offer equal to what is in force changes nothing and is acknowledged: that is how a replay is harmless.
/// * A refused change leaves the binding that was in force as it was.
/// * Every offer of a session is answered once, in order, unless an unregistration followed it or the session ended: the engine
///   has then forgotten what the answer would be about.
/// * After `replayEnded` what the new session has not named is released (`notReplayed`).
/// * A release may end with the binding kept: it stays in force, *detached*, until the engine names it again or it is forgotten.
struct TriggerBindings<Value> {
    enum Action {
        /// Decide about `binding`; `current` is what is in force under its id. Ends with `accepted` or `refused`.
        case accept(TriggerBinding, current: Value?, ticket: Int)
        /// Let go. Ends with `released`.
        case release(TriggerBinding, Value, UnregistrationReason, ticket: Int)
        /// Tell the engine; no error means success.
        case answer(id: String, functionID: String, error: InvocationError?)
    }

    /// What is in force. Never changed, so that copies of the table may share it.
    private final class Held {
        let binding: TriggerBinding
        let value: Value
        let bytes: Int

        init(_ binding: TriggerBinding, _ value: Value, bytes: Int) {
            self.binding = binding
            self.value = value
            self.bytes = bytes
        }
    }

    private enum Work {
        case none
        case accepting(TriggerBinding, ticket: Int, session: Int, bytes: Int, isAnswered: Bool)
        case releasing(ticket: Int)
    }

    /// What is being done about a trigger, and what waits for that.
    private struct Activity {
        var work = Work.none
        /// An unregistration that waits for `work`; it comes before `offers`.
        var unregistration: UnregistrationReason?
        /// Of the current session.
        var offers: [TriggerOffer] = []
        /// Offers beyond the limit, which came after `offers`.
        var excess: (functionID: String, count: Int)?

        var isOver: Bool {
            guard case .none = work else { return false }
            return unregistration == nil && offers.isEmpty && excess == nil
        }
    }

    /// One trigger in three words, since nearly all of the many are settled.
    private struct Entry {
        private indirect enum Occupation {
            case settled
            case busy(Activity)
        }

        var held: Held?
        /// The session that last named what is held; 0 while detached.
        var session = 0
        private var occupation = Occupation.settled

        init(held: Held? = nil, session: Int = 0) {
            self.held = held
            self.session = session
        }

        var activity: Activity {
            get {
                if case .busy(let activity) = occupation { return activity }
                return Activity()
            }
            set { occupation = newValue.isOver ? .settled : .busy(newValue) }
        }

        var isEmpty: Bool { held == nil && activity.isOver }
    }

    let limits: TriggerLimits
    private var entries: [String: Entry] = [:]
    private var session = 0
    private var isSwept = false
    private var nextTicket = 1
    /// Bytes of everything held, being decided or waiting.
    private(set) var bytes = 0
    /// How many ids have a decision or a release under way.
    private(set) var unsettled = 0

    init(limits: TriggerLimits = TriggerLimits()) { self.limits = limits }

    /// How many ids are known, whatever their state.
    var count: Int { entries.count }
    subscript(id: String) -> Value? { entries[id]?.held?.value }
    var inForce: [(binding: TriggerBinding, value: Value)] {
        entries.values.compactMap { entry in entry.held.map { ($0.binding, $0.value) } }
    }
    /// Whether the engine knows of the binding in this session.
    func isAttached(_ id: String) -> Bool { entries[id].map { $0.held != nil && $0.session == session && session > 0 } ?? false }

    // MARK: From the engine

    /// A new connection: nothing of the old one is answered any more. Sessions count from 1.
    mutating func sessionStarted(_ number: Int) {
        session = number
        isSwept = false
        for id in entries.keys {
            forgetOffers(of: id)
            if case .accepting(let binding, let ticket, let session, let bytes, _) = entries[id]?.activity.work {
                entries[id]?.activity.work = .accepting(binding, ticket: ticket, session: session, bytes: bytes, isAnswered: false)
            }
        }
    }

    /// Everything that the engine knows has been named.
    mutating func replayEnded(_ number: Int) -> [Action] {
        guard number == session else { return [] }
        isSwept = true
        return entries.keys.sorted().flatMap { advance($0) }
    }

    mutating func offered(_ offer: TriggerOffer) -> [Action] {
        if entries[offer.id] == nil, entries.count >= limits.bindings {
            return [.answer(id: offer.id, functionID: offer.functionID, error: refusal("\(limits.bindings) triggers"))]
        }
        var entry = entries[offer.id] ?? Entry()
        var activity = entry.activity
        if activity.excess != nil || activity.offers.count >= limits.waitingChanges {
            activity.excess = (offer.functionID, (activity.excess?.count ?? 0) + 1)
        } else if bytes + offer.bytes > limits.bytes {
            activity.offers.append(
                TriggerOffer(
                    id: offer.id, functionID: offer.functionID, content: .failure(refusal("\(bytes) bytes of triggers")), bytes: 0))
        } else {
            bytes += offer.bytes
            activity.offers.append(offer)
        }
        entry.activity = activity
        entries[offer.id] = entry
        return advance(offer.id)
    }

    private func refusal(_ what: String) -> InvocationError {
        InvocationError(.triggerRegistrationFailed, "the provider of this trigger type holds \(what) already")
    }

    mutating func unregistered(_ id: String, _ reason: UnregistrationReason) -> [Action] {
        guard entries[id] != nil else { return [] }
        forgetOffers(of: id)
        guard var entry = entries[id] else { return [] }
        var activity = entry.activity
        if case .accepting(let binding, let ticket, let session, let bytes, _) = activity.work {
            activity.work = .accepting(binding, ticket: ticket, session: session, bytes: bytes, isAnswered: false)
        }
        // What was taken back stays taken back.
        activity.unregistration = activity.unregistration == .unregistered ? .unregistered : reason
        entry.activity = activity
        entries[id] = entry
        return advance(id)
    }

    // MARK: From the provider

    mutating func accepted(_ id: String, ticket: Int, _ value: Value) -> [Action] {
        guard case .accepting(let binding, ticket, let session, let bytes, let isAnswered) = entries[id]?.activity.work else { return [] }
        self.bytes -= entries[id]?.held?.bytes ?? 0
        entries[id]?.held = Held(binding, value, bytes: bytes)
        entries[id]?.session = session
        return answer(binding, isAnswered, nil) + finish(id)
    }

    mutating func refused(_ id: String, ticket: Int, _ error: InvocationError) -> [Action] {
        guard case .accepting(let binding, ticket, _, let bytes, let isAnswered) = entries[id]?.activity.work else { return [] }
        self.bytes -= bytes
        return answer(binding, isAnswered, error) + finish(id)
    }

    mutating func released(_ id: String, ticket: Int, isKept: Bool) -> [Action] {
        guard case .releasing(ticket) = entries[id]?.activity.work else { return [] }
        if isKept { entries[id]?.session = 0 } else { drop(id) }
        return finish(id)
    }

    /// Puts a binding in force that outlived an earlier process; detached until the engine names it.
    mutating func restore(_ binding: TriggerBinding, _ value: Value) {
        guard entries[binding.id] == nil else { return }
        entries[binding.id] = Entry(held: Held(binding, value, bytes: 0))
    }

    /// Gives up a detached binding; nil when there is none, or something is under way for it.
    mutating func forget(_ id: String) -> Value? {
        guard let entry = entries[id], case .none = entry.activity.work, let held = entry.held, entry.session == 0 else { return nil }
        drop(id)
        entries[id] = nil
        return held.value
    }

    // MARK: One thing at a time

    /// Takes the next steps of `id` until one of them needs time.
    private mutating func advance(_ id: String) -> [Action] {
        guard var entry = entries[id] else { return [] }
        var activity = entry.activity
        guard case .none = activity.work else { return [] }
        var actions: [Action] = []
        steps: while case .none = activity.work {
            if activity.unregistration == nil, activity.offers.isEmpty, isStale(entry) { activity.unregistration = .notReplayed }
            if let reason = activity.unregistration {
                activity.unregistration = nil
                guard let held = entry.held else { continue }
                let ticket = takeTicket()
                activity.work = .releasing(ticket: ticket)
                actions.append(.release(held.binding, held.value, reason, ticket: ticket))
            } else if !activity.offers.isEmpty {
                let offer = activity.offers.removeFirst()
                switch offer.content {
                case .failure(let error):
                    bytes -= offer.bytes
                    actions.append(.answer(id: id, functionID: offer.functionID, error: error))
                case .success(let binding) where binding == entry.held?.binding:
                    bytes -= offer.bytes
                    entry.session = session
                    actions.append(.answer(id: id, functionID: offer.functionID, error: nil))
                case .success(let binding):
                    let ticket = takeTicket()
                    activity.work = .accepting(binding, ticket: ticket, session: session, bytes: offer.bytes, isAnswered: true)
                    actions.append(.accept(binding, current: entry.held?.value, ticket: ticket))
                }
            } else if let excess = activity.excess {
                activity.excess = nil
                let error = refusal("\(limits.waitingChanges) waiting changes of this trigger")
                actions += (0..<excess.count).map { _ in .answer(id: id, functionID: excess.functionID, error: error) }
            } else {
                break steps
            }
        }
        if case .none = activity.work {} else { unsettled += 1 }
        entry.activity = activity
        entries[id] = entry.isEmpty ? nil : entry
        return actions
    }

    /// Whether the engine has finished naming triggers without naming this one. Detached ones are nobody's business.
    private func isStale(_ entry: Entry) -> Bool {
        isSwept && entry.held != nil && entry.session != session && entry.session != 0
    }

    private mutating func finish(_ id: String) -> [Action] {
        entries[id]?.activity.work = .none
        unsettled -= 1
        return advance(id)
    }

    private func answer(_ binding: TriggerBinding, _ isAnswered: Bool, _ error: InvocationError?) -> [Action] {
        isAnswered ? [.answer(id: binding.id, functionID: binding.target.functionID.text, error: error)] : []
    }

    private mutating func drop(_ id: String) {
        bytes -= entries[id]?.held?.bytes ?? 0
        entries[id]?.held = nil
    }

    private mutating func forgetOffers(of id: String) {
        guard let activity = entries[id]?.activity, !activity.offers.isEmpty || activity.excess != nil else { return }
        for offer in activity.offers { bytes -= offer.bytes }
        entries[id]?.activity.offers = []
        entries[id]?.activity.excess = nil
    }

    private mutating func takeTicket() -> Int {
        nextTicket += 1
        return nextTicket - 1
    }
}
