import IIIProtocol

/// The workers, their functions, and their triggers: all tables of the engine in one value, and the one place where a
/// departing worker is taken out of them.
package struct WorkerRegistry {
    package private(set) var workers: [UUIDBits: Worker] = [:]
    package var functions: FunctionTable
    package var triggers: TriggerTable

    package init(functions: FunctionTable = FunctionTable(), triggers: TriggerTable = TriggerTable()) {
        self.functions = functions
        self.triggers = triggers
    }

    /// What follows from a worker's end, for the engine to carry out.
    package struct Departure {
        /// Functions that nobody serves any more.
        package var lostFunctions: [FunctionKey]
        /// Calls it was executing: their callers get `invocation_stopped`.
        package var stopped: [PendingInvocation]
        package var triggerEffects: [TriggerEffect]
    }

    package mutating func insert(_ worker: Worker) {
        workers[worker.id] = worker
    }

    /// Removes exactly what `worker` still owns, in the order of docs/reference/worker-protocol.md#disconnecting. A second
    /// call changes nothing.
    package mutating func remove(_ worker: Worker) -> Departure? {
        guard worker.isConnected, workers.removeValue(forKey: worker.id) != nil else { return nil }
        worker.isConnected = false
        functions.ledger.change(worker, by: -worker.reportCost)
        worker.reportCost = 0
        let lost = functions.removeAll(of: worker)
        let stopped = Array(worker.invocations.values)
        worker.invocations.removeAll()
        // Calls it had made run on at their callees, but nobody is kept in memory for their answers.
        if worker.callsInFlight > 0 { forgetCalls(of: worker) }
        return Departure(lostFunctions: lost, stopped: stopped, triggerEffects: triggers.removeAll(of: worker))
    }

    private func forgetCalls(of caller: Worker) {
        for callee in workers.values where !callee.invocations.isEmpty {
            for (id, pending) in callee.invocations {
                switch pending.destination {
                case .caller(let worker, _) where worker === caller: callee.invocations[id]?.destination = .discard(nil)
                case .discard(let worker?) where worker === caller: callee.invocations[id]?.destination = .discard(nil)
                default: break
                }
            }
        }
    }

    package func worker(id: String) -> Worker? {
        UUIDBits(id).flatMap { workers[$0] }
    }
}
