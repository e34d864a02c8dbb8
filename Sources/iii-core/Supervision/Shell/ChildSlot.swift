/// What the supervisor's thread keeps about one child besides its machine.
final class ChildSlot {
    var specification: ChildSpecification
    var process: SpawnedProcess?
    var startedAt: Duration = .zero
    /// Counts spawns; an answer that belongs to an earlier one is ignored.
    var generation = 0
    /// Registrations with the event loop of the running process.
    var tags: [UInt64] = []
    /// Pipeline position: the step that runs, and the one the next spawn begins with.
    var step = 0
    var nextStep = 0
    var watch: TreeWatch?
    var watchTag: UInt64 = 0
    /// A change of watched files does not undo a user's `stop`.
    var wasStoppedByRequest = false

    init(_ specification: ChildSpecification) { self.specification = specification }

    var pipeline: ExecPipeline? {
        if case .pipeline(let pipeline) = specification.program { return pipeline }
        return nil
    }

    var isOnLastStep: Bool { pipeline.map { step >= $0.steps.count - 1 } ?? true }
}
