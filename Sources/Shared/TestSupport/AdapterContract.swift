import IIIProtocol
import IIIWorker

/// One suite for every adapter of a registry: what holds for one has to hold for all.
///
/// ```swift
/// static let contract = AdapterContract(Stores.registry, configs: ["memory": { [:] }, "redis": { ["redis_url": …] }])
///
/// @Test(arguments: contract.names) func keepsWhatItAcknowledged(name: String) async throws {
///     try await Self.contract.run(name) { store in … }
/// }
/// ```
///
/// An adapter that is registered without a config here fails every test, so none goes untried.
public struct AdapterContract<Adapter>: Sendable {
    /// No config is known for an adapter.
    public struct Untried: Error, CustomStringConvertible {
        /// What was broken, as one sentence.
        public let description: String
    }

    private let registry: AdapterRegistry<Adapter>
    private let configs: [String: @Sendable () throws -> JSONValue]

    /// `configs` makes, for each adapter, the `config` it is opened with; once per run, so each may start a server of its own.
    public init(_ registry: AdapterRegistry<Adapter>, configs: [String: @Sendable () throws -> JSONValue]) {
        self.registry = registry
        self.configs = configs
    }

    /// Names of all registered adapters, for the arguments of a test.
    public var names: [String] { registry.declarations.map(\.name) }

    /// Opens the adapter again and again with one config, so with the same data behind it.
    public func opener(_ name: String) throws -> @Sendable () async throws -> sending Adapter {
        guard let config = configs[name] else {
            throw Untried(description: "the contract suite has no config for the \(registry.purpose) '\(name)'")
        }
        let setting = registry.setting("")
        let choice = try SettingGroup { setting }.read(["adapter": ["name": .string(name), "config": try config()]])[setting]
        let registry = registry
        return { try await registry.open(choice) }
    }

    /// Opens the adapter as a configuration would and hands it to `body`.
    public func run(_ name: String, _ body: (Adapter) async throws -> Void) async throws {
        let open = try opener(name)
        try await body(try await open())
    }
}
