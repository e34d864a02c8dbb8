import IIIQueue
import IIIWorker

extension QueueStoreContract {
    static let ordering: [Case] = [
        Case("messages come in order, as they were, and once", .namedQueues, .priorities) { stores in
            let store = try await stores.start()
            var first = message("m1")
            first.metadata = Array("{}".utf8)
            first.traceparent = "trace"
            first.baggage = "k=v"
            first.expiresAt = 99
            for message in [first, message("m2"), message("m3", priority: 5)] { _ = try await store.enqueue(queue, message) }
            let claimed = try await store.claim(queue, 3)
            try equal(claimed.map(\.message.id), ["m3", "m1", "m2"], "order")
            try equal(claimed[1].message, first, "a message")
            try demand(try await store.claimsNothing(queue), "what is claimed is claimed again")
            for message in claimed { try equal(await store.settle(queue, message, .done(result: nil)), nil, "settling") }
            try equal(try await store.counts(queue).live, 0, "messages at the end")
        },
        Case("of a group one message is out at a time", .namedQueues, .groups, .delays, .deadLetters) { stores in
            let store = try await stores.start()
            for (id, group) in [("g1", "g"), ("g2", "g"), ("h1", "h"), ("g3", "g")] {
                _ = try await store.enqueue(queue, message(id, group: group))
            }
            let heads = try await store.claim(queue, 2)
            try equal(heads.map(\.message.id), ["g1", "h1"], "heads")
            try demand(try await store.claimsNothing(queue), "a group overtakes itself")
            // In a pause, and dead: the first blocks until it is gone.
            try equal(await store.settle(queue, heads[0], .retry(due: store.clock.now + 30, failure("x"))), nil, "settling")
            let again = try await store.claim(queue, 1)
            try demand(again.map(\.message.id) == ["g1"] && again[0].progress.attempts == 1, "the head comes again")
            try equal(await store.settle(queue, again[0], .dead(failure("y", attempts: 2))), nil, "settling")
            let next = try await store.claim(queue, 1)
            try equal(next.map(\.message.id), ["g2"], "the next of the group")
            // Redriven behind what waits, in its own group.
            try equal(try await store.redrive(queue), 1, "redriven")
            try equal(await store.settle(queue, next[0], .done(result: nil)), nil, "settling")
            let third = try await store.claim(queue, 1)
            try equal(third.map(\.message.id), ["g3"], "the third of the group")
            try equal(await store.settle(queue, third[0], .done(result: nil)), nil, "settling")
            let last = try await store.claim(queue, 1)
            try demand(
                last.map(\.message.id) == ["g1"] && last[0].progress == MessageProgress(), "the redriven one is last, with all attempts")
            try equal(await store.settle(queue, last[0], .done(result: nil)), nil, "settling")
            try equal(try await store.counts(queue)[.behind], 0, "left behind")
        },
        Case("a group keeps its order through a restart", .namedQueues, .groups) { stores in
            let before = try await stores.start()
            for id in ["m1", "m2", "m3"] { _ = try await before.enqueue(queue, message(id, group: "*")) }
            try equal(try await before.claim(queue, 1).map(\.message.id), ["m1"], "the head")
            await stores.close(before)
            let after = try await stores.start()
            for id in ["m1", "m2", "m3"] {
                let claimed = try await after.claim(queue, 1)
                try equal(claimed.map(\.message.id), [id], "the head")
                try demand(try await after.claimsNothing(queue), "a group overtakes itself")
                try equal(await after.settle(queue, claimed[0], .done(result: nil)), nil, "settling")
            }
        },
        Case("a delayed message of a group holds back those behind it, one behind waits for its own time", .namedQueues, .groups, .delays) {
            stores in
            let store = try await stores.start()
            _ = try await store.enqueue(queue, message("m1", group: "g"))
            let due = store.clock.now + 150
            _ = try await store.enqueue(queue, message("m2", group: "g"), due: due)
            _ = try await store.enqueue(queue, message("m3", group: "g"))
            let first = try await store.claim(queue, 1)
            try equal(await store.settle(queue, first[0], .done(result: nil)), nil, "settling")
            let second = try await store.claim(queue, 1)
            try equal(second.map(\.message.id), ["m2"], "the second")
            try demand(store.clock.now >= due - 1, "it comes early")
        },
        Case("delays are as long as they are asked for, the shortest first", .namedQueues, .delays) { stores in
            let store = try await stores.start()
            let began = store.clock.now
            for (id, delay) in [("late", 400), ("soon", 100), ("year", 31_000_000_000)] {
                _ = try await store.enqueue(queue, message(id), due: began + delay)
            }
            try demand(try await store.claimsNothing(queue), "a delayed message comes early")
            try equal(try await store.claim(queue, 1).map(\.message.id), ["soon"], "the first")
            try demand(store.clock.now - began >= 99, "it comes early")
            try equal(try await store.claim(queue, 1).map(\.message.id), ["late"], "the second")
            try demand(store.clock.now - began >= 399, "it comes early")
            try equal(try await store.counts(queue)[.delayed], 1, "delayed")
        },
        Case("a delayed message is due at its time also after a restart", .namedQueues, .delays) { stores in
            let before = try await stores.start()
            let due = before.clock.now + 300
            _ = try await before.enqueue(queue, message("m"), due: due)
            await stores.close(before)
            let after = try await stores.start()
            try equal(try await after.claim(queue, 1).map(\.message.id), ["m"], "the delayed one")
            try demand(after.clock.now >= due - 20, "it comes early")
        },
        Case("what is held comes with its function, in order, and holds up nobody", .namedQueues) { stores in
            let store = try await stores.start()
            for number in 0..<5 { _ = try await store.enqueue(queue, message("m\(number)", function: "missing")) }
            _ = try await store.enqueue(queue, message("here"))
            let missing: Set<TargetFunction> = [TargetFunction("missing")]
            let first = try await store.claim(queue, 1)
            try equal(first.map(\.message.id), ["m0"], "the first")
            try equal(await store.settle(queue, first[0], .hold), nil, "settling")
            try equal(try await store.claim(queue, 1, skipping: missing).map(\.message.id), ["here"], "what can be delivered")
            try demand(try await store.claimsNothing(queue, skipping: missing), "something is delivered that is to be skipped")
            store.wake(queue, missing)
            try equal(try await store.claim(queue, 5).map(\.message.id), ["m0", "m1", "m2", "m3", "m4"], "what was held")
        },
        Case("a queue takes no more than it may have", .namedQueues, .depthLimits) { stores in
            let store = try await stores.start()
            _ = try await store.enqueue(queue, message("m1"), message("m2"), maxDepth: 3)
            do {
                _ = try await store.enqueue(queue, message("m3"), message("m4"), maxDepth: 3)
                throw Broken(description: "more was taken than the queue may have")
            } catch let error as QueueStoreError { try demand(error.isRetryable, "a full queue is no lasting error") }
            _ = try await store.enqueue(queue, message("m5"), maxDepth: 3)
            let claimed = try await store.claim(queue, 3)
            try equal(claimed.map(\.message.id), ["m1", "m2", "m5"], "what was taken")
            do {
                _ = try await store.enqueue(queue, message("m6"), maxDepth: 3)
                throw Broken(description: "what is being delivered is not counted")
            } catch is QueueStoreError {}
            try equal(await store.settle(queue, claimed[0], .done(result: nil)), nil, "settling")
            _ = try await store.enqueue(queue, message("m7"), maxDepth: 3)
        },
        Case(
            "a key stands for its message until its window ends or it is taken out", .namedQueues, .idempotencyKeys, .cancelling, .delays
        ) { stores in
            let store = try await stores.start()
            func keyed(_ id: String) -> QueueMessage {
                var message = message(id)
                message.deduplicationKey = "k"
                return message
            }
            try equal(
                try await store.enqueue(queue, keyed("m1"), window: 60_000), [EnqueueAnswer(id: "m1", isDuplicate: false)], "the first")
            try equal(
                try await store.enqueue(queue, keyed("m2"), window: 60_000), [EnqueueAnswer(id: "m1", isDuplicate: true)], "the second")
            try equal(try await store.enqueue(.named("other"), keyed("m3"), window: 60_000).first?.isDuplicate, false, "another queue's")
            try demand(try await store.cancel("m1"), "a waiting message can be cancelled")
            try demand(try await !store.cancel("m1"), "a cancelled message can be cancelled again")
            try equal(try await store.enqueue(queue, keyed("m4"), window: 1).first?.isDuplicate, false, "after the cancellation")
            try await Task.sleep(for: .milliseconds(20))
            try equal(try await store.enqueue(queue, keyed("m5"), window: 60_000).first?.isDuplicate, false, "after the window")
            let claimed = try await store.claim(queue, 2)
            try equal(claimed.map(\.message.id), ["m4", "m5"], "what was taken")
            for message in claimed { try equal(await store.settle(queue, message, .done(result: nil)), nil, "settling") }
            try equal(
                try await store.enqueue(queue, keyed("m6"), window: 60_000), [EnqueueAnswer(id: "m5", isDuplicate: true)], "after its end")
        },
        Case("of many who bring one key at once one is taken, and all hear of it", .namedQueues, .idempotencyKeys) { stores in
            let store = try await stores.start()
            let answers = try await withThrowingTaskGroup(of: [EnqueueAnswer].self) { group in
                for number in 0..<50 {
                    group.addTask {
                        var message = message("m\(number)")
                        message.deduplicationKey = "k"
                        return try await store.enqueue(queue, message, window: 60_000)
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            try equal(Set(answers.map(\.id)).count, 1, "different receipts")
            try equal(answers.filter { !$0.isDuplicate }.count, 1, "taken")
        },
    ]
}
