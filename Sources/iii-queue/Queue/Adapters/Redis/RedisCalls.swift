import IIIRedis
import NIOCore

/// Calls of one script that come together are one call: under load a round trip, and at the server a sync of its file, serves many.
///
/// At most two calls are under way, in order; what comes meanwhile makes up the next. Confined to the event loop.
final class RedisCalls<Item> {
    private let perform: ([Item], @escaping () -> Void) -> Void
    private let cost: (Item) -> Int
    private let eventLoop: any EventLoop
    private var waiting = CircularBuffer<Item>()
    private var underway = 0
    private var isScheduled = false

    private static var maximumUnderway: Int { 2 }
    private static var maximumItems: Int { 256 }
    private static var maximumBytes: Int { 4 << 20 }

    /// `perform` makes the call and says when it is over.
    init(on eventLoop: any EventLoop, cost: @escaping (Item) -> Int, perform: @escaping ([Item], @escaping () -> Void) -> Void) {
        self.eventLoop = eventLoop
        self.cost = cost
        self.perform = perform
    }

    func add(_ item: Item) {
        waiting.append(item)
        guard !isScheduled, underway < Self.maximumUnderway else { return }
        isScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute {
            bound.value.isScheduled = false
            bound.value.flush()
        }
    }

    private func flush() {
        while underway < Self.maximumUnderway, !waiting.isEmpty {
            var batch: [Item] = []
            var bytes = 0
            while batch.count < Self.maximumItems, bytes < Self.maximumBytes, let item = waiting.popFirst() {
                bytes += cost(item)
                batch.append(item)
            }
            underway += 1
            perform(batch) { [self] in
                underway -= 1
                flush()
            }
        }
    }
}
