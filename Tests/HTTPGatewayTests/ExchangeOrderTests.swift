import IIIProtocol
import NIOCore
import NIOHTTP1
import Testing

@testable import IIIHTTPGateway

/// Ten thousand seeded orders of events against one exchange after the other: whatever comes in whatever order, every request
/// ends in exactly one way and nothing happens behind the end. A failure names its seed, which repeats it.
@Suite struct ExchangeOrderTests {
    @Test func everyOrderOfEventsKeepsTheInvariants() {
        var totals = OrderDriver.Totals()
        var ofConnection = TransitionLog<HTTPConnectionMachine.State>()
        var ofExchange = TransitionLog<HTTPExchange.State>()
        var actions: Set<ExchangeAction> = []
        for seed in UInt64(1)...10_000 {
            var driver = OrderDriver(seed: seed)
            let problem = driver.run()
            #expect(problem == nil, "seed \(seed)")
            totals.add(driver.totals)
            ofConnection.merge(driver.machine.transitions)
            ofExchange.merge(driver.machine.exchange.transitions)
            actions.formUnion(driver.actions)
        }
        // They go everywhere: through every state and every transition that there is, and nowhere else.
        #expect(ofConnection.missing { $0.mayBecome($1) } == [])
        #expect(ofExchange.missing { $0.mayBecome($1) } == [])
        // And everything is wanted that can be wanted; nothing that cannot.
        #expect(actions.symmetricDifference(OrderDriver.possibleActions) == [])
        // The orders reach what they are meant to reach.
        #expect(totals.requests > 10_000 && totals.answers > 5_000 && totals.streams > 500 && totals.departures > 1_000, "\(totals)")
        #expect(totals.heldRequests > 500 && totals.heldResults > 100 && totals.lateCalls > 100, "\(totals)")
    }
}

extension TransitionLog where State: CaseIterable {
    /// Transitions that there are and that were never seen.
    fileprivate func missing(_ mayBecome: (State, State) -> Bool) -> [String] {
        State.allCases.flatMap { state in
            State.allCases.filter { mayBecome(state, $0) && !contains(state, $0) }.map { "\(state) to \($0)" }
        }
    }
}

/// A shell that knows nothing but the rules: it obeys, feeds events in a seeded order, and watches.
private struct OrderDriver {
    struct Totals {
        var requests = 0
        var answers = 0
        var streams = 0
        var departures = 0
        var heldRequests = 0
        var heldResults = 0
        var lateCalls = 0

        mutating func add(_ other: Totals) {
            requests += other.requests
            answers += other.answers
            streams += other.streams
            departures += other.departures
            heldRequests += other.heldRequests
            heldResults += other.heldResults
            lateCalls += other.lateCalls
        }
    }

    /// Everything that can be wanted, all but `report`: that would be a transition that there is not. Calls without their numbers.
    static let possibleActions: Set<ExchangeAction> = Set(
        [
            .plan, .planAgain, .hold, .unhold, .requestPlace, .returnPlace, .withdrawFromQueue, .attachBody, .abandonCall, .sayContinue,
            .pumpBody, .deliverHeldResult, .writeStreamEnd, .pauseStream, .resumeStream, .conclude(isAnswered: true),
            .conclude(isAnswered: false), .releaseChannels, .clear, .read, .closeAfterOutput, .markUnclean, .closeOutput, .close, .release,
            // The main slot is cancelled by streams, the others by what ends their time.
            .cancel(.main), .cancel(.body), .cancel(.stall), .cancel(.settle),
            .call(.globalMiddleware(0), number: 0), .call(.condition, number: 0), .call(.routeMiddleware(0), number: 0),
            .call(.handler, number: 0), .answer(.failure, closes: true), .answer(.failure, closes: false), .answer(.planned, closes: true),
            .answer(.planned, closes: false), .answer(.noContent, closes: true), .answer(.noContent, closes: false),
            .answer(.emptyStream, closes: true), .answer(.emptyStream, closes: false),
        ] + ExchangeTimer.allCases.map { .start($0) })

    var totals = Totals()
    /// What was wanted.
    private(set) var actions: Set<ExchangeAction> = []
    private(set) var machine = HTTPConnectionMachine()
    private var random: SeededGenerator
    private var problem: String?

    // What a shell would know.
    private var isReleased = false
    private var isConnected = true
    private var isOutputClosing = false
    private var isInRequest = false
    private var headsOfRequest = 0
    private var hasPlace = false
    private var isQueued = false
    private var isHeld = false
    private var calls: [UInt64] = []
    private var openCall: UInt64?
    private var timers: Set<ExchangeTimer> = []
    private var isUploadOpen = false
    private var isDownloadOpen = false
    private var isPartHead = true
    private var queued = 0

    init(seed: UInt64) { random = SeededGenerator(seed: seed) }

    private mutating func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

    private mutating func fail(_ text: String) {
        if problem == nil { problem = text }
    }

    mutating func run() -> String? {
        machine.connected(hasSlot: pick(50) > 0)
        perform()
        for _ in 0..<(20 + pick(80)) where !isReleased && problem == nil {
            event()
            perform()
            if machine.waitingBytes > RequestBody.waitingLimit + 4 * 4096 + 200_000 { fail("unbounded body: \(machine.waitingBytes)") }
        }
        leave()
        perform()
        if !isReleased { fail("never released") }
        if isInRequest { fail("a request has no end") }
        if hasPlace || isQueued || isHeld { fail("a place is kept") }
        if openCall != nil { fail("a call is kept") }
        // Nothing stirs it any more.
        lateEvents()
        if machine.nextAction() != nil { fail("an action behind the end") }
        return problem
    }

    private mutating func leave() {
        guard isConnected else { return }
        isConnected = false
        machine.disconnected()
    }

    private mutating func lateEvents() {
        machine.received(.end(nil))
        machine.readCompleted()
        for timer in ExchangeTimer.allCases { machine.timerFired(timer, buffered: 1) }
        for number in calls where machine.handle({ $0.callEnded(number) }) != nil { fail("a late call counts") }
        machine.handle { $0.handlerReturnedNothing() }
        machine.handle { $0.guardAnswered(true) }
        machine.handle { $0.callFailed(.overloaded) }
        if machine.handle({ $0.deliver() }) || machine.handle({ $0.holdsResult() }) { fail("a late value counts") }
        if machine.handle({ $0.chunkReceived() }) != .drop { fail("a late chunk counts") }
        if machine.handle({ $0.channelOpened(.response) }) || machine.handle({ $0.channelOpened(.requestBody) }) {
            fail("a late channel opens")
        }
        machine.handle { $0.streamEnded(isComplete: true) }
        machine.handle { $0.streamCaughtUp() }
        machine.handle { $0.uploadOpened() }
        machine.handle { $0.uploadDrained(queuedBytes: 0) }
        machine.handle { $0.uploadEnded() }
        machine.inputClosed()
        machine.inputBroke()
        machine.inputFailed(.overloaded)
        machine.writabilityChanged(true, buffered: 0)
        machine.outputWritten()
        machine.handle { $0.memoryExhausted() }
        machine.handle { $0.holdEnded() }
        machine.drain(closesIdle: true)
        machine.handle { $0.delivered(nil) }
        machine.handle { $0.headWritten(carriesBody: false) }
        machine.disconnected()
    }

    // MARK: Events

    private mutating func event() {
        switch pick(26) {
        case 0..<6: part()
        case 6: machine.readCompleted()
        case 7, 8: answerCall()
        case 9: if machine.handle({ $0.channelOpened(.response) }) { isDownloadOpen = true }
        case 10:
            if isQueued {
                isQueued = false
                hasPlace = true
                machine.handle { $0.placeGranted() }
            }
        case 11: machine.writabilityChanged(pick(2) == 0, buffered: pick(100_000))
        case 12: if let timer = timers.sorted(by: { $0.rawValue < $1.rawValue }).randomElement(using: &random) { fire(timer) }
        case 13: if machine.handle({ $0.channelOpened(.requestBody) }) { isUploadOpen = true }
        case 14: if machine.handle({ $0.channelOpened(.response) }) { isDownloadOpen = true }
        case 15: if isUploadOpen { machine.handle { $0.uploadOpened() } }
        case 16:
            let bytes = pick(2) * 300_000
            if isUploadOpen { machine.handle { $0.uploadDrained(queuedBytes: bytes) } }
        case 17:
            if isUploadOpen, pick(4) == 0 {
                isUploadOpen = false
                machine.handle { $0.uploadEnded() }
            }
        case 18, 19: if isDownloadOpen { chunk() } else if machine.handle({ $0.channelOpened(.response) }) { isDownloadOpen = true }
        case 20:
            if isDownloadOpen {
                isDownloadOpen = false
                let isComplete = pick(3) > 0
                machine.handle { $0.streamEnded(isComplete: isComplete) }
            }
        case 21: if isDownloadOpen { machine.handle { $0.streamCaughtUp() } }
        case 22: if isOutputClosing { machine.outputWritten() } else if isHeld, pick(2) == 0 { machine.handle { $0.holdEnded() } }
        case 23: if pick(2) == 0 { unhappy() }
        case 24: _ = machine.wantsRead()
        default: if pick(12) == 0 { leave() }
        }
    }

    private mutating func unhappy() {
        switch pick(7) {
        case 0: machine.inputFailed(.badRequest("x"))
        case 1: machine.inputClosed()
        case 2: machine.inputBroke()
        case 3: machine.handle { $0.memoryExhausted() }
        case 4: machine.drain(closesIdle: pick(2) == 0)
        case 5: machine.leftoversReceived()
        default: lateCall()
        }
    }

    private mutating func part() {
        guard !isPartHead else {
            isPartHead = false
            return machine.received(.head(HTTPRequestHead(version: .http1_1, method: .POST, uri: "/")))
        }
        if pick(3) > 0 {
            isPartHead = true
            machine.received(.end(nil))
        } else {
            machine.received(.body(ByteBuffer(repeating: UInt8(ascii: "1"), count: 1 + pick(4096))))
        }
    }

    private mutating func fire(_ timer: ExchangeTimer) {
        timers.remove(timer)
        machine.timerFired(timer, buffered: pick(2) * pick(1000))
    }

    private mutating func lateCall() {
        guard let number = calls.randomElement(using: &random), number != openCall else { return }
        totals.lateCalls += 1
        if machine.handle({ $0.callEnded(number) }) != nil { fail("a late call counts") }
    }

    private mutating func answerCall() {
        guard let number = openCall else { return lateCall() }
        guard let callee = machine.handle({ $0.callEnded(number) }) else { return fail("a call that is open does not count") }
        openCall = nil
        if pick(6) == 0 { return machine.handle { $0.callFailed(.overloaded) } }
        guard callee == .handler else {
            if pick(5) == 0, callee != .condition {
                if machine.handle({ $0.deliver() }) { deliver() }
                return
            }
            let proceeds = pick(6) > 0
            return machine.handle { $0.guardAnswered(proceeds) }
        }
        if pick(3) == 0 { return machine.handle { $0.handlerReturnedNothing() } }
        if machine.handle({ $0.holdsResult() }) {
            totals.heldResults += 1
        } else if machine.handle({ $0.deliver() }) {
            deliver()
        } else {
            fail("a value that counts is not wanted")
        }
    }

    private mutating func deliver() {
        if pick(10) == 0 { return machine.handle { $0.delivered(.invalidResponse(errorID: "0")) } }
        headWritten()
        machine.handle { $0.delivered(nil) }
    }

    private mutating func chunk() {
        switch machine.handle({ $0.chunkReceived() }) {
        case .drop: fail("an open stream is not heard")
        case .write: if headsOfRequest != 1 { fail("a chunk without a head") }
        case .begin:
            totals.streams += 1
            headWritten()
            let carriesBody = pick(5) > 0
            machine.handle { $0.headWritten(carriesBody: carriesBody) }
        }
    }

    private mutating func headWritten() {
        headsOfRequest += 1
        if headsOfRequest != 1 { fail("\(headsOfRequest) heads for one request") }
    }

    // MARK: Actions

    private mutating func perform() {
        var count = 0
        while let action = machine.nextAction() {
            count += 1
            if isReleased { return fail("\(action) behind the end") }
            if count > 1000 { return fail("endless actions") }
            perform(action)
        }
    }

    private mutating func perform(_ action: ExchangeAction) {
        if case .call(let callee, _) = action { actions.insert(.call(callee, number: 0)) } else { actions.insert(action) }
        switch action {
        case .report(let violation): fail(violation.rawValue)
        case .plan:
            guard machine.handle({ $0.takeHead() }) != nil else { return fail("a plan without a head") }
            if isInRequest { fail("a request begins in another") }
            isInRequest = true
            headsOfRequest = 0
            totals.requests += 1
            let plan = plan()
            machine.handle { $0.begin(plan) }
        case .planAgain:
            isHeld = false
            let plan = plan()
            machine.handle { $0.begin(plan) }
        case .hold:
            isHeld = pick(4) > 0
            if isHeld { totals.heldRequests += 1 }
            let isHeld = isHeld
            machine.handle { $0.holdDecided(isHeld) }
        case .unhold: isHeld = false
        case .requestPlace:
            if hasPlace || isQueued { fail("a second place") }
            switch pick(8) {
            case 0: machine.handle { $0.placeDecided(.rejected) }
            case 1, 2:
                isQueued = true
                machine.handle { $0.placeDecided(.queued) }
            default:
                hasPlace = true
                machine.handle { $0.placeDecided(.admitted) }
            }
        case .returnPlace:
            if !hasPlace { fail("a place is returned twice") }
            hasPlace = false
        case .withdrawFromQueue:
            if !isQueued { fail("withdrawn without waiting") }
            isQueued = false
        case .attachBody: break
        case .call(_, let number):
            if openCall != nil { fail("two calls at a time") }
            if !hasPlace { fail("a call without a place") }
            openCall = number
            calls.append(number)
            // As a link does that is down.
            if pick(20) == 0 { answerCall() }
        case .abandonCall:
            if openCall == nil { fail("abandons nothing") }
            openCall = nil
        case .sayContinue: if headsOfRequest > 0 { fail("100 behind the head") }
        case .pumpBody:
            while let message = machine.handle({ $0.nextBodyMessage() }) {
                if !isUploadOpen { fail("bytes for nobody") }
                if message == .finish { isUploadOpen = false }
            }
        case .answer(let answer, _):
            if answer == .failure { _ = machine.takeFailure() }
            if !isInRequest {
                // An answer outside any request, such as to a broken head.
                isInRequest = true
                headsOfRequest = 0
            }
            headWritten()
        case .deliverHeldResult: deliver()
        case .writeStreamEnd: if headsOfRequest != 1 { fail("the end of nothing") }
        case .conclude(let isAnswered):
            if !isInRequest { fail("concluded twice") }
            if isAnswered, headsOfRequest != 1 { fail("concluded without an answer") }
            if isAnswered { totals.answers += 1 } else { totals.departures += 1 }
            isInRequest = false
        case .releaseChannels: (isUploadOpen, isDownloadOpen) = (false, false)
        case .pauseStream, .resumeStream, .clear, .markUnclean, .read: break
        case .start(let timer):
            timers = timers.filter { $0.slot != timer.slot }
            timers.insert(timer)
        case .cancel(let slot): timers = timers.filter { $0.slot != slot }
        case .closeAfterOutput:
            if isInRequest { fail("closes in the middle") }
            isOutputClosing = true
        case .closeOutput: break
        case .close: leave()
        case .release: isReleased = true
        }
    }

    private mutating func plan() -> RequestPlan {
        var plan = RequestPlan()
        switch pick(15) {
        case 0: plan.verdict = .refuse(.notFound, closes: pick(2) == 0)
        case 1: plan.verdict = .answer
        case 2: plan.verdict = .hold
        default: plan.verdict = .invoke
        }
        plan.closes = pick(10) == 0
        plan.isHead = pick(8) == 0
        plan.isHTTP10 = pick(8) == 0
        plan.isJSON = pick(3) == 0
        plan.rejectsInvalidJSON = pick(2) == 0
        plan.hasBody = pick(2) == 0
        plan.expectsContinue = pick(4) == 0
        plan.contentLength = pick(4) == 0 ? pick(100_000) : nil
        plan.bodyLimit = pick(2) == 0 ? 200_000 : nil
        if plan.isJSON { plan.bodyLimit = 20_000 }
        plan.discardLimit = 10_000
        plan.globalMiddlewareCount = pick(4) / 3
        plan.routeMiddlewareCount = pick(4) / 3
        plan.hasCondition = pick(4) == 0
        plan.isUnmatched = pick(10) == 0
        return plan
    }
}
