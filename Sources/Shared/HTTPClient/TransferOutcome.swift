/// How one HTTP exchange ended, as the transport saw it.
package enum TransferOutcome: Sendable, Equatable {
    /// A whole response. `reason` is the server's phrase, perhaps empty; `retryAfter` the header of that name.
    case response(status: Int, reason: String, body: [UInt8], retryAfter: String? = nil)
    case failed(TransferFailure)
}

/// Why there is no whole response.
package struct TransferFailure: Sendable, Equatable {
    package enum Stage: Sendable, Equatable {
        /// Before the response's head was complete.
        case request
        /// While its body was read.
        case response
        /// The address about to be connected to is a blocked one.
        case address
    }

    package var stage: Stage
    package var message: String

    package init(_ stage: Stage, _ message: String) {
        self.stage = stage
        self.message = message
    }
}
