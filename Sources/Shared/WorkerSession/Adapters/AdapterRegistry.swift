import IIIProtocol
import IIISettings

/// The implementations of one protocol that a configuration may choose from with `adapter: {name, config}`.
///
/// ```swift
/// var counters = AdapterRegistry<any Counter>("counter")
/// counters.register(AdapterDeclaration("memory", "Forgets at the end.")) { _ in MemoryCounter() }
/// let adapter = counters.setting("Where ticks are counted.")        // one more key of a SettingGroup
/// let counter = try await counters.open(values[adapter])            // in `start`
/// ```
///
/// The declarations are what checks the key, names the known adapters when one is misspelt, and makes the tables of the
/// documentation. A third party registers its own under a new name, or takes a built-in's name over.
public struct AdapterRegistry<Adapter>: Sendable {
    /// Opens an adapter with its checked settings; throws what keeps it from working.
    public typealias Open = @Sendable (SettingValues) async throws -> sending Adapter

    /// What the adapters are, such as `queue store`; for messages.
    public let purpose: String
    /// In the order of registration; the first is the default.
    public private(set) var declarations: [AdapterDeclaration] = []
    private var openers: [String: Open] = [:]

    /// `purpose` says in errors what the adapters are for.
    public init(_ purpose: String) { self.purpose = purpose }

    /// Adds an adapter. A name that is registered already is replaced, in its place.
    public mutating func register(_ declaration: AdapterDeclaration, open: @escaping Open) {
        openers[declaration.name] = open
        if let index = declarations.firstIndex(where: { $0.name == declaration.name }) {
            declarations[index] = declaration
        } else {
            declarations.append(declaration)
        }
    }

    /// The key `adapter`, checked against what is registered by now; the first adapter with its defaults when absent.
    public func setting(_ text: String, key: String = "adapter") -> Setting<AdapterChoice> {
        Setting(key, .adapter(declarations), default: ["name": .string(declarations.first?.name ?? "")], change: .restart, text)
    }

    /// Opens what a configuration has chosen. Throws `ConfigurationError` for a name that is not registered here, else what the
    /// adapter throws.
    public func open(_ choice: AdapterChoice) async throws -> sending Adapter {
        guard let open = openers[choice.name] else {
            let known = declarations.map(\.name).joined(separator: ", ")
            throw ConfigurationError("adapter.name: there is no \(purpose) '\(choice.name)'; there are: \(known)")
        }
        return try await open(choice.config)
    }
}
