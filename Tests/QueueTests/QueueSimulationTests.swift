import Glibc
import Testing

@testable import IIIQueue

/// 10,000 seeds: every message is kept, in its place in its group, delivered no more than it may be, and nothing stands still for ever.
/// A failure names its seed; `III_QUEUE_SEED=N swift test --filter QueueSimulationTests` runs that one alone.
@Suite struct QueueSimulationTests {
    private static let chosen = getenv("III_QUEUE_SEED").flatMap { UInt64(String(cString: $0)) }

    @Test(arguments: 0..<20) func noSeedLosesReordersOrWedges(_ part: UInt64) throws {
        let seeds = Self.chosen.map { $0...$0 } ?? (part * 500)...(part * 500 + 499)
        guard Self.chosen == nil || part == 0 else { return }
        for seed in seeds {
            do {
                try QueueSimulation(seed: seed).run(steps: 40 + Int(seed % 100))
            } catch {
                Issue.record("seed \(seed): \(error)")
                return
            }
        }
    }
}
