import IIIProtocol
import NIOCore

// Changed configurations for core workers that are connected (docs/reference/core-workers.md).
extension Engine {
    /// What a core worker made of its changed config.
    package enum ConfigurationAnswer: Sendable, Equatable {
        case applied
        /// It needs a new process.
        case refused(reason: String)
        case invalid(reason: String)
        case none
        case notConnected

        /// From `{applied, reason?, invalid?}`.
        fileprivate init(_ json: JSONValue) {
            let reason = json["reason"]?.string ?? "it gave no reason"
            switch (json["applied"]?.bool, json["invalid"]?.bool) {
            case (true, _): self = .applied
            case (_, true): self = .invalid(reason: reason)
            default: self = .refused(reason: reason)
            }
        }

        /// Of several processes of one entry, the answer that asks for the most.
        fileprivate var weight: Int {
            switch self {
            case .notConnected: 0
            case .applied: 1
            case .none: 2
            case .refused: 3
            case .invalid: 4
            }
        }
    }

    /// How long a core worker may take to answer `builtin::<name>::configure`.
    private static let reconfigurationTimeout = TimeAmount.seconds(5)

    /// Offers a changed config (`builtin::<name>::configure`) to one process of an entry, or to all that are units of their own
    /// (generation nil). `completion` runs once, on the loop. May be called from any thread.
    package func reconfigure(
        _ builtin: BuiltinSecrets.Bearer, _ config: JSONValue, completion: @escaping @Sendable (ConfigurationAnswer) -> Void
    ) {
        eventLoop.execute { [self] in
            let workers = registry.workers.values.filter { $0.builtin == builtin }
            var waiting = workers.count
            guard waiting > 0 else { return completion(.notConnected) }
            var result = ConfigurationAnswer.notConnected
            func answered(_ answer: ConfigurationAnswer) {
                if answer.weight > result.weight { result = answer }
                waiting -= 1
                guard waiting == 0 else { return }
                // One that ends to be started anew by its unit may be back before the supervisor has heard of the answer.
                if builtin.generation == nil, result.weight < ConfigurationAnswer.invalid(reason: "").weight {
                    configurationChanged(builtin.name, config)
                }
                completion(result)
            }
            for worker in workers { offer(config, to: worker, answered) }
        }
    }

    private func offer(_ config: JSONValue, to worker: Worker, _ completion: @escaping (ConfigurationAnswer) -> Void) {
        ask(worker, "configure", ["config": config], within: Self.reconfigurationTimeout) { json in
            completion(json.map { ConfigurationAnswer($0) } ?? ConfigurationAnswer.none)
        }
    }
}
