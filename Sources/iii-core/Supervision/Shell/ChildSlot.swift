/// One running process of a child.
struct RunningChild {
    let generation: Int
    let process: SpawnedProcess
    let startedAt: Duration
    /// In the environment of all its descendants: `<pid of the core>/<entry>/<generation>.<step>`.
    let spawnID: String
    /// Registrations with the event loop.
    var tags: [UInt64] = []
}

/// What the supervisor's thread keeps about one child besides its machine.
final class ChildSlot {
    var specification: ChildSpecification
    /// By generation; mostly one, two while a successor takes over.
    var processes: [Int: RunningChild] = [:]
    /// Pipeline position: the step that runs, and the one the next spawn begins with.
    var step = 0
    var nextStep = 0
    var watch: TreeWatch?
    var watchTag: UInt64 = 0
    var watchRestarts = WatchRestarts()
    /// A change of watched files does not undo a user's `stop`.
    var wasStoppedByRequest = false

    init(_ specification: ChildSpecification) { self.specification = specification }

    var pipeline: ExecPipeline? {
        if case .pipeline(let pipeline) = specification.program { return pipeline }
        return nil
    }

    var isOnLastStep: Bool { pipeline.map { step >= $0.steps.count - 1 } ?? true }
}
