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

    private struct Held {
        let binding: TriggerBinding
        let value: Value
        let bytes: Int
        /// The session that last named it; 0 while detached.
        var session: Int
    }

    private enum Work {
        case none
        case accepting(TriggerBinding, ticket: Int, session: Int, bytes: Int, isAnswered: Bool)
        case releasing(ticket: Int)
    }

    private struct Entry {
        var held: Held?
        var work = Work.none
        /// An unregistration that waits for `work`; it comes before `offers`.
        var unregistration: UnregistrationReason?
        /// Of the current session.
        var offers: [TriggerOffer] = []
        /// Offers beyond the limit, which came after `offers`.
        var excess: (functionID: String, count: Int)?

        var isEmpty: Bool {
            guard case .none = work else { return false }
            return held == nil && unregistration == nil && offers.isEmpty && excess == nil
        }
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
    func isAttached(_ id: String) -> Bool { entries[id]?.held.map { $0.session == session && session > 0 } ?? false }

    // MARK: From the engine

    /// A new connection: nothing of the old one is answered any more. Sessions count from 1.
    mutating func sessionStarted(_ number: Int) {
        session = number
        isSwept = false
        for id in entries.keys {
            forgetOffers(of: id)
            if case .accepting(let binding, let ticket, let session, let bytes, _) = entries[id]?.work {
                entries[id]?.work = .accepting(binding, ticket: ticket, session: session, bytes: bytes, isAnswered: false)
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
        if entry.excess != nil || entry.offers.count >= limits.waitingChanges {
            entry.excess = (offer.functionID, (entry.excess?.count ?? 0) + 1)
        } else if bytes + offer.bytes > limits.bytes {
            entry.offers.append(
                TriggerOffer(
                    id: offer.id, functionID: offer.functionID, content: .failure(refusal("\(bytes) bytes of triggers")), bytes: 0))
        } else {
            bytes += offer.bytes
            entry.offers.append(offer)
        }
        entries[offer.id] = entry
        return advance(offer.id)
    }

    private func refusal(_ what: String) -> InvocationError {
        InvocationError(.triggerRegistrationFailed, "the provider of this trigger type holds \(what) already")
    }

    mutating func unregistered(_ id: String, _ reason: UnregistrationReason) -> [Action] {
        guard var entry = entries[id] else { return [] }
        forgetOffers(of: id)
        entry.offers = []
        entry.excess = nil
        if case .accepting(let binding, let ticket, let session, let bytes, _) = entry.work {
            entry.work = .accepting(binding, ticket: ticket, session: session, bytes: bytes, isAnswered: false)
        }
        // What was taken back stays taken back.
        entry.unregistration = entry.unregistration == .unregistered ? .unregistered : reason
        entries[id] = entry
        return advance(id)
    }

    // MARK: From the provider

    mutating func accepted(_ id: String, ticket: Int, _ value: Value) -> [Action] {
        guard case .accepting(let binding, ticket, let session, let bytes, let isAnswered) = entries[id]?.work else { return [] }
        self.bytes -= entries[id]?.held?.bytes ?? 0
        entries[id]?.held = Held(binding: binding, value: value, bytes: bytes, session: session)
        return answer(binding, isAnswered, nil) + finish(id)
    }

    mutating func refused(_ id: String, ticket: Int, _ error: InvocationError) -> [Action] {
        guard case .accepting(let binding, ticket, _, let bytes, let isAnswered) = entries[id]?.work else { return [] }
        self.bytes -= bytes
        return answer(binding, isAnswered, error) + finish(id)
    }

    mutating func released(_ id: String, ticket: Int, isKept: Bool) -> [Action] {
        guard case .releasing(ticket) = entries[id]?.work else { return [] }
        if isKept { entries[id]?.held?.session = 0 } else { drop(id) }
        return finish(id)
    }

    /// Puts a binding in force that outlived an earlier process; detached until the engine names it.
    mutating func restore(_ binding: TriggerBinding, _ value: Value) {
        guard entries[binding.id] == nil else { return }
        entries[binding.id] = Entry(held: Held(binding: binding, value: value, bytes: 0, session: 0))
    }

    /// Gives up a detached binding; nil when there is none, or something is under way for it.
    mutating func forget(_ id: String) -> Value? {
        guard let entry = entries[id], case .none = entry.work, let held = entry.held, held.session == 0 else { return nil }
        drop(id)
        entries[id] = nil
        return held.value
    }

    // MARK: One thing at a time

    /// Takes the next steps of `id` until one of them needs time.
    private mutating func advance(_ id: String) -> [Action] {
        guard var entry = entries[id], case .none = entry.work else { return [] }
        var actions: [Action] = []
        steps: while case .none = entry.work {
            if entry.unregistration == nil, entry.offers.isEmpty, isStale(entry.held) { entry.unregistration = .notReplayed }
            if let reason = entry.unregistration {
                entry.unregistration = nil
                guard let held = entry.held else { continue }
                let ticket = takeTicket()
                entry.work = .releasing(ticket: ticket)
                actions.append(.release(held.binding, held.value, reason, ticket: ticket))
            } else if !entry.offers.isEmpty {
                let offer = entry.offers.removeFirst()
                switch offer.content {
                case .failure(let error):
                    bytes -= offer.bytes
                    actions.append(.answer(id: id, functionID: offer.functionID, error: error))
                case .success(let binding) where binding == entry.held?.binding:
                    bytes -= offer.bytes
                    entry.held?.session = session
                    actions.append(.answer(id: id, functionID: offer.functionID, error: nil))
                case .success(let binding):
                    let ticket = takeTicket()
                    entry.work = .accepting(binding, ticket: ticket, session: session, bytes: offer.bytes, isAnswered: true)
                    actions.append(.accept(binding, current: entry.held?.value, ticket: ticket))
                }
            } else if let excess = entry.excess {
                entry.excess = nil
                let error = refusal("\(limits.waitingChanges) waiting changes of this trigger")
                actions += (0..<excess.count).map { _ in .answer(id: id, functionID: excess.functionID, error: error) }
            } else {
                break steps
            }
        }
        if case .none = entry.work {} else { unsettled += 1 }
        entries[id] = entry.isEmpty ? nil : entry
        return actions
    }

    /// Whether the engine has finished naming triggers without naming this one. Detached ones are nobody's business.
    private func isStale(_ held: Held?) -> Bool {
        guard isSwept, let held else { return false }
        return held.session != session && held.session != 0
    }

    private mutating func finish(_ id: String) -> [Action] {
        entries[id]?.work = .none
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
        for offer in entries[id]?.offers ?? [] { bytes -= offer.bytes }
        entries[id]?.offers = []
        entries[id]?.excess = nil
    }

    private mutating func takeTicket() -> Int {
        nextTicket += 1
        return nextTicket - 1
    }
}
