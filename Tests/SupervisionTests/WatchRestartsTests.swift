import Testing

@testable import IIISupervision

@Suite struct WatchRestartsTests {
    /// A pipeline that begins anew whenever it is time, and whose first command takes `build`.
    struct Pipeline {
        var restarts = WatchRestarts()
        var now = Duration.zero
        var build: Duration
        var starts: [Duration] = []
        var brakes: [WatchRestarts.Brake] = []

        init(build: Duration) {
            self.build = build
            run()
        }

        mutating func run() {
            starts.append(now)
            restarts.began()
        }

        mutating func save(_ path: String = "a") {
            if let brake = restarts.changed([path], now: now) { brakes.append(brake) }
        }

        mutating func complete() {
            now += build
            restarts.completed(now: now)
        }

        /// Until the next start; false when there is none to come.
        mutating func waitForStart() -> Bool {
            guard let deadline = restarts.deadline else { return false }
            now = max(now, deadline)
            guard restarts.take(now: now) != nil else { return false }
            run()
            return true
        }
    }

    @Test func aChangeIsDueShortlyAfterItsLastEvent() {
        var restarts = WatchRestarts()
        restarts.completed(now: .zero)
        #expect(restarts.changed([], now: .seconds(9)) == nil)
        #expect(restarts.deadline == nil)
        _ = restarts.changed(["a", "b"], now: .seconds(10))
        _ = restarts.changed(["b", "c"], now: .milliseconds(10_100))
        #expect(restarts.deadline == .milliseconds(10_100) + WatchRestarts.debounce)
        #expect(restarts.take(now: .milliseconds(10_200)) == nil)
        let change = restarts.take(now: .milliseconds(10_300))
        #expect(change?.path == "a" && change?.others == 2)
        #expect(restarts.take(now: .seconds(99)) == nil)
    }

    @Test func endlessWritingDoesNotPutARestartOffForEver() {
        var restarts = WatchRestarts()
        restarts.completed(now: .zero)
        for step in 0...20 { _ = restarts.changed(["log"], now: .seconds(10) + .milliseconds(100 * step)) }
        #expect(restarts.deadline == .seconds(10) + WatchRestarts.patience)
    }

    @Test func aPipelineThatStartsItselfIsBrakedAndGetsToItsLastCommand() {
        var pipeline = Pipeline(build: .milliseconds(50))
        for _ in 0..<12 {
            pipeline.save("dist/out.js")
            // The first ones may interrupt their own commands, the later ones wait for the last of them.
            if pipeline.restarts.deadline == nil { pipeline.complete() }
            #expect(pipeline.waitForStart() == true)
        }
        let gaps = zip(pipeline.starts, pipeline.starts.dropFirst()).map { $1 - $0 }
        #expect(gaps.prefix(3).allSatisfy { $0 < .milliseconds(300) })
        #expect(gaps.dropFirst(3).map(\.components.seconds) == [1, 2, 4, 8, 16, 30, 30, 30, 30])
        #expect(pipeline.brakes.count == 9)
        #expect(pipeline.brakes.first == .init(path: "dist/out.js", restarts: 3, delay: .seconds(1)))
    }

    @Test func savingAgainAndAgainWhileItServesIsNotBraked() {
        var pipeline = Pipeline(build: .seconds(1))
        for _ in 0..<20 {
            pipeline.complete()
            pipeline.now += WatchRestarts.calm
            pipeline.save()
            let saved = pipeline.now
            #expect(pipeline.waitForStart() == true)
            #expect(pipeline.now == saved + WatchRestarts.debounce)
        }
        #expect(pipeline.brakes.isEmpty)
    }

    @Test func aCalmStretchEndsTheBrake() {
        var pipeline = Pipeline(build: .milliseconds(50))
        for _ in 0..<6 {
            pipeline.save()
            if pipeline.restarts.deadline == nil { pipeline.complete() }
            #expect(pipeline.waitForStart() == true)
        }
        pipeline.complete()
        pipeline.now += WatchRestarts.calm
        pipeline.save()
        #expect(pipeline.restarts.deadline == pipeline.now + WatchRestarts.debounce)
    }

    @Test func whatChangesDuringTheBrakeIsNotLost() {
        var pipeline = Pipeline(build: .seconds(60))
        for _ in 0..<WatchRestarts.free {
            pipeline.save()
            #expect(pipeline.waitForStart() == true)
        }
        pipeline.save()
        #expect(pipeline.restarts.deadline == nil, "its commands run")
        pipeline.complete()
        #expect(pipeline.waitForStart() == true)
    }
}
