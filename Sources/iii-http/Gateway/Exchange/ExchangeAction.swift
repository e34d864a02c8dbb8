/// What the machines of a connection want done. Trivial values: a request costs no allocation for them.
enum ExchangeAction: Hashable {
    // MARK: Request
    /// Plan the request whose head `takeHead` hands out, and say so with `begin`.
    case plan
    /// Plan the same request once more: its worker is back.
    case planAgain
    /// Have the request wait for the worker of its route, and say with `holdDecided` whether there was room.
    case hold
    /// Take it out of those that wait for a worker.
    case unhold
    /// Ask for a place of the concurrency limit, and say with `placeDecided` what came of it.
    case requestPlace
    case returnPlace
    case withdrawFromQueue
    /// Put `collectedBody` into the payload.
    case attachBody
    /// Call it and bring the outcome back with the call's number.
    case call(Callee, number: UInt64)
    case abandonCall
    case sayContinue
    /// Give the function's socket what `nextBodyMessage` hands out.
    case pumpBody

    // MARK: Response
    case answer(Answer, closes: Bool)
    /// Send the return value that was put aside, and say with `delivered` whether it could be sent.
    case deliverHeldResult
    case writeStreamEnd
    case pauseStream
    case resumeStream
    /// The exchange has its one end; false: the client left before.
    case conclude(isAnswered: Bool)
    /// What is open of the exchange's channels is ended, and its references find nothing any more.
    case releaseChannels
    /// Between requests: forget the last one.
    case clear

    // MARK: Connection
    case start(ExchangeTimer)
    case cancel(ExchangeTimer.Slot)
    case read
    /// An event came where none can be: say so. The connection is being closed.
    case report(Violation)
    /// Close when everything written is out, and say `outputWritten`.
    case closeAfterOutput
    /// The client must be able to tell what it has from a whole response.
    case markUnclean
    case closeOutput
    case close
    /// The last action of a connection: all timers, its slot, its buffers.
    case release

    /// A response that the gateway gives without the bytes of a function.
    enum Answer: Equatable {
        /// The oldest of `takeFailure`.
        case failure
        /// What the plan was: an own endpoint or OPTIONS.
        case planned
        case noContent
        /// The head collected on the response channel, and nothing more.
        case emptyStream
    }
}

/// A function that an exchange calls (docs/reference/http.md#middleware-and-conditions).
enum Callee: Hashable {
    case globalMiddleware(Int)
    case condition
    case routeMiddleware(Int)
    case handler
}

/// Events that the shell must never bring. They end the connection, and are logged, because they are faults of ours.
enum Violation: String {
    /// A part of a request where none can be.
    case event = "a part of a request came where none can be"
    /// A transition of the exchange that there is not.
    case transition = "an exchange wanted a state that does not follow from its own"
}

/// The time limits of a connection. Those of one slot exclude each other.
enum ExchangeTimer: Int, CaseIterable {
    /// Until a head is complete.
    case head
    /// Between requests, and for the rest of a body that is discarded.
    case idle
    /// Until the response head.
    case request
    /// For the worker of the route to come back.
    case hold
    /// For a handler that returned nothing to open its response channel.
    case grace
    /// For the client to read the last response.
    case linger
    /// Between two pieces of a body.
    case body
    /// For the client to take in anything.
    case stall
    /// For bytes that were written before the return value.
    case settle

    enum Slot: Int, CaseIterable {
        case main, body, stall, settle
    }

    /// Its place among `allCases`.
    var ordinal: Int { rawValue }

    var slot: Slot {
        switch self {
        case .head, .idle, .request, .hold, .grace, .linger: .main
        case .body: .body
        case .stall: .stall
        case .settle: .settle
        }
    }
}
