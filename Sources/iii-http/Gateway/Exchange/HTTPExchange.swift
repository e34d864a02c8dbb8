import NIOCore
import NIOHTTP1

/// One request and its one response, as a value without I/O (docs/reference/http.md).
///
/// Events come in as method calls: body parts, plans, places, outcomes of calls, channels, timers. What is to be done goes
/// into `effects`, in order; the shell (`HTTPConnection`) obeys and feeds the results back, also in the middle of obeying.
/// What the response means for the connection is decided by `HTTPConnectionMachine`, which takes the `Ending` and begins the
/// next exchange with the same value. Time, bytes of responses, sockets and tables are the shell's.
///
/// An exchange is *concluded* once, by an answer, by a cut, or by the client's leaving. Events that fit no state of it, a late
/// call or an expired timer, change nothing.
struct HTTPExchange {
    private(set) var state = State.concluded
    private var plan = RequestPlan()
    private var calls = CallSequence()
    private var body = RequestBody()
    private var stream = ResponseStream()
    private var head: HTTPRequestHead?
    private var closes = false
    private var isDraining = false
    private var isWritable = true
    private var ending: Ending?

    /// What is to be done, for all machines of the connection.
    var effects = ExchangeEffects()

    #if DEBUG
        /// For tests: every transition so far.
        private(set) var transitions = TransitionLog<State>()
    #endif

    // MARK: What may be asked

    /// Bytes of the request's body that are kept here.
    var waitingBytes: Int { body.waitingBytes }
    var isBodyFull: Bool { body.isFull }
    var isStreaming: Bool { state == .streaming }
    /// Whether the response that is being written is the connection's last.
    var isLast: Bool { closes }
    /// Whether all of the request has come. True between requests.
    var hasRequestEnded: Bool { body.hasEnded }
    /// Whether more has come of a body that nobody wants than is read over.
    var restIsTooLong: Bool { body.receivedBytes > plan.discardLimit }
    var limitsStallTime: Bool { plan.limitsStallTime }
    var streamStatus: Int { stream.status }
    var streamHeaders: [UInt8] { stream.headersText }
    var collectedBody: ByteBuffer? { body.collected() }

    /// Whether parts of the next request, or of a guarded body, have to wait.
    @inline(__always)
    var blocksInput: Bool {
        switch state {
        case .concluded: false
        case .planning, .held, .delivering: true
        case .calling: body.hasEnded || calls.isGuarding
        case .collecting, .grace, .waiting, .streaming: body.hasEnded
        }
    }

    /// While a body is on its way it decides, afterwards whether the client takes its responses.
    @inline(__always)
    var wantsInput: Bool {
        if !body.hasEnded, state != .collecting, state != .concluded { return !body.isFull }
        return isWritable
    }

    /// What the exchange has come to, once.
    mutating func takeEnding() -> Ending? {
        guard let ending else { return nil }
        self.ending = nil
        return ending
    }

    private mutating func enter(_ next: State) {
        guard state.mayBecome(next) else {
            effects.emit(.report(.transition))
            ending = .broken
            return
        }
        #if DEBUG
            transitions.note(state, next)
        #endif
        state = next
    }

    // MARK: Request

    /// A request begins, behind everything that belongs to the one before.
    mutating func begin(_ head: HTTPRequestHead) {
        self.head = head
        enter(.planning)
        effects.emit(.plan)
    }

    /// Something begins that is no request: only `refuse` can follow.
    mutating func beginWithoutHead() {
        enter(.planning)
        plan = RequestPlan()
        calls.begin(plan)
        body.begin()
        stream = ResponseStream()
    }

    /// The head to be planned.
    mutating func takeHead() -> HTTPRequestHead? {
        guard state == .planning, let head else { return nil }
        self.head = nil
        body.begin()
        stream = ResponseStream()
        return head
    }

    /// The plan of the request whose head was taken.
    mutating func begin(_ plan: RequestPlan) {
        guard state == .planning else { return }
        self.plan = plan
        calls.begin(plan)
        closes = plan.closes
        switch plan.verdict {
        case .refuse(let error, let closing): fail(error, closing: closing)
        case .answer: answer(.planned)
        case .invoke, .hold:
            if let length = plan.contentLength, let limit = plan.bodyLimit, length > limit {
                fail(.payloadTooLarge, closing: true)
            } else if plan.verdict == .hold {
                enter(.held)
                effects.start(.hold)
                effects.emit(.hold)
            } else {
                effects.start(.request)
                proceed()
            }
        }
    }

    /// Whether there was room among those that wait for a worker.
    mutating func holdDecided(_ isHeld: Bool) {
        guard state == .held, !isHeld else { return }
        fail(.workerRestarting)
    }

    /// The worker is back, or its route is gone for good: the request is routed once more.
    mutating func holdEnded() {
        guard state == .held else { return }
        enter(.planning)
        effects.emit(.planAgain)
    }

    /// Does the next step: a call, or the body between global middleware and the rest.
    private mutating func proceed() {
        while !calls.proceed(&effects) {
            // Only JSON is part of the payload; other bodies are asked for when the function opens their channel.
            if plan.isJSON { return collectBody() }
        }
        if state != .calling { enter(.calling) }
    }

    /// Global middleware has passed: the client may send its body.
    private mutating func collectBody() {
        let wasGuarded = calls.holdsPlace
        calls.returnPlace(&effects)
        enter(.collecting)
        inviteBody()
        if wasGuarded { startBodyTimer() }
    }

    private mutating func inviteBody() {
        if state != .streaming, body.invites(plan) { effects.emit(.sayContinue) }
    }

    mutating func bodyReceived(_ bytes: ByteBuffer) {
        body.received(bytes)
        guard state != .concluded else { return }
        if let limit = plan.bodyLimit, body.receivedBytes > limit {
            fail(.payloadTooLarge, closing: true)
        } else {
            pump()
        }
    }

    mutating func endReceived() {
        body.end()
        guard state == .collecting else { return pump() }
        effects.emit(.cancel(.body))
        if body.collected() != nil {
            effects.emit(.attachBody)
        } else if plan.rejectsInvalidJSON, body.waitingBytes > 0 {
            return fail(.badRequest("the body is not valid JSON"))
        }
        proceed()
    }

    /// A burst of reads is over.
    mutating func readCompleted() {
        if state == .collecting { startBodyTimer() }
    }

    // MARK: Calls

    /// The answer to `requestPlace`.
    mutating func placeDecided(_ admission: Admission) {
        if !calls.placeDecided(admission, &effects) { fail(.overloaded) }
    }

    /// The concurrency limit lets a queued request go on.
    mutating func placeGranted() { calls.placeGranted(&effects) }

    /// A call has come to its end. Returns whose it was; nil when nobody waits for it any more.
    mutating func callEnded(_ number: UInt64) -> Callee? { calls.ended(number) }

    private var hasOutcome: Bool { state == .calling && calls.hasReturned }

    mutating func callFailed(_ error: GatewayError) {
        if hasOutcome { fail(error) }
    }

    /// Condition or middleware: the request goes on, or not. Middleware that answers itself is `deliver`.
    mutating func guardAnswered(_ proceeds: Bool) {
        guard hasOutcome else { return }
        if proceeds { proceed() } else { fail(.conditionNotMet) }
    }

    /// The handler returned nothing: the response channel decides, if there is or will be one.
    mutating func handlerReturnedNothing() {
        guard hasOutcome, calls.isAtHandler else { return }
        if stream.isLost {
            fail(.streamLost)
        } else if stream.isOpen {
            enter(.waiting)
        } else if plan.isUnmatched {
            fail(.notFound)
        } else {
            enter(.grace)
            effects.start(.grace)
        }
    }

    /// The handler returned a value. True: keep it for `deliverHeldResult`; false: `deliver` it now.
    mutating func holdsResult() -> Bool {
        guard hasOutcome, calls.isAtHandler, stream.isOpen else { return false }
        if stream.hold() { effects.start(.settle) }
        return true
    }

    /// The bytes of a function are about to be written as the response, with `isLast`; `delivered` must follow. False: do not.
    mutating func deliver() -> Bool {
        guard hasOutcome else { return false }
        enter(.delivering)
        decideClosing()
        return true
    }

    /// The end of `deliver` and `deliverHeldResult`: the response is written; or the error that stands for what cannot be sent.
    mutating func delivered(_ error: GatewayError?) {
        guard state == .delivering else { return }
        if let error { fail(error) } else { conclude() }
    }

    // MARK: Channels

    /// The function has opened a channel of this exchange. False when there is nothing for it.
    mutating func channelOpened(_ end: ChannelEnd) -> Bool {
        switch (end, state) {
        case (.requestBody, .calling) where calls.isAtHandler, (.requestBody, .grace), (.requestBody, .waiting), (.requestBody, .streaming):
            guard body.open() else { return false }
            inviteBody()
        case (.response, .calling) where calls.isAtHandler: return stream.open()
        case (.response, .grace):
            guard stream.open() else { return false }
            enter(.waiting)
            effects.start(.request)
        default: return false
        }
        return true
    }

    /// The socket of the request body is open.
    mutating func uploadOpened() {
        body.opened()
        pump()
    }

    /// It has less to send than before.
    mutating func uploadDrained(queuedBytes: Int) {
        body.drained(queuedBytes: queuedBytes)
        pump()
    }

    /// Nobody reads the body any more.
    mutating func uploadEnded() { body.discard() }

    private mutating func pump() {
        if body.isOpen { effects.emit(.pumpBody) }
    }

    mutating func nextBodyMessage() -> RequestBody.Message? { body.nextMessage() }

    /// What the function says about the head. False when it wants a status that cannot be taken.
    mutating func controlReceived(_ text: UnsafeRawBufferPointer) -> Bool { stream.control(text) }

    mutating func streamCaughtUp() {
        if stream.caughtUp() { effects.start(.settle) }
    }

    /// Body bytes of the response have come.
    mutating func chunkReceived() -> ChunkVerdict {
        switch state {
        case .streaming: return .write
        case .calling where calls.isAtHandler && stream.isOpen, .waiting: break
        default: return .drop
        }
        // Bytes that were written before the handler returned win over its value.
        calls.abandon(&effects)
        stream.begin()
        enter(.streaming)
        decideClosing()
        if plan.isHTTP10, !plan.isHead { closes = true }
        effects.cancelMainTimer()
        effects.emit(.cancel(.settle))
        calls.returnPlace(&effects)
        return .begin
    }

    /// The head of the stream is written.
    mutating func headWritten(carriesBody: Bool) {
        guard state == .streaming else { return }
        // Nothing may follow: the writer learns it from its socket.
        if !carriesBody {
            conclude()
        } else if !isWritable {
            effects.emit(.pauseStream)
        }
    }

    /// The writer has ended the response channel, or it broke.
    mutating func streamEnded(isComplete: Bool) {
        guard stream.isOpen || stream.isFlowing else { return }
        if stream.holdsResult {
            deliverHeld()
        } else if state == .streaming {
            guard isComplete else { return cut() }
            effects.emit(.writeStreamEnd)
            conclude()
        } else if isComplete {
            answer(.emptyStream)
        } else {
            stream.lose()
            // The handler may still return or fail; only one that has returned nothing leaves no answer.
            if state == .waiting { fail(.streamLost) }
        }
    }

    private mutating func deliverHeld() {
        guard hasOutcome, stream.holdsResult else { return }
        enter(.delivering)
        decideClosing()
        effects.emit(.deliverHeldResult)
    }

    // MARK: Connection and time

    /// The gateway drains: the response will be the connection's last.
    mutating func drain() { isDraining = true }

    /// The client takes responses again, or not: the writer of a stream waits with it.
    mutating func writabilityChanged(_ isWritable: Bool) {
        self.isWritable = isWritable
        if stream.isOpen || stream.isFlowing { effects.emit(isWritable ? .resumeStream : .pauseStream) }
    }

    /// The gateway cannot keep more bytes of bodies.
    mutating func memoryExhausted() {
        switch state {
        case .held, .collecting, .calling, .grace, .waiting: fail(.buffersFull, closing: true)
        case .concluded, .planning, .delivering, .streaming: break
        }
    }

    /// A time limit of this exchange is over: `request`, `hold`, `grace`, `body`, `settle`.
    mutating func timerFired(_ timer: ExchangeTimer) {
        switch (timer, state) {
        case (.request, .collecting), (.request, .calling), (.request, .waiting):
            fail(.deadlineExceeded, closing: state == .collecting)
        case (.hold, .held): fail(.workerRestarting)
        case (.grace, .grace): answer(.noContent)
        case (.body, .collecting): fail(.bodyTimeout, closing: true)
        case (.settle, _): deliverHeld()
        default: break
        }
    }

    private mutating func startBodyTimer() {
        if plan.limitsBodyTime { effects.start(.body) }
    }

    // MARK: Ends

    /// The rest of the request cannot be read: the error is its answer, and the connection's last.
    mutating func refuse(_ error: GatewayError) { fail(error, closing: true) }

    /// The client is gone, or will get no answer.
    mutating func leave() {
        if state != .concluded { endWork(isAnswered: false) }
        body.discardRest()
        head = nil
    }

    /// Request and response are both complete, and another request may follow.
    mutating func reset() {
        body = RequestBody()
        effects.emit(.clear)
    }

    /// The answer to `clear`: nothing of the last exchange is written any more.
    mutating func cleared() {
        if state == .concluded { stream = ResponseStream() }
    }

    private mutating func fail(_ error: GatewayError, closing: Bool = false) {
        if state == .streaming { return cut() }
        if closing { closes = true }
        effects.note(error)
        answer(.failure)
    }

    private mutating func answer(_ answer: ExchangeAction.Answer) {
        decideClosing()
        effects.emit(.answer(answer, closes: closes))
        conclude()
    }

    private mutating func decideClosing() {
        if isDraining || body.obstructs(plan) { closes = true }
    }

    private mutating func conclude() {
        endWork(isAnswered: true)
        body.discardRest()
        ending = .answered
    }

    /// The rest of a streamed response will not come: only the end of the connection can tell. No final chunk, and over TLS no
    /// close_notify, or the client would take what it has for the whole.
    private mutating func cut() {
        effects.emit(.markUnclean)
        endWork(isAnswered: true)
        body.discardRest()
        ending = .cut
    }

    /// Ends everything that belongs to the exchange but its request.
    private mutating func endWork(isAnswered: Bool) {
        if state == .held { effects.emit(.unhold) }
        effects.emit(.conclude(isAnswered: isAnswered))
        calls.abandon(&effects)
        if state == .collecting { effects.emit(.cancel(.body)) }
        if stream.holdsResult { effects.emit(.cancel(.settle)) }
        stream.close()
        calls.returnPlace(&effects)
        effects.emit(.releaseChannels)
        enter(.concluded)
    }
}
