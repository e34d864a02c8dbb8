import IIICron

/// What holds for every lock store of cron: the suite that `kv` and `redis` pass, for stores of your own.
///
/// ```swift
/// let contract = AdapterContract(FireClaims.registry, configs: ["mine": { ["url": …] }])
///
/// @Test(arguments: FireClaimContract.clauses) func holds(clause: FireClaimContract.Clause) async throws {
///     try await contract.run("mine") { maker in try await clause.check(maker) }
/// }
/// ```
///
/// A clause makes stores as `iii-cron` does: several for one site play its processes, those of different sites its instances.
public enum FireClaimContract {
    /// One thing that holds for every store, named by a sentence.
    public struct Clause: Sendable, CustomStringConvertible {
        public let description: String
        let body: @Sendable (Stores) async throws -> Void

        /// Throws `Violation` where the store does otherwise. `site` makes what a store is given, by the name of the instance.
        public func check(_ maker: @escaping FireClaimMaker, site: @escaping @Sendable (String) throws -> FireClaimSite) async throws {
            try await body(Stores(maker: maker, site: site))
        }
    }

    /// A store does otherwise than its clause says.
    public struct Violation: Error, CustomStringConvertible { public let description: String }

    /// Opens the store under test, as often as a clause needs.
    struct Stores: Sendable {
        let maker: FireClaimMaker
        let site: @Sendable (String) throws -> FireClaimSite

        /// `instance` is made unique, so that clauses do not meet in a shared server.
        func open(_ instance: String) async throws -> any FireClaim { try await maker(try site(instance)) }
    }

    /// All of them, for the arguments of a test.
    public static let clauses: [Clause] = [
        Clause(description: "the first to ask gets the tick, everybody else hears that it is taken") { stores in
            let store = try await stores.open("a")
            let job = Job()
            try expect(try await store.claim(job.request("one")).isGranted, "a free tick was not granted")
            try expect(try await store.claim(job.request("two")) == .taken(isOpen: true), "a claimed tick was not taken")
            try expect(try await store.claim(job.request("two", tick: 61, lease: .tick)).isGranted, "the next tick was not granted")
            await store.close()
        },
        Clause(description: "of many who ask at once one gets it") { stores in
            let store = try await stores.open("a")
            let job = Job()
            let granted = try await withThrowingTaskGroup(of: Bool.self) { group in
                for index in 0..<50 { group.addTask { try await store.claim(job.request("\(index)")).isGranted } }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            try expect(granted == 1, "\(granted) of 50 got one tick")
            await store.close()
        },
        Clause(description: "whoever asks again for its own claim gets it again") { stores in
            let store = try await stores.open("a")
            let job = Job()
            let first = try await store.claim(job.request("one"))
            try expect(try await store.claim(job.request("one")) == first, "the owner did not get its own claim again")
            await store.close()
        },
        Clause(description: "a claim stays when its run is over") { stores in
            let store = try await stores.open("a")
            let job = Job()
            _ = try await store.claim(job.request("one"))
            try await store.finish(job.held("one"))
            try expect(try await store.claim(job.request("two")) == .taken(isOpen: false), "a finished tick was not taken")
            try expect(
                try await store.claim(job.request("two", takesOverLost: true)) == .taken(isOpen: false), "a finished tick was taken over")
            await store.close()
        },
        Clause(description: "a skipped tick is nobody's") { stores in
            let store = try await stores.open("a")
            let job = Job()
            var request = job.request("one")
            request.intent = .skip
            try expect(try await store.claim(request).isGranted, "a tick could not be skipped")
            try expect(try await store.claim(job.request("two")) == .taken(isOpen: false), "a skipped tick was not taken")
            await store.close()
        },
        Clause(description: "fencing tokens grow") { stores in
            let store = try await stores.open("a")
            let job = Job()
            var last = 0
            for tick in 1...20 {
                guard case .granted(let fence, 1) = try await store.claim(job.request("one", tick: tick, lease: .tick)) else {
                    throw Violation(description: "tick \(tick) was not granted as a first attempt")
                }
                try expect(fence > last, "token \(fence) came after \(last)")
                last = fence
            }
            await store.close()
        },
        Clause(description: "equal registrations have claims of their own") { stores in
            let store = try await stores.open("a")
            let job = Job()
            _ = try await store.claim(job.request("one"))
            var second = job.request("two")
            second.ordinal = 1
            try expect(try await store.claim(second).isGranted, "the second of two equal registrations was not granted")
            await store.close()
        },
        Clause(description: "a paused job is nobody's, until it is resumed") { stores in
            let store = try await stores.open("a")
            let job = Job()
            try await store.setPaused(job.identity, true)
            try expect(try await store.claim(job.request("one")) == .paused, "a paused job was granted")
            try expect(try await store.pauses()[job.identity] == true, "a pause is not listed")
            try await store.setPaused(job.identity, false)
            var request = job.request("one")
            request.isInitiallyPaused = true
            try expect(try await store.claim(request).isGranted, "a resumed job was not granted")
            try await store.setPaused(job.identity, nil)
            request.tick = 61
            try expect(try await store.claim(request) == .paused, "a job that begins paused was granted")
            await store.close()
        },
        Clause(description: "max_runs counts claims that run, once each") { stores in
            let store = try await stores.open("a")
            let job = Job()
            func request(_ tick: Int) -> ClaimRequest {
                var request = job.request("one", tick: tick, lease: .tick)
                request.maximumRuns = 2
                return request
            }
            _ = try await store.claim(request(1))
            _ = try await store.claim(request(1))
            try expect(try await store.claim(request(2)).isGranted, "the second run was not granted")
            try expect(try await store.claim(request(3)) == .exhausted, "a third run was granted")
            await store.close()
        },
        Clause(description: "what a process left is named to the next one of its instance, and can be taken over") { stores in
            let store = try await stores.open("a")
            let job = Job()
            _ = try await store.claim(job.request("one", tick: 1))
            _ = try await store.claim(job.request("two", tick: 2, lease: .tick))
            try await store.finish(job.held("two", tick: 2))
            let next = try await stores.open("a")
            let left = try await next.recover()
            // A store without a memory beyond its process has nothing to tell.
            guard !left.isEmpty else { return }
            try expect(left.map(\.tick) == [1] && left.map(\.owner) == [job.owner("one")], "the next process heard of \(left)")
            try expect(try await next.claim(job.request("three", tick: 1)) == .taken(isOpen: true), "a left tick was free")
            guard case .granted(_, 2) = try await next.claim(job.request("three", tick: 1, takesOverLost: true)) else {
                throw Violation(description: "a left tick was not taken over as a second attempt")
            }
            try await next.finish(job.held("three", tick: 1))
            await store.close()
            await next.close()
        },
        Clause(description: "a finished run is not named to the next process") { stores in
            let store = try await stores.open("a")
            let job = Job()
            _ = try await store.claim(job.request("one"))
            try await store.finish(job.held("one"))
            let next = try await stores.open("a")
            try expect(try await next.recover().isEmpty, "a finished claim was named")
            await store.close()
            await next.close()
        },
    ]

    /// For stores with leases (`FireClaim.lease`), which instances share.
    public static let leaseClauses: [Clause] = [
        Clause(description: "while one instance runs a job, another's tick is skipped, for both") { stores in
            let (one, two) = (try await stores.open("a"), try await stores.open("b"))
            let job = Job()
            _ = try await one.claim(job.request("one", tick: 1))
            try expect(try await two.claim(job.request("two", tick: 2)) == .overlaps, "runs overlap")
            try expect(try await one.claim(job.request("one-2", tick: 2)) == .taken(isOpen: false), "a skipped tick was free")
            try await one.finish(job.held("one", tick: 1))
            try expect(try await two.claim(job.request("two", tick: 3)).isGranted, "the lease outlived its run")
            await one.close()
            await two.close()
        },
        Clause(description: "a deferring request leaves the tick to whoever runs the job") { stores in
            let (one, two) = (try await stores.open("a"), try await stores.open("b"))
            let job = Job()
            _ = try await one.claim(job.request("one", tick: 1))
            try expect(try await two.claim(job.request("two", tick: 2, lease: .deferring)) == .overlaps, "runs overlap")
            try expect(try await one.claim(job.request("one-2", tick: 2, lease: .tick)).isGranted, "the tick was not left to it")
            await one.close()
            await two.close()
        },
        Clause(description: "a lease that was taken over is lost to the one before") { stores in
            let (one, two) = (try await stores.open("a"), try await stores.open("b"))
            let job = Job()
            _ = try await one.claim(job.request("one", tick: 1))
            try expect(try await one.renew([job.held("one", tick: 1)]).isEmpty, "a lease could not be renewed")
            try expect(try await two.claim(job.request("two", tick: 2, lease: .takeover)).isGranted, "a lease could not be taken over")
            try expect(try await one.renew([job.held("one", tick: 1)]) == [job.owner("one")], "a lost lease was renewed")
            try await one.finish(job.held("one", tick: 1))
            try expect(try await two.renew([job.held("two", tick: 2, lease: .takeover)]).isEmpty, "an old run ended a new lease")
            await one.close()
            await two.close()
        },
        Clause(description: "a lease that ended and that nobody took is its run's again") { stores in
            let (one, two) = (try await stores.open("a"), try await stores.open("b"))
            let job = Job()
            _ = try await one.claim(job.request("one", tick: 1))
            try await Task.sleep(for: .milliseconds((one.lease ?? 0) + 200))
            try expect(try await one.renew([job.held("one", tick: 1)]).isEmpty, "a lease that is nobody's was not given back")
            try expect(try await two.claim(job.request("two", tick: 2)) == .overlaps, "a lease that was given back keeps nobody away")
            try await Task.sleep(for: .milliseconds((one.lease ?? 0) + 200))
            try expect(try await two.claim(job.request("two", tick: 3)).isGranted, "a lease did not end")
            try expect(try await one.renew([job.held("one", tick: 1)]) == [job.owner("one")], "a lease of somebody else's was renewed")
            await one.close()
            await two.close()
        },
        Clause(description: "a run with a lease is not taken over, one without is") { stores in
            let (one, two) = (try await stores.open("a"), try await stores.open("b"))
            let job = Job()
            _ = try await one.claim(job.request("one", tick: 1))
            try expect(
                try await two.claim(job.request("two", tick: 1, takesOverLost: true)) == .taken(isOpen: true), "a live run was taken over")
            // Its process died: the next one of its instance ends the lease.
            let next = try await stores.open("a")
            try expect(try await next.recover().count == 1, "the left claim was not named")
            guard case .granted(_, 2) = try await two.claim(job.request("two", tick: 1, takesOverLost: true)) else {
                throw Violation(description: "a lost run was not taken over")
            }
            await one.close()
            await two.close()
            await next.close()
        },
    ]

    private static func expect(_ condition: Bool, _ violation: String) throws {
        if !condition { throw Violation(description: violation) }
    }

    /// A job that no other clause has.
    private struct Job: Sendable {
        let identity = "contract:\(UInt64.random(in: .min ... .max))"

        func owner(_ name: String) -> String { "\(identity)/\(name)" }

        func request(
            _ name: String, tick: Int = 60, lease: ClaimRequest.Lease = .exclusive, takesOverLost: Bool = false
        ) -> ClaimRequest {
            var request = ClaimRequest(identity: identity, ordinal: 0, tick: tick, owner: owner(name), timeToLive: 3_600_000)
            request.lease = lease
            request.takesOverLost = takesOverLost
            return request
        }

        func held(_ name: String, tick: Int = 60, lease: ClaimRequest.Lease = .exclusive) -> HeldClaim {
            HeldClaim(identity: identity, ordinal: 0, tick: tick, owner: owner(name), lease: lease)
        }
    }
}

extension ClaimOutcome {
    fileprivate var isGranted: Bool {
        if case .granted = self { return true }
        return false
    }
}
