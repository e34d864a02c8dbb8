/// The calls of one exchange in their order: global middleware, then the body, condition, route middleware, handler
/// (docs/reference/http.md#middleware-and-conditions).
///
/// Global middleware comes before the body, so that whoever is turned away uploads nothing. Every call needs a place of the
/// concurrency limit, which is kept from one call to the next but not while a body is awaited. At most one call is open; an
/// outcome counts only while its call is, told by its number. A value without I/O.
struct CallSequence {
    private enum Turn: Equatable {
        /// No call. Next: `queued`, `open`.
        case none
        /// Waits for a place. Next: `open`, `none`.
        case queued(Callee)
        /// Next: `returned`, `none`.
        case open(Callee)
        /// Its outcome is there and is being dealt with. Next: `queued`, `open`, `none`.
        case returned(Callee)
    }

    private enum Place {
        case none, waiting, held
    }

    private var turn = Turn.none
    private var place = Place.none
    /// Counts the calls of the connection, so that a late outcome fits none.
    private var number: UInt64 = 0

    private var globalCount = 0
    private var routeCount = 0
    private var hasCondition = false
    private var position = 0

    /// Whether the body must not be touched yet.
    var isGuarding: Bool { position <= globalCount }
    /// Whether the function that is called, or has just returned, is the handler.
    var isAtHandler: Bool { turn == .open(.handler) || turn == .returned(.handler) }
    var hasReturned: Bool {
        if case .returned = turn { true } else { false }
    }
    var holdsPlace: Bool { place == .held }

    /// The calls of another request.
    mutating func begin(_ plan: RequestPlan) {
        (globalCount, routeCount, hasCondition) = (plan.globalMiddlewareCount, plan.routeMiddlewareCount, plan.hasCondition)
        position = 0
        turn = .none
    }

    /// Does the next step. False: that is the body, not a call. The handler is the last step and stays it.
    mutating func proceed(_ effects: inout ExchangeEffects) -> Bool {
        defer { position += 1 }
        if position == globalCount {
            turn = .none
            return false
        }
        let callee = callee
        if place == .held {
            open(callee, &effects)
        } else {
            turn = .queued(callee)
            effects.emit(.requestPlace)
        }
        return true
    }

    private var callee: Callee {
        if position < globalCount { return .globalMiddleware(position) }
        if hasCondition, position == globalCount + 1 { return .condition }
        let index = position - globalCount - (hasCondition ? 2 : 1)
        return index < routeCount ? .routeMiddleware(index) : .handler
    }

    private mutating func open(_ callee: Callee, _ effects: inout ExchangeEffects) {
        number &+= 1
        turn = .open(callee)
        effects.emit(.call(callee, number: number))
    }

    // MARK: Places

    /// The answer to `requestPlace`. False when there is none and the request cannot go on.
    mutating func placeDecided(_ admission: HTTPExchange.Admission, _ effects: inout ExchangeEffects) -> Bool {
        guard case .queued(let callee) = turn, place == .none else {
            // The exchange has ended meanwhile.
            if admission == .admitted { effects.emit(.returnPlace) }
            if admission == .queued { effects.emit(.withdrawFromQueue) }
            return true
        }
        switch admission {
        case .admitted:
            place = .held
            open(callee, &effects)
        case .queued: place = .waiting
        case .rejected:
            turn = .none
            return false
        }
        return true
    }

    /// The concurrency limit lets a queued request go on.
    mutating func placeGranted(_ effects: inout ExchangeEffects) {
        guard case .queued(let callee) = turn, place == .waiting else { return effects.emit(.returnPlace) }
        place = .held
        open(callee, &effects)
    }

    mutating func returnPlace(_ effects: inout ExchangeEffects) {
        switch place {
        case .none: break
        case .waiting: effects.emit(.withdrawFromQueue)
        case .held: effects.emit(.returnPlace)
        }
        place = .none
    }

    // MARK: Outcomes

    /// A call has come to its end. Returns whose it was; nil when nobody waits for it any more.
    mutating func ended(_ number: UInt64) -> Callee? {
        guard case .open(let callee) = turn, number == self.number else { return nil }
        turn = .returned(callee)
        return callee
    }

    /// Nobody waits for an outcome any more.
    mutating func abandon(_ effects: inout ExchangeEffects) {
        // Behind a guard the request may turn out broken: then its handler is not called at all.
        if case .open(let callee) = turn, !effects.takeBack(.call(callee, number: number)) { effects.emit(.abandonCall) }
        turn = .none
    }
}
