import NIOCore

/// What the connections of one event loop hold together: bytes that wait for peers, and bytes of messages that are not whole or
/// not handled yet. Confined to its loop.
///
/// A limit per connection is no limit for ten thousand of them. When a total is passed `exceeded` is called, once and a moment
/// later, outside of whatever was being sent or read; it is to end connections until the total holds again.
package final class BufferBudget {
    package enum Direction: Sendable { case outbound, inbound }

    /// Defaults: no limit. The engine sets `outbound_total_bytes` and `inbound_total_bytes`.
    package var maximumOutbound = Int.max
    package var maximumInbound = Int.max
    package var exceeded: ((Direction) -> Void)?
    package private(set) var outbound = 0
    package private(set) var inbound = 0
    private var isReported = false
    private let eventLoop: any EventLoop

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func addOutbound(_ count: Int) {
        outbound &+= count
        if outbound > maximumOutbound { report() }
    }

    func removeOutbound(_ count: Int) { outbound &-= count }

    func changeInbound(by delta: Int) {
        inbound &+= delta
        if inbound > maximumInbound { report() }
    }

    private func report() {
        guard !isReported, exceeded != nil else { return }
        isReported = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute {
            let budget = bound.value
            budget.isReported = false
            if budget.outbound > budget.maximumOutbound { budget.exceeded?(.outbound) }
            if budget.inbound > budget.maximumInbound { budget.exceeded?(.inbound) }
        }
    }
}
