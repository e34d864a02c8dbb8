import IIIProtocol
import Logging
import NIOCore

/// What `WorkerLink` tells whoever provides a trigger type. On the event loop.
protocol TriggerTypeProvider: AnyObject {
    var isSettled: Bool { get }
    func sessionStarted(_ number: Int)
    func offered(_ offer: TriggerOffer)
    func unregistered(_ id: String, _ reason: UnregistrationReason)
    func replayEnded(_ number: Int)
    /// Runs `work` when nothing is being decided (now, if nothing is).
    func whenSettled(_ work: @escaping () -> Void)
}

/// Provides one trigger type: keeps its bindings, whatever connections, restarts and slow stores do.
///
/// For every new or changed trigger `accept` makes the `Value` that puts it in force (a route, a job, a subscription), or refuses;
/// for every one that ends `release` lets it go. Both may take their time, say for a store to answer; until then further events
/// of that trigger wait, so for one trigger they never overlap. The engine is answered by itself. A replay after a reconnect
/// calls neither for what has not changed, and what the engine no longer knows then is released as `.notReplayed`. A refused
/// change leaves the old binding in force. Triggers that name private functions never get here.
///
/// Made on, and confined to, the link's event loop.
public final class TriggerProvider<Value>: TriggerTypeProvider {
    /// What it provides.
    public let type: TriggerTypeDeclaration
    private let link: WorkerLink
    private let sweepDelay: TimeAmount
    private let accept: (TriggerRegistration<Value>) -> Void
    private let release: (TriggerRelease<Value>) -> Void
    private var bindings: TriggerBindings<Value>
    private var waiting: [() -> Void] = []
    /// Whether everything that the engine knows in this session has been named, and decided.
    public private(set) var isReplayed = false

    /// Announces `type` and takes part in every session of `link` from now on.
    ///
    /// The general form: `accept` answers through the registration it gets, `release` through the release; each may be kept and
    /// answered later. `sweepDelay` keeps what a new session has not named for a while longer: after an engine's restart ordinary
    /// workers take a second to come back.
    public init(
        _ type: TriggerTypeDeclaration, on link: WorkerLink, limits: TriggerLimits = TriggerLimits(), sweepDelay: TimeAmount = .zero,
        registration accept: @escaping (TriggerRegistration<Value>) -> Void, release: @escaping (TriggerRelease<Value>) -> Void
    ) {
        self.type = type
        self.link = link
        self.sweepDelay = sweepDelay
        self.accept = accept
        self.release = release
        bindings = TriggerBindings(limits: limits)
        link.provide(type, self)
    }

    /// For providers that decide on the spot. `accept` gets the value in force when a trigger changes.
    public convenience init(
        _ type: TriggerTypeDeclaration, on link: WorkerLink, limits: TriggerLimits = TriggerLimits(), sweepDelay: TimeAmount = .zero,
        accept: @escaping (TriggerBinding, _ current: Value?) throws(InvocationError) -> Value,
        release: @escaping (TriggerBinding, Value, UnregistrationReason) -> Void
    ) {
        self.init(
            type, on: link, limits: limits, sweepDelay: sweepDelay,
            registration: { registration in
                do throws(InvocationError) {
                    registration.accept(try accept(registration.binding, registration.current))
                } catch {
                    registration.refuse(error)
                }
            },
            release: { release($0.binding, $0.value, $0.reason) })
    }

    /// For providers that decide asynchronously: both closures run as tasks. `release` returns whether the binding ends; false
    /// keeps it in force, detached (see `TriggerRelease.keep`).
    public convenience init(
        _ type: TriggerTypeDeclaration, on link: WorkerLink, limits: TriggerLimits = TriggerLimits(), sweepDelay: TimeAmount = .zero,
        asyncAccept accept: @escaping @Sendable (TriggerBinding, _ current: Value?) async throws -> Value,
        asyncRelease release: @escaping @Sendable (TriggerBinding, Value, UnregistrationReason) async -> Bool
    ) where Value: Sendable {
        let loop = link.eventLoop
        self.init(
            type, on: link, limits: limits, sweepDelay: sweepDelay,
            registration: { registration in
                let (binding, current) = (registration.binding, registration.current)
                let bound = NIOLoopBound(registration, eventLoop: loop)
                Task {
                    let decision: Result<Value, InvocationError>
                    do { decision = .success(try await accept(binding, current)) } catch { decision = .failure(.refusal(error)) }
                    loop.execute { bound.value.decide(decision) }
                }
            },
            release: { ending in
                let (binding, value, reason) = (ending.binding, ending.value, ending.reason)
                let bound = NIOLoopBound(ending, eventLoop: loop)
                Task {
                    let ends = await release(binding, value, reason)
                    loop.execute { if ends { bound.value.complete() } else { bound.value.keep() } }
                }
            })
    }

    // MARK: The bindings

    /// The value in force under a trigger's id.
    public subscript(id: String) -> Value? { bindings[id] }
    /// Everything in force, in no order.
    public var inForce: [(binding: TriggerBinding, value: Value)] { bindings.inForce }
    /// How many trigger ids are known, those being decided included.
    public var count: Int { bindings.count }
    /// Bytes of the registrations behind them.
    public var bytes: Int { bindings.bytes }
    /// Whether the engine knows the trigger in this session. False for what was kept or restored and not named since.
    public func isAttached(_ id: String) -> Bool { bindings.isAttached(id) }

    /// Puts a binding of an earlier process in force, detached, before the engine names it again.
    public func restore(_ binding: TriggerBinding, _ value: Value) { bindings.restore(binding, value) }

    /// Gives up a detached binding; returns its value, or nil when it is attached, unknown, or just being decided about.
    @discardableResult
    public func forget(_ id: String) -> Value? { bindings.forget(id) }

    /// Takes the type back. What is in force stays so until the engine is told otherwise by the next provider.
    public func withdraw() { link.withdrawTriggerType(type.id) }

    // MARK: Events

    var isSettled: Bool { bindings.unsettled == 0 }

    func sessionStarted(_ number: Int) {
        isReplayed = false
        bindings.sessionStarted(number)
    }

    func offered(_ offer: TriggerOffer) { perform(bindings.offered(offer)) }
    func unregistered(_ id: String, _ reason: UnregistrationReason) { perform(bindings.unregistered(id, reason)) }

    func replayEnded(_ number: Int) {
        whenSettled { [self] in
            guard number == link.session else { return }
            isReplayed = true
        }
        guard sweepDelay > .zero else { return perform(bindings.replayEnded(number)) }
        let bound = NIOLoopBound(self, eventLoop: link.eventLoop)
        link.eventLoop.scheduleTask(in: sweepDelay) {
            let provider = bound.value
            // A link that is down, or another connection, says nothing about what this one did not name.
            guard provider.link.session == number, provider.link.isConnected else { return }
            provider.perform(provider.bindings.replayEnded(number))
        }
    }

    func whenSettled(_ work: @escaping () -> Void) {
        if isSettled { work() } else { waiting.append(work) }
    }

    private func perform(_ actions: [TriggerBindings<Value>.Action]) {
        for action in actions {
            switch action {
            case .accept(let binding, let current, let ticket):
                accept(
                    TriggerRegistration(binding, current: current, ticket: ticket, provider: NIOLoopBound(self, eventLoop: link.eventLoop)))
            case .release(let binding, let value, let reason, let ticket):
                release(
                    TriggerRelease(
                        binding, value, reason, ticket: ticket, provider: NIOLoopBound(self, eventLoop: link.eventLoop)))
            case .answer(let id, let functionID, let error):
                link.answerTrigger(id, type: type.id, functionID: functionID, error: error)
            }
        }
        guard isSettled, !waiting.isEmpty else { return }
        let due = waiting
        waiting = []
        for work in due { work() }
    }

    fileprivate func decided(_ id: String, _ ticket: Int, _ decision: Result<Value, InvocationError>) {
        switch decision {
        case .success(let value): perform(bindings.accepted(id, ticket: ticket, value))
        case .failure(let error): perform(bindings.refused(id, ticket: ticket, error))
        }
    }

    fileprivate func released(_ id: String, _ ticket: Int, isKept: Bool) {
        perform(bindings.released(id, ticket: ticket, isKept: isKept))
    }
}

/// A trigger that a provider has to decide about, once, on the event loop. Let go without a decision it is refused.
public final class TriggerRegistration<Value> {
    /// What is asked for.
    public let binding: TriggerBinding
    /// What is in force under the same id: this is a change of it. It stays in force unless the change is accepted.
    public let current: Value?
    private let ticket: Int
    private let provider: NIOLoopBound<TriggerProvider<Value>>
    private var isDecided = false

    fileprivate init(_ binding: TriggerBinding, current: Value?, ticket: Int, provider: NIOLoopBound<TriggerProvider<Value>>) {
        self.binding = binding
        self.current = current
        self.ticket = ticket
        self.provider = provider
    }

    /// In force from now on, in the place of `current`.
    public func accept(_ value: Value) { decide(.success(value)) }
    /// Not taken; the registrant is told why.
    public func refuse(_ error: InvocationError) { decide(.failure(error)) }

    /// Accepts with what the binding becomes, or refuses with the reason. Only the first decision counts.
    public func decide(_ decision: Result<Value, InvocationError>) {
        guard !isDecided else { return }
        isDecided = true
        provider.value.decided(binding.id, ticket, decision)
    }

    deinit {
        guard !isDecided else { return }
        let (id, ticket, provider) = (binding.id, ticket, provider)
        provider.eventLoop.execute {
            provider.value.decided(id, ticket, .failure(InvocationError(.triggerRegistrationFailed, "the provider did not decide")))
        }
    }
}

/// A binding that ends. Let go of, it has ended.
public final class TriggerRelease<Value> {
    /// What was in force.
    public let binding: TriggerBinding
    /// What it had become.
    public let value: Value
    /// Why it ends.
    public let reason: UnregistrationReason
    private let ticket: Int
    private let provider: NIOLoopBound<TriggerProvider<Value>>
    private var isDone = false

    fileprivate init(
        _ binding: TriggerBinding, _ value: Value, _ reason: UnregistrationReason, ticket: Int,
        provider: NIOLoopBound<TriggerProvider<Value>>
    ) {
        self.binding = binding
        self.value = value
        self.reason = reason
        self.ticket = ticket
        self.provider = provider
    }

    /// It has ended, in the store too.
    public func complete() { end(isKept: false) }

    /// It stays in force although nobody is behind it now, as a durable subscription does when its worker disconnects. The same
    /// trigger named again is then no change.
    public func keep() { end(isKept: true) }

    private func end(isKept: Bool) {
        guard !isDone else { return }
        isDone = true
        provider.value.released(binding.id, ticket, isKept: isKept)
    }

    deinit {
        guard !isDone else { return }
        let (id, ticket, provider) = (binding.id, ticket, provider)
        provider.eventLoop.execute { provider.value.released(id, ticket, isKept: false) }
    }
}

extension InvocationError {
    /// Any error of a provider as the one its registrant is told.
    static func refusal(_ error: any Error) -> InvocationError {
        error as? InvocationError ?? InvocationError(.triggerRegistrationFailed, "\(error)")
    }
}
