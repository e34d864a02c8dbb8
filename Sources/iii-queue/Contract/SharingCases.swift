import IIIQueue
import IIIWorker

extension QueueStoreContract {
    /// Waits until `holds`, at most 20 s.
    private static func wait(_ what: String, _ holds: () async throws -> Bool) async throws {
        for _ in 0..<2000 {
            if try await holds() { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw Broken(description: "\(what) has not come within 20 s")
    }

    static let sharing: [Case] = [
        Case("several instances share the work, each message once", .namedQueues, .sharing) { stores in
            let (first, second) = (try await stores.start(), try await stores.start())
            for number in 0..<100 { _ = try await (number % 2 == 0 ? first : second).enqueue(queue, message("m\(number)")) }
            var ids: [String] = []
            for _ in 0..<10 {
                for store in [first, second] {
                    let claimed = try await store.claim(queue, 5)
                    ids += claimed.map(\.message.id)
                    for message in claimed { try equal(await store.settle(queue, message, .done(result: nil)), nil, "settling") }
                }
            }
            try equal(ids, (0..<100).map { "m\($0)" }, "what was delivered")
        },
        Case("a group is one group for all instances", .namedQueues, .sharing, .groups) { stores in
            let (first, second) = (try await stores.start(), try await stores.start())
            for id in ["m1", "m2"] { _ = try await first.enqueue(queue, message(id, group: "g")) }
            let head = try await first.claim(queue, 1)
            try demand(try await second.claimsNothing(queue), "a group is out twice")
            try equal(await first.settle(queue, head[0], .done(result: nil)), nil, "settling")
            try equal(try await second.claim(queue, 1).map(\.message.id), ["m2"], "the next")
        },
        Case("what a dead instance had comes back as it was, and its late outcome changes nothing", .namedQueues, .sharing, .groups) {
            stores in
            let (first, second) = (try await stores.start(), try await stores.start())
            for id in ["m1", "m2"] { _ = try await first.enqueue(queue, message(id, group: "g")) }
            let head = try await first.claim(queue, 1)
            try equal(head.map(\.message.id), ["m1"], "the head")
            // It hangs: nothing of it reaches the store.
            first.hang()
            let again = try await second.claim(queue, 1)
            try demand(again.map(\.message.id) == ["m1"] && again[0].progress == MessageProgress(), "it comes to the other as it was")
            first.goOn()
            try equal(await first.settle(queue, head[0], .done(result: nil)), nil, "a late outcome is no error")
            try demand(try await second.claimsNothing(queue), "a late outcome frees the group")
            try equal(await second.settle(queue, again[0], .done(result: nil)), nil, "settling")
            try equal(try await second.claim(queue, 1).map(\.message.id), ["m2"], "the next")
        },
        Case("what one instance lacks the function for another delivers", .namedQueues, .sharing) { stores in
            let (first, second) = (try await stores.start(), try await stores.start())
            for id in ["m1", "m2", "m3"] { _ = try await first.enqueue(queue, message(id)) }
            let claimed = try await first.claim(queue, 1)
            try equal(await first.settle(queue, claimed[0], .hold), nil, "settling")
            try demand(try await first.claimsNothing(queue, skipping: [TargetFunction("f")]), "it delivers what it lacks the function for")
            try equal(try await second.claim(queue, 3).map(\.message.id), ["m1", "m2", "m3"], "what the other gets")
        },
        Case("a pause holds for all instances at once, and they hear of it", .namedQueues, .sharing, .records) { stores in
            let (first, second) = (try await stores.start(), try await stores.start())
            _ = try await first.enqueue(queue, message("m"))
            var record = QueueRecord()
            record.isPaused = true
            try equal(await first.configure(queue, record), nil, "pausing")
            try demand(try await second.claimsNothing(queue), "something starts during a pause")
            try await wait("word of the pause") { second.changes.withLock { $0.last?.records[queue] == record } }
            record.isPaused = false
            try equal(await second.configure(queue, record), nil, "resuming")
            try equal(try await first.claim(queue, 1).count, 1, "after the pause")
        },
        Case("whoever publishes publishes for the subscriptions of all instances", .sharing) { stores in
            let (first, second) = (try await stores.start(), try await stores.start())
            try equal(await first.keep(binding("s")), nil, "keeping a binding")
            // At once: the second may not have heard of it yet.
            let count = try await second.publish("1", id: "m") {
                Set((second.changes.withLock { $0.last }?.bindings ?? []).map(\.subscription)).sorted { $0.function < $1.function }
            }
            try equal(count, 1, "copies")
            try equal(try await first.claim(topic, 1).count, 1, "messages")
            try demand(second.changes.withLock { $0.last?.bindings.first?.instance } != nil, "the binding is another instance's")
        },
    ]
}
