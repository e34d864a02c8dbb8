import IIIWorker

/// A scheduler of one's own in the place of `iii-cron`: it owns the trigger type `cron`, and knows intervals only.
@main
final class Scheduler: CoreWorker {
    static let role = "scheduler"
    static let settings = SettingGroup {}
    static func main() { CoreWorkerProcess.main(Scheduler.self) }

    private let context: CoreWorkerContext
    private var jobs: TriggerProvider<CoreWorkerTimer>?

    init(configuration: SettingValues, context: CoreWorkerContext) { self.context = context }

    func registerTriggerTypes(on link: WorkerLink) {
        jobs = TriggerProvider(
            TriggerTypeDeclaration(id: "cron", description: "Calls functions at intervals"), on: link,
            accept: { [self] binding, _ throws(InvocationError) in
                guard let text = binding.config["expression"]?.string, let seconds = Self.interval(text) else {
                    throw InvocationError(.triggerRegistrationFailed, "this scheduler knows '@every 1s' to '@every 86400s' only")
                }
                return context.schedule(every: .seconds(seconds)) { [self] in fire(binding) }
            },
            release: { _, timer, _ in timer.cancel() })
    }

    private static func interval(_ text: String) -> Int? {
        guard text.hasPrefix("@every "), text.hasSuffix("s"), let seconds = Int(text.dropFirst(7).dropLast()) else { return nil }
        return (1...86_400).contains(seconds) ? seconds : nil
    }

    private func fire(_ binding: TriggerBinding) {
        let payload: JSONValue = ["trigger": "cron", "job_id": .string(binding.id)]
        context.calls.fire(binding.target, payload: payload.bytes, timeout: .minutes(15)) { [context] outcome in
            if case .failed(let error) = outcome { context.logger.error("a job failed: \(error.code)") }
        }
    }
}
