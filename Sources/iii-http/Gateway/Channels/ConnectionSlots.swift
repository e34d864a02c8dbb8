/// All connections, each in a numbered slot, and tokens that name one exchange of one connection.
///
/// A token is the slot's number and a count of the slot's exchanges. It travels in the ids of the exchange's channels, so that
/// finding the exchange again takes no table entry per request; once the exchange is over its token finds nothing.
struct ConnectionSlots<Connection: AnyObject> {
    private struct Slot {
        var connection: Connection?
        /// Goes on when the slot changes hands. 2³² exchanges later a token repeats; references live for minutes.
        var sequence: UInt32 = 0
        var isTokenValid = false
    }

    private var slots: [Slot] = []
    private var free: [Int] = []

    var count: Int { slots.count - free.count }
    var connections: [Connection] { slots.compactMap(\.connection) }

    mutating func take(_ connection: Connection) -> Int {
        if let index = free.popLast() {
            slots[index].connection = connection
            return index
        }
        slots.append(Slot(connection: connection))
        return slots.count - 1
    }

    mutating func release(_ index: Int) {
        slots[index].connection = nil
        slots[index].isTokenValid = false
        free.append(index)
    }

    /// The token of the connection's next exchange; the one before is void.
    mutating func makeToken(_ index: Int) -> UInt64 {
        slots[index].sequence &+= 1
        slots[index].isTokenValid = true
        return UInt64(index) << 32 | UInt64(slots[index].sequence)
    }

    mutating func voidToken(_ index: Int) { slots[index].isTokenValid = false }

    /// The connection whose current exchange has this token.
    subscript(token token: UInt64) -> Connection? {
        let index = Int(token >> 32)
        guard index < slots.count, slots[index].isTokenValid, slots[index].sequence == UInt32(truncatingIfNeeded: token) else { return nil }
        return slots[index].connection
    }
}
