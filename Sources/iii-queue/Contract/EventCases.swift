import IIIQueue
import IIIWorker

extension QueueStoreContract {
    /// Publish, subscribe, at least once, restart: what any broker can do.
    static let eventLevel: [Case] = [
        Case("a subscription gets what is published, byte by byte, in order, once") { stores in
            let store = try await stores.start()
            try equal(await store.keep(binding("s")), nil, "keeping a binding")
            let payloads = [#"{"items":[],"meta":{},"id":9007199254740993,"ratio":1.10,"text":"a\u0000b"}"#, "null", #""ü""#]
            for (index, payload) in payloads.enumerated() {
                try equal(try await store.publish(payload, id: "m\(index)") { [subscription] }, 1, "copies")
            }
            var received: [String] = []
            for _ in payloads {
                for message in try await store.claim(topic, 1) {
                    received.append(String(decoding: message.message.payload, as: UTF8.self))
                    try equal(await store.settle(topic, message, .done(result: nil)), nil, "settling")
                }
            }
            try equal(received, payloads, "what was received")
            try demand(try await store.claimsNothing(topic), "what is done comes again")
        },
        Case("every subscription has a copy of its own") { stores in
            let store = try await stores.start()
            let other = QueueKey.Subscription(topic: topicName, function: "g")
            store.eventLoop.execute { store.store.serve(.subscription(other), QueueOptions(), isConsuming: true) }
            try equal(await store.keep(binding("s")), nil, "keeping a binding")
            try equal(await store.keep(binding("t", "g")), nil, "keeping a binding")
            _ = try await store.publish("1", id: "m") { [subscription, other] }
            let first = try await store.claim(topic, 1)
            try equal(first.count, 1, "messages of the first")
            try equal(await store.settle(topic, first[0], .done(result: nil)), nil, "settling")
            try equal(try await store.claim(.subscription(other), 1).count, 1, "messages of the second")
        },
        Case("a failed message comes again with its progress, not before its time") { stores in
            let store = try await stores.start()
            try equal(await store.keep(binding("s")), nil, "keeping a binding")
            _ = try await store.publish("1", id: "m") { [subscription] }
            let first = try await store.claim(topic, 1)
            try equal(first.count, 1, "messages")
            let due = store.clock.now + 100
            try equal(await store.settle(topic, first[0], .retry(due: due, failure("x"))), nil, "settling")
            let again = try await store.claim(topic, 1)
            try equal(again.count, 1, "messages after the pause")
            try demand(store.clock.now >= due - 1, "it comes early")
            try equal(again[0].progress.attempts, 1, "attempts")
            try equal(again[0].message.payload, Array("1".utf8), "payload")
        },
        Case("what is released comes again as it was") { stores in
            let store = try await stores.start()
            try equal(await store.keep(binding("s")), nil, "keeping a binding")
            _ = try await store.publish("1", id: "m") { [subscription] }
            let first = try await store.claim(topic, 1)
            try equal(first.count, 1, "messages")
            try equal(await store.settle(topic, first[0], .release), nil, "settling")
            let again = try await store.claim(topic, 1)
            try equal(again.map(\.progress), [MessageProgress()], "progress")
        },
        Case("what was not settled is there after a restart, and what was settled is not") { stores in
            let before = try await stores.start()
            try equal(await before.keep(binding("s")), nil, "keeping a binding")
            for number in 0..<3 { _ = try await before.publish("\(number)", id: "m\(number)") { [subscription] } }
            let claimed = try await before.claim(topic, 2)
            try equal(claimed.count, 2, "messages")
            try equal(await before.settle(topic, claimed[0], .done(result: nil)), nil, "settling")
            await stores.close(before)
            let after = try await stores.start()
            let again = try await after.claim(topic, 2)
            try equal(again.map { String(decoding: $0.message.payload, as: UTF8.self) }, ["1", "2"], "after the restart")
            try demand(try await after.claimsNothing(topic), "something done comes again")
        },
        Case("what is published while nobody is there is kept for the subscription") { stores in
            let before = try await stores.start()
            try equal(await before.keep(binding("s")), nil, "keeping a binding")
            await stores.close(before)
            let after = try await stores.start()
            _ = try await after.publish("1", id: "m") { [subscription] }
            await stores.close(after)
            let last = try await stores.start()
            try equal(try await last.claim(topic, 1).count, 1, "messages")
        },
    ]
}
