import NIOCore
import NIOHTTP1

/// The life of one client connection, one `HTTPExchange` after the other, as a value without I/O
/// (docs/reference/http.md#clients-and-proxies).
///
/// What comes from the socket and its timers goes in here; events of the current exchange go through `handle`. What is to be
/// done comes out of `nextAction`, in order. After `release` there are no actions.
struct HTTPConnectionMachine {
    /// Where the connection is. Kept and changed by the machine alone, along `mayBecome`.
    enum State: Int, CaseIterable {
        /// Between requests.
        case idle
        /// A request is in work.
        case exchanging
        /// It is concluded; what is left of it is read over.
        case discarding
        /// The last response is on its way out; input is discarded.
        case closing
        /// Final.
        case closed

        /// The transitions there are.
        func mayBecome(_ next: State) -> Bool {
            switch (self, next) {
            case (.idle, .exchanging), (.idle, .closing), (.exchanging, .idle), (.exchanging, .discarding), (.exchanging, .closing): true
            case (.discarding, .idle), (.discarding, .closing), (.closing, .closed): true
            default: false
            }
        }
    }

    private(set) var state = State.idle
    private(set) var exchange = HTTPExchange()
    private var input = InputGate()
    private var output = OutputProgress()
    private var isWritable = true

    #if DEBUG
        /// For tests: every transition so far.
        private(set) var transitions = TransitionLog<State>()
    #endif

    /// The next thing to do; nil when there is nothing.
    mutating func nextAction() -> ExchangeAction? { exchange.effects.next() }

    /// The error of the oldest `answer(.failure)` that is not written.
    mutating func takeFailure() -> GatewayError { exchange.effects.takeFailure() }

    /// Bytes of request bodies that are kept here.
    var waitingBytes: Int { input.waitingBytes + exchange.waitingBytes }

    @inline(__always)
    private var isOver: Bool { state == .closing || state == .closed }

    private mutating func enter(_ next: State) {
        guard state.mayBecome(next) else { return breakOff() }
        #if DEBUG
            transitions.note(state, next)
        #endif
        state = next
    }

    // MARK: Connection

    /// The client is connected. Without a slot it is told to come back later.
    mutating func connected(hasSlot: Bool) {
        guard state == .idle else { return }
        start(.head)
        guard !hasSlot else { return }
        refuse(.overloaded)
        advance()
    }

    /// The gateway drains: the next response closes the connection, and with `closesIdle` an idle one is closed now.
    mutating func drain(closesIdle: Bool) {
        exchange.drain()
        if closesIdle, state == .idle, input.isEmpty { beginClosing() }
    }

    /// Everything that was written is out, behind `closeAfterOutput`.
    mutating func outputWritten() {
        guard state == .closing else { return }
        if input.isClosed || (exchange.hasRequestEnded && !input.hasLeftovers) { return emit(.close) }
        // Closing with unread input would reset the connection and could cost the client its response.
        start(.linger)
        emit(.closeOutput)
        resumeReading()
    }

    /// The connection is gone. Nothing is wanted after this.
    mutating func disconnected() {
        guard state != .closed else { return }
        leave()
        enter(.closed)
        emit(.release)
    }

    /// An event of the current exchange.
    mutating func handle<Result>(_ event: (inout HTTPExchange) -> Result) -> Result {
        let result = event(&exchange)
        advance()
        return result
    }

    // MARK: Input

    mutating func received(_ part: HTTPServerRequestPart) {
        input.noteArrival()
        guard !isOver else { return }
        if exchange.blocksInput || !input.isEmpty { input.append(part) } else { take(part) }
        advance()
    }

    /// A burst of reads is over.
    mutating func readCompleted() {
        if input.burstEnded(isIdle: state == .idle), exchange.effects.running != .head {
            // The sender of a part of a head has the header time from here, not the idle time.
            start(.head)
        }
        exchange.readCompleted()
        advance()
    }

    /// What came is no HTTP; nothing that comes behind it can be read.
    mutating func inputFailed(_ error: GatewayError) {
        guard !isOver, input.failure == nil, !input.isClosed else { return }
        if state == .discarding { return beginClosing() }
        input.fail(error)
        advance()
    }

    /// Something came behind a request that its client had called the last one.
    mutating func leftoversReceived() { input.noteLeftovers() }

    /// The client has closed its side, possibly in the middle of a request. What is complete gets its answer.
    mutating func inputClosed() {
        guard !input.isClosed else { return }
        input.close()
        if state == .closing, exchange.effects.running == .linger { return emit(.close) }
        // A stream has no deadline that would end it: its reader is taken to be gone with its side of the connection.
        if exchange.isStreaming { return abandon() }
        advance()
    }

    /// The connection broke.
    mutating func inputBroke() {
        if !isOver { abandon() }
    }

    /// Whether the channel may read now; otherwise `read` follows.
    mutating func wantsRead() -> Bool { input.wantsRead(mayRead) }

    @inline(__always)
    private var mayRead: Bool { isOver || (input.isEmpty && exchange.wantsInput) }

    private mutating func resumeReading() {
        if input.takeWish(mayRead) { emit(.read) }
    }

    private mutating func take(_ part: HTTPServerRequestPart) {
        switch (part, state) {
        case (.head(let head), .idle):
            input.headCompleted()
            enter(.exchanging)
            exchange.begin(head)
        case (.body(let bytes), .exchanging): exchange.bodyReceived(bytes)
        case (.body(let bytes), .discarding):
            exchange.bodyReceived(bytes)
            // A moderate rest is discarded so that keep-alive survives, an endless one is cut.
            if exchange.restIsTooLong { beginClosing() } else { start(.idle) }
        case (.end, .exchanging): exchange.endReceived()
        case (.end, .discarding):
            exchange.endReceived()
            finish()
        default: breakOff()
        }
    }

    /// Draws the consequences of what the exchange has come to, and goes on with what waits, as far as the next one lets it.
    private mutating func advance() {
        while !isOver {
            if let ending = exchange.takeEnding() {
                ended(ending)
            } else if exchange.blocksInput {
                break
            } else if isWritable, let part = input.popFirst() {
                take(part)
            } else if !input.isEmpty || !takeEndOfInput() {
                break
            }
        }
        if state != .closed { resumeReading() }
    }

    /// Deals with an end of the input that came behind everything else. False when there is none.
    private mutating func takeEndOfInput() -> Bool {
        if let error = input.takeFailure() {
            // Whoever has its answer, from a guard, gets no second one.
            if state == .discarding { beginClosing() } else { refuse(error) }
        } else if input.isClosed {
            // Nothing follows; and a request that is not complete never will be.
            if state == .exchanging { abandon() } else { beginClosing() }
        } else {
            return false
        }
        return true
    }

    // MARK: Output

    /// The client takes responses again, or not. `buffered`: bytes of output that it has not taken.
    mutating func writabilityChanged(_ isWritable: Bool, buffered: Int) {
        guard state != .closed else { return }
        self.isWritable = isWritable
        if isWritable {
            emit(.cancel(.stall))
        } else {
            startStallTimer(buffered)
        }
        exchange.writabilityChanged(isWritable)
        advance()
    }

    private mutating func startStallTimer(_ buffered: Int) {
        guard exchange.limitsStallTime else { return }
        output.noteStall(buffered)
        start(.stall)
    }

    // MARK: Timers

    /// `buffered`: bytes of output that the client has not taken.
    mutating func timerFired(_ timer: ExchangeTimer, buffered: Int) {
        guard state != .closed, exchange.effects.fired(timer) else { return }
        switch timer {
        case .head:
            if input.hasPartialHead, state == .idle { refuse(.requestTimeout) } else { emit(.close) }
        case .idle:
            // A client that still takes in a large response is slow, not idle.
            if output.isSlow(buffered) { start(.idle) } else { emit(.close) }
        case .linger: emit(.close)
        case .stall:
            // Whoever takes in anything at all is slow, not stalled.
            if output.isStalled(buffered) {
                emit(.markUnclean)
                emit(.close)
            } else if buffered > 0 {
                startStallTimer(buffered)
            }
        case .request, .hold, .grace, .body, .settle: exchange.timerFired(timer)
        }
        advance()
    }

    // MARK: Ends

    private mutating func ended(_ ending: HTTPExchange.Ending) {
        switch ending {
        case .answered where exchange.hasRequestEnded: finish()
        case .answered where exchange.isLast: beginClosing()
        case .answered:
            enter(.discarding)
            start(.idle)
        case .cut: beginClosing()
        case .broken: abandon()
        }
    }

    /// Request and response are both complete.
    private mutating func finish() {
        if exchange.isLast { return beginClosing() }
        enter(.idle)
        exchange.reset()
        output.noteIdle()
        start(.idle)
    }

    /// Answers although there is no complete request, and closes. More input may be on its way: it is waited out.
    private mutating func refuse(_ error: GatewayError) {
        if state == .idle {
            enter(.exchanging)
            exchange.beginWithoutHead()
        }
        exchange.refuse(error)
    }

    /// No request is read any more; the connection ends when its output is out.
    private mutating func beginClosing() {
        enter(.closing)
        input.removeAll()
        // A peer that never reads must not keep the connection for ever.
        start(.idle)
        emit(.closeAfterOutput)
    }

    /// The client is gone.
    private mutating func abandon() {
        leave()
        emit(.close)
    }

    /// What cannot be, such as a body without a request: nothing that follows could be trusted.
    private mutating func breakOff() {
        emit(.report(.event))
        abandon()
    }

    private mutating func leave() {
        exchange.leave()
        exchange.effects.forgetMainTimer()
        input.removeAll()
        if !isOver { enter(.closing) }
    }

    private mutating func start(_ timer: ExchangeTimer) { exchange.effects.start(timer) }

    private mutating func emit(_ action: ExchangeAction) { exchange.effects.emit(action) }
}
