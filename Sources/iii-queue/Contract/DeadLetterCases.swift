import IIIQueue
import IIIWorker

extension QueueStoreContract {
    private static func bury(_ ids: [String], in store: StoreUnderTest) async throws {
        for id in ids { _ = try await store.enqueue(queue, message(id)) }
        for message in try await store.claim(queue, ids.count) {
            try equal(await store.settle(queue, message, .dead(failure(message.message.id))), nil, "settling")
            try await Task.sleep(for: .milliseconds(3))
        }
    }

    static let deadLetters: [Case] = [
        Case("dead messages keep all of themselves, newest failure first", .namedQueues, .deadLetters) { stores in
            let store = try await stores.start()
            try await bury(["a", "b", "c"], in: store)
            let dead = try await store.dead(queue)
            try equal(dead.map(\.stored.message.id), ["c", "b", "a"], "order")
            try equal(dead[0].stored.progress.failures, failure("c").failures, "failures")
            try equal(dead[0].stored.message.payload, Array(#"{"id":"c"}"#.utf8), "payload")
            try equal(try await store.dead(queue, offset: 1, limit: 1).map(\.stored.message.id), ["b"], "a page")
            try equal(try await store.counts(queue)[.dead], 3, "dead")
            try equal(try await store.counts(queue).live, 0, "live")
            var one = DeadLetterSelection()
            one.id = "b"
            try equal(try await store.redrive(queue, one), 1, "redriven")
            try equal(try await store.redrive(queue, one), 0, "redriven again")
            let back = try await store.claim(queue, 1)
            try demand(back.map(\.message.id) == ["b"] && back[0].progress == MessageProgress(), "it begins anew")
            try equal(try await store.redrive(queue), 2, "redriven")
            try equal(try await store.claim(queue, 2).map(\.message.id), ["a", "c"], "oldest failure first")
        },
        Case("dead messages are chosen by function, error and time", .namedQueues, .deadLetters, .selections) { stores in
            let store = try await stores.start()
            try await bury(["a", "b", "c"], in: store)
            var matching = DeadLetterSelection()
            matching.errorContains = "boom: a"
            try equal(try await store.redrive(queue, matching), 1, "redriven by error")
            var function = DeadLetterSelection()
            function.function = "other"
            try equal(try await store.discard(queue, function), 0, "discarded by function")
            function.function = "f"
            function.limit = 1
            try equal(try await store.discard(queue, function), 1, "discarded up to a number")
            try equal(try await store.dead(queue).map(\.stored.message.id), ["c"], "left")
        },
        Case(
            "redriven at a rate they are ready one after the other, also after a restart", .namedQueues, .deadLetters, .selections, .delays
        ) {
            stores in
            let before = try await stores.start()
            try await bury(["a", "b", "c"], in: before)
            let began = before.clock.now
            try equal(try await before.redrive(queue, perSecond: 5), 3, "redriven")
            try equal(try await before.counts(queue)[.dead], 0, "dead")
            await stores.close(before)
            let after = try await stores.start()
            try equal(try await after.claim(queue, 3).map(\.message.id), ["a", "b", "c"], "order")
            try demand(after.clock.now - began >= 380, "the last comes early")
        },
        Case("what is purged is gone, what is being delivered stays", .namedQueues, .purging, .delays, .deadLetters) { stores in
            let store = try await stores.start()
            try await bury(["dead"], in: store)
            _ = try await store.enqueue(queue, message("late"), due: store.clock.now + 60_000)
            for id in ["active", "w1", "w2"] { _ = try await store.enqueue(queue, message(id, group: id == "active" ? nil : "g")) }
            let active = try await store.claim(queue, 1)
            try equal(active.map(\.message.id), ["active"], "claimed")
            try equal(try await store.purge(queue, [.ready, .behind]), 2, "purged of what waits")
            try equal(try await store.purge(queue, [.delayed]), 1, "purged of what is delayed")
            try equal(try await store.purge(queue, [.dead]), 1, "purged of what is dead")
            try equal(try await store.counts(queue).live, 1, "left")
            try equal(await store.settle(queue, active[0], .done(result: nil)), nil, "settling")
            _ = try await store.enqueue(queue, message("new", group: "g"))
            try equal(try await store.claim(queue, 1).map(\.message.id), ["new"], "the group is free")
        },
    ]

    static let looking: [Case] = [
        Case("a message is found by its receipt", .namedQueues, .finding, .delays) { stores in
            let store = try await stores.start()
            _ = try await store.enqueue(queue, message("late"), due: store.clock.now + 60_000)
            _ = try await store.enqueue(queue, message("done"))
            let claimed = try await store.claim(queue, 1)
            try equal(await store.settle(queue, claimed[0], .done(result: Array("7".utf8)), resultTTL: 60_000), nil, "settling")
            try equal(try await store.find("done")?.state, .done(result: Array("7".utf8)), "what is done")
            guard case .live(.delayed, let due)? = try await store.find("late")?.state else {
                throw Broken(description: "a delayed message is not found")
            }
            try demand(due > store.clock.now + 30_000 && due <= store.clock.now + 60_000, "its due time")
            try equal(try await store.find("never"), nil, "what never was")
        },
        Case("bindings, pauses and definitions outlive the process", .records) { stores in
            let before = try await stores.start()
            try equal(await before.keep(binding("s")), nil, "keeping a binding")
            try equal(await before.keep(binding("t")), nil, "keeping a binding")
            try equal(await before.forget(["t"]), nil, "forgetting a binding")
            var record = QueueRecord()
            record.isPaused = true
            record.definition = Array(#"{"concurrency":2}"#.utf8)
            try equal(await before.configure(.named("defined"), record), nil, "configuring")
            await stores.close(before)
            let (_, state) = try await stores.startWithState()
            try equal(state.bindings.map(\.id), ["s"], "bindings")
            try equal(state.bindings.first?.config, binding("s").config, "config")
            try equal(state.records, [.named("defined"): record], "records")
        },
    ]
}
