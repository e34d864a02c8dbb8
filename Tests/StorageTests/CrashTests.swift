import Foundation
import IIIProtocol
import Testing

/// Real processes, killed and hindered: what was acknowledged is there, and what cannot be served is said.
@Suite struct CrashTests {
    /// 100 kills: ten stores, each killed ten times at a moment drawn from its seed.
    @Test(arguments: 0..<10) func nothingAcknowledgedIsLostByKills(_ seed: Int) throws {
        let scratch = try ScratchDirectory()
        var generator = SeededGenerator(seed: UInt64(seed))
        var acknowledged = 0
        for _ in 0..<10 {
            acknowledged =
                try Self.writeAndKill(scratch.path, seed: seed, acknowledgements: Int.random(in: 0...300, using: &generator))
                ?? acknowledged
            let verdict = try ProbeProcess("verify", scratch.path, "\(seed)", "\(acknowledged)").answer()
            #expect(verdict.hasPrefix("ok "), "seed \(seed): \(verdict)")
        }
    }

    /// 100 kills of a process that opens and closes its store without end: at no moment is what is intact taken for damaged.
    @Test(arguments: 0..<10) func killsWhileOpeningAndClosingWedgeNothing(_ seed: Int) throws {
        let scratch = try ScratchDirectory()
        var generator = SeededGenerator(seed: UInt64(3000 + seed))
        for _ in 0..<10 {
            let acknowledged =
                try Self.writeAndKill(
                    scratch.path, seed: seed, acknowledgements: Int.random(in: 1...4, using: &generator), doing: "churn",
                    delay: UInt32.random(in: 0...4_000, using: &generator)) ?? 0
            let verdict = try ProbeProcess("verify", scratch.path, "\(seed)", "\(acknowledged)").answer()
            #expect(verdict.hasPrefix("ok "), "seed \(seed): \(verdict)")
        }
    }

    /// Death of the process alone costs nothing with `normal` either.
    @Test func nothingAcknowledgedIsLostByKillsInNormal() throws {
        let scratch = try ScratchDirectory()
        for round in 1...5 {
            let acknowledged = try #require(
                try Self.writeAndKill(scratch.path, seed: 77, acknowledgements: 100 * round, durability: "normal"))
            let verdict = try ProbeProcess("verify", scratch.path, "77", "\(acknowledged)").answer()
            #expect(verdict.hasPrefix("ok "), "\(verdict)")
        }
    }

    /// What is written in `relaxed` may be lost at the end, and never in the middle.
    @Test func relaxedLosesOnlyTheLastMoments() throws {
        let scratch = try ScratchDirectory()
        for _ in 0..<5 {
            _ = try Self.writeAndKill(scratch.path, seed: 78, acknowledgements: 2000, durability: "relaxed")
            let verdict = try ProbeProcess("verify", scratch.path, "78", "0").answer()
            #expect(verdict.hasPrefix("ok "), "\(verdict)")
        }
    }

    /// A changed byte in the log, which holds what was acknowledged last: refused or without effect, never silently less.
    @Test(arguments: 0..<30) func aChangedByteInTheLogIsNoticed(_ seed: Int) throws {
        let scratch = try ScratchDirectory()
        var generator = SeededGenerator(seed: UInt64(1000 + seed))
        let acknowledged = try #require(try Self.writeAndKill(scratch.path, seed: seed, acknowledgements: 200))
        let log = scratch.path + "/store.db-wal"
        let size = fileSize(log)
        try #require(size > 0)
        try flip(log, at: Int.random(in: 0..<size, using: &generator), with: UInt8.random(in: 1...255, using: &generator))
        let verdict = try ProbeProcess("verify", scratch.path, "\(seed)", "\(acknowledged)").answer()
        #expect(
            verdict.hasPrefix("ok ") || verdict.hasPrefix("refused corrupt") || verdict.hasPrefix("detected"), "seed \(seed): \(verdict)")
    }

    /// A changed byte in the database: refused, named, or without effect.
    @Test(arguments: 0..<60) func aChangedByteInTheDatabaseIsNoticed(_ seed: Int) throws {
        let scratch = try ScratchDirectory()
        var generator = SeededGenerator(seed: UInt64(2000 + seed))
        let acknowledged = try #require(try Self.writeAndKill(scratch.path, seed: seed, acknowledgements: 150))
        // Everything into the database, closed in order.
        #expect(try ProbeProcess("verify", scratch.path, "\(seed)", "\(acknowledged)").answer().hasPrefix("ok "))
        let database = scratch.path + "/store.db"
        // Every third in the head, where a single byte changes the most.
        let range = seed % 3 == 0 ? 0..<200 : 0..<fileSize(database)
        try flip(database, at: Int.random(in: range, using: &generator), with: UInt8.random(in: 1...255, using: &generator))
        let verdict = try ProbeProcess("verify", scratch.path, "\(seed)", "\(acknowledged)").answer()
        #expect(!verdict.hasPrefix("WRONG") && !verdict.isEmpty, "seed \(seed): \(verdict)")
    }

    @Test func aLogThatIsTakenAwayIsNoticed() throws {
        let scratch = try ScratchDirectory()
        let acknowledged = try #require(try Self.writeAndKill(scratch.path, seed: 5, acknowledgements: 100))
        try FileManager.default.removeItem(atPath: scratch.path + "/store.db-wal")
        let verdict = try ProbeProcess("verify", scratch.path, "5", "\(acknowledged)").answer()
        #expect(verdict.hasPrefix("refused corrupt") && verdict.contains("acknowledged writes"), "\(verdict)")
    }

    @Test func aSecondProcessIsRefusedByTheFirstOnesNumber() throws {
        let scratch = try ScratchDirectory()
        let first = try ProbeProcess("hold", scratch.path)
        #expect(first.line() == "open")
        let verdict = try ProbeProcess("open", scratch.path).answer()
        #expect(verdict.hasPrefix("refused in_use") && verdict.contains("process \(first.identifier);"), "\(verdict)")
        first.kill()
        first.finish()
        // The lock has died with its process.
        #expect(try ProbeProcess("open", scratch.path).answer() == "open")
    }

    @Test func aFullDiskFailsWhatNeedsRoomAndIsOverWhenThereIsRoom() throws {
        let scratch = try ScratchDirectory()
        let script = """
            mount -t tmpfs -o size=8m none "$1" || { echo skipped; exit; }
            dd if=/dev/zero of="$1/ballast" bs=1024 count=5120 2>/dev/null; exec "$0" full "$1"
            """
        let verdict = try ProbeProcess(inNamespace: script, scratch.path).answer()
        #expect(verdict.hasPrefix("ok ") || verdict == "skipped" || verdict.contains("unshare"), "\(verdict)")
    }

    @Test func aDirectoryThatCannotBeWrittenStopsTheStart() throws {
        let scratch = try ScratchDirectory()
        let mounted = try ProbeProcess(
            inNamespace: #"mount -t tmpfs -o ro none "$1" || { echo skipped; exit; }; exec "$0" open "$1""#, scratch.path
        ).answer()
        #expect(
            (mounted.hasPrefix("refused not_writable") && mounted.contains("Read-only file system")) || mounted == "skipped"
                || mounted.contains("unshare"), "\(mounted)")
        try FileManager.default.setAttributes([.posixPermissions: 0o555], ofItemAtPath: scratch.path)
        let verdict =
            getuid() == 0 ? try ProbeProcess("open", scratch.path, "65534").answer() : try ProbeProcess("open", scratch.path).answer()
        #expect(verdict.hasPrefix("refused not_writable") && verdict.contains("user id"), "\(verdict)")
    }

    /// Answers how many writes are known to be acknowledged; nil when it was killed before it said anything.
    private static func writeAndKill(
        _ directory: String, seed: Int, acknowledgements: Int, durability: String = "full", doing command: String = "write",
        delay: UInt32 = 0
    ) throws -> Int? {
        let probe = try ProbeProcess(command, directory, "\(seed)", durability)
        var last: Int?
        var count = -1
        while count < acknowledgements, let line = probe.line() {
            let words = line.split(separator: " ")
            guard words.count == 2, words[0] == "ack" || words[0] == "start", let number = Int(words[1]) else {
                Issue.record("\(line)")
                break
            }
            last = number
            count += 1
        }
        // Microseconds of the seed, so that the kill meets every step of opening and closing.
        if delay > 0 { usleep(delay) }
        probe.kill()
        // What it said before it died counts too.
        while let line = probe.line() {
            if line.hasPrefix("ack "), let number = Int(line.dropFirst(4)) { last = number }
        }
        probe.finish()
        return last
    }
}
