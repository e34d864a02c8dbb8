extension HTTPExchange {
    /// Where an exchange is. Kept and changed by the exchange alone, along `mayBecome`.
    enum State: Int, CaseIterable {
        /// Its connection is between requests, or discards what is left of one.
        case concluded
        /// A head has come and is being routed.
        case planning
        /// Waits for the worker of its route.
        case held
        /// A JSON body is being collected.
        case collecting
        /// A function is being called, waits for its place, or has returned (`CallSequence`).
        case calling
        /// The bytes of a function are being written as the response.
        case delivering
        /// The handler returned nothing and may still open the response channel.
        case grace
        /// The handler returned nothing and has opened the response channel, which decides.
        case waiting
        /// The head of a streamed response is out and its body follows.
        case streaming

        /// The transitions there are. Whatever begins must conclude.
        func mayBecome(_ next: State) -> Bool {
            switch (self, next) {
            case (.concluded, .planning): true
            case (.planning, .held), (.planning, .collecting), (.planning, .calling): true
            case (.held, .planning): true
            case (.collecting, .calling): true
            case (.calling, .collecting), (.calling, .delivering), (.calling, .grace), (.calling, .waiting), (.calling, .streaming): true
            case (.grace, .waiting): true
            case (.waiting, .streaming): true
            case (let state, .concluded): state != .concluded
            default: false
            }
        }
    }

    /// What the connection has to draw its consequences from.
    enum Ending {
        /// The response is written, all of it.
        case answered
        /// A streamed response was broken off: only the end of the connection can tell.
        case cut
        /// A transition was wanted that there is not.
        case broken
    }

    /// What became of `requestPlace`.
    enum Admission {
        case admitted, queued, rejected
    }

    /// The function's side of the two channels of a request.
    enum ChannelEnd {
        case requestBody, response
    }

    /// What is to be done with body bytes of the response.
    enum ChunkVerdict {
        case drop
        /// Write the head first; `headWritten` says whether a body may follow at all.
        case begin
        case write
    }
}
