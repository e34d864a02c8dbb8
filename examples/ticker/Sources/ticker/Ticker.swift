import FoundationEssentials
import IIIWorker

/// A custom core worker: it owns the trigger type `tick`, and calls every function that is bound to it, at an interval.
@main
final class Ticker: CoreWorker {
    static let role = "ticker"
    static func main() { CoreWorkerProcess.main(Ticker.self) }

    // 1. Configuration
    static let interval = Setting("interval_ms", .milliseconds(10...60_000), default: 1000, change: .live, "Time between two ticks.")
    static let counter = counters.setting("How ticks are numbered.")
    static let settings = SettingGroup {
        interval
        counter
    }

    // 2. Initialization
    private let context: CoreWorkerContext
    private var values: SettingValues
    private var numbers: (any Counter)?
    private var bindings: TriggerProvider<TriggerCondition?>?
    private var timer: CoreWorkerTimer?
    private var last = 0
    init(configuration: SettingValues, context: CoreWorkerContext) { (self.context, values) = (context, configuration) }

    func start(on loop: isolated WorkerLoop) async throws { numbers = try await Self.counters.open(values[Self.counter]) }

    // 3. Trigger types
    func registerTriggerTypes(on link: WorkerLink) {
        bindings = TriggerProvider(
            TriggerTypeDeclaration(id: "tick", description: "Fires at the interval of the ticker"), on: link,
            accept: { binding, _ throws(InvocationError) in try TriggerCondition(config: binding.config) }, release: { _, _, _ in })
    }

    // 4. Functions
    func registerFunctions(on link: WorkerLink) {
        link.registerFunction("ticker::last", description: "The number of the last tick") { [self] call in
            call.reply(["tick": JSONValue(last)])
        }
    }

    func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async { schedule() }

    func reconfigure(_ new: SettingValues, on loop: isolated WorkerLoop) async -> Reconfiguration {
        guard new[Self.counter].name == values[Self.counter].name else { return .refused("another counter needs a restart") }
        values = new
        schedule()
        return .applied
    }

    func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async { timer = nil }
    var status: String { "tick \(last), \(bindings?.count ?? 0) bindings" }

    private func schedule() {
        timer = context.schedule(every: values[Self.interval]) { [self] in tick() }
    }

    private func tick() {
        guard let numbers else { return }
        context.perform({ try await numbers.next() }) { [self] result in
            guard case .success(let number) = result else { return context.logger.error("a tick has no number: \(result)") }
            last = number
            let payload: JSONValue = ["tick": JSONValue(number)]
            for (binding, condition) in bindings?.inForce ?? [] {
                context.calls.fire(binding.target, condition: condition, payload: payload.bytes) { _ in }
            }
        }
    }

    // Adapters: two ways to number ticks.
    private static let path = Setting("path", .text, default: "./ticks", "File with the number of the last tick.")
    private static let counters = {
        var registry = AdapterRegistry<any Counter>("counter")
        registry.register(AdapterDeclaration("memory", "Begins at 1 with every process.")) { _ in MemoryCounter() }
        registry.register(AdapterDeclaration("file", "Goes on where it was.", SettingGroup { path })) { FileCounter(path: $0[path]) }
        return registry
    }()
}

protocol Counter: Sendable { func next() async throws -> Int }

actor MemoryCounter: Counter {
    private var count = 0
    func next() -> Int {
        count += 1
        return count
    }
}

struct FileCounter: Counter {
    let path: String
    func next() throws -> Int {
        let last = FileManager.default.contents(atPath: path).flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
        try "\(last + 1)".write(toFile: path, atomically: true, encoding: .utf8)
        return last + 1
    }
}
