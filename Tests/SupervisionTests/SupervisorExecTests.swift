import Glibc
import IIIConfiguration
import Testing

@testable import IIISupervision

extension SupervisorTests {
    @Test func stepsRunOneAfterTheOtherAndTheLastIsSupervised() async throws {
        let fleet = try TestFleet(
            "workers: [{name: iii-exec, config: {exec: ['echo one >> DIR/trace', {command: 'echo $WORD >> DIR/trace', env: {WORD: two}}, 'echo three >> DIR/trace; exec sleep 1000']}}]"
        )
        #expect(await eventually { await fleet.child("iii-exec")?.isReady ?? false && fleet.contents("trace") == "one\ntwo\nthree\n" })
        let pid = try #require(await fleet.child("iii-exec")?.pid)
        kill(pid, SIGKILL)
        #expect(await eventually { fleet.contents("trace") == "one\ntwo\nthree\nthree\n" })
        #expect(await eventually { await fleet.child("iii-exec").map { $0.isReady && $0.restarts == 1 } ?? false })
        #expect(!fleet.eventBox.all.contains { $0.hasPrefix("token") })
        await fleet.stop()
    }

    @Test func aFailingStepEndsThePipelineAndNotTheEngine() async throws {
        let fleet = try TestFleet(
            "workers: [{name: iii-exec, config: {exec: ['exit 3', 'echo never > DIR/trace']}}, {name: a, exec: DIR/a}]",
            .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.child("iii-exec")?.state == .failed })
        #expect(await fleet.logs("iii-core").contains { $0.contains("Pipeline step failed, aborting pipeline") })
        #expect(fleet.contents("trace") == "")
        #expect(await eventually { await fleet.child("a")?.isReady ?? false })
        await fleet.stop()
    }

    @Test func savingAWatchedFileRunsThePipelineAgain() async throws {
        let fleet = try TestFleet(
            "workers: [{name: iii-exec, config: {exec: ['echo build >> DIR/trace', 'exec sleep 1000'], watch: ['DIR/**/*.ts']}}]",
            .init(scripts: ["a.ts": "1"]))
        #expect(await eventually { await fleet.child("iii-exec")?.isReady ?? false })
        try fleet.write("2", to: "a.ts")
        #expect(await eventually { fleet.contents("trace") == "build\nbuild\n" })
        #expect(await eventually { await fleet.child("iii-exec")?.isReady ?? false })
        await fleet.stop()
    }
}
