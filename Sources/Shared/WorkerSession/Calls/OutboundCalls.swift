import IIIProtocol
import IIITelemetry
import NIOCore

/// The calls a worker makes because something happened: fires of triggers, deliveries, fan-outs.
///
/// All of them are counted and limited here (`CallLimits`), so however much happens at once, no worker is sent more than it can
/// be owed, and a slow function holds up its own calls only. What exceeds the limits waits, in order per function; what exceeds
/// the waiting room fails at once with `too_many_in_flight`. Every call is answered on the wire, also where nobody is interested:
/// the answer is how we know that the worker has taken it.
///
/// Confined to the link's event loop, except for the `async` form.
public final class OutboundCalls: @unchecked Sendable {
    /// How a fire ended. Bytes are raw JSON, valid during the completion only.
    public enum Outcome {
        /// The function was called, and returned this; nil for nothing.
        case completed(UnsafeRawBufferPointer?)
        /// The condition answered `false`.
        case skipped
        /// The condition failed, so the function was not called; this has been logged.
        case conditionFailed(InvocationError)
        /// The function failed, or the call could not be made.
        case failed(InvocationError)
    }

    private struct Fire {
        let target: TriggerTarget
        let condition: TriggerCondition?
        let payload: [UInt8]
        let trace: TraceContext
        let timeout: TimeAmount?
        let completion: (Outcome) -> Void
    }

    private struct Key: Hashable {
        let namespace: String?
        let function: FunctionID
    }

    private let link: WorkerLink
    private var limiter: CallLimiter<Key, Fire>
    private var onIdle: [() -> Void] = []
    /// Calls whose turn has come. Taken one after the other: with the link down each fails at once, and all would recurse.
    private var due = CircularBuffer<Fire>()
    private var isStarting = false

    /// All calls of one set of limits go through one of these.
    public init(link: WorkerLink, limits: CallLimits = CallLimits()) {
        self.link = link
        limiter = CallLimiter(limits: limits)
    }

    /// Calls under way, and calls that wait for their turn.
    public var running: Int { limiter.running }
    /// Calls that wait for others to end.
    public var waiting: Int { limiter.waiting }

    /// Asks `condition`, if there is one, then calls `target`; both get `payload`, one JSON value.
    ///
    /// Both are told of `trace`. Fails with `DISCONNECTED` while the link is down. Without a `timeout` it waits as long as the link lives.
    public func fire(
        _ target: TriggerTarget, condition: TriggerCondition? = nil, payload: [UInt8], trace: TraceContext = .none,
        timeout: TimeAmount? = nil, completion: @escaping (Outcome) -> Void
    ) {
        let fire = Fire(
            target: target, condition: condition, payload: payload, trace: trace, timeout: timeout, completion: completion)
        switch limiter.admit(fire, to: key(of: fire), bytes: payload.count) {
        case .start: start([fire])
        case .waits: break
        case .refused(let limit):
            completion(.failed(InvocationError(.tooManyInFlight, "Function \(target.functionID) is not called: \(limit)")))
        }
    }

    /// The same for asynchronous code, from anywhere. Throws the function's error; nil when it returned nothing.
    ///
    /// `isSkipped` tells a condition's `false` apart from a function without a result.
    public func fire(
        _ target: TriggerTarget, condition: TriggerCondition? = nil, payload: [UInt8], trace: TraceContext = .current,
        timeout: TimeAmount? = nil
    ) async throws(InvocationError) -> (result: [UInt8]?, isSkipped: Bool) {
        let answer = await withCheckedContinuation { (waiting: CheckedContinuation<Result<([UInt8]?, Bool), InvocationError>, Never>) in
            link.eventLoop.execute { [self] in
                fire(target, condition: condition, payload: payload, trace: trace, timeout: timeout) {
                    switch $0 {
                    case .completed(let bytes): waiting.resume(returning: .success((bytes.map { Array($0) }, false)))
                    case .skipped: waiting.resume(returning: .success((nil, true)))
                    case .conditionFailed(let error), .failed(let error): waiting.resume(returning: .failure(error))
                    }
                }
            }
        }
        let (result, isSkipped) = try answer.get()
        return (result, isSkipped)
    }

    /// Runs `work` when nothing is under way and nothing waits (now, if that is so).
    public func whenIdle(_ work: @escaping () -> Void) {
        if limiter.isIdle { work() } else { onIdle.append(work) }
    }

    private func key(of fire: Fire) -> Key { Key(namespace: fire.target.namespace, function: fire.target.functionID) }

    private func start(_ fires: [Fire]) {
        due.append(contentsOf: fires)
        guard !isStarting else { return }
        isStarting = true
        while let next = due.popFirst() { ask(next) }
        isStarting = false
    }

    private func ask(_ fire: Fire) {
        guard let condition = fire.condition else { return call(fire) }
        send(condition.functionID, fire, metadata: nil) { [self] outcome in
            switch TriggerCondition.verdict(outcome) {
            case .run: call(fire)
            case .skip: finish(fire, .skipped)
            case .failed(let error):
                link.logger.warning(
                    .conditionFailed, "a condition failed, so its function was not called",
                    metadata: [
                        "condition": "\(condition.functionID)", "function_id": "\(fire.target.functionID)", "error": "\(error.code)",
                    ])
                finish(fire, .conditionFailed(error))
            }
        }
    }

    private func call(_ fire: Fire) {
        send(fire.target.functionID, fire, metadata: fire.target.metadata) { [self] outcome in
            switch outcome {
            case .result(let bytes): finish(fire, .completed(bytes))
            case .failure(let error): finish(fire, .failed(error))
            }
        }
    }

    private func send(_ function: FunctionID, _ fire: Fire, metadata: [UInt8]?, completion: @escaping (CallOutcome) -> Void) {
        link.call(
            function, namespace: fire.target.namespace, trace: fire.trace, metadata: metadata, timeout: fire.timeout,
            writeData: { $0.writeBytes(fire.payload) }, completion: completion)
    }

    private func finish(_ fire: Fire, _ outcome: Outcome) {
        fire.completion(outcome)
        start(limiter.finished(key(of: fire), bytes: fire.payload.count))
        guard limiter.isIdle, !onIdle.isEmpty else { return }
        let waiting = onIdle
        onIdle = []
        for work in waiting { work() }
    }
}
