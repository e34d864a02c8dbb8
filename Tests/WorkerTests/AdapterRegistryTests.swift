import IIITestSupport
import IIIWorker
import Testing

/// Two stores of one word each, behind one protocol.
@Suite struct AdapterRegistryTests {
    private final class Box: Sendable {
        let word: String
        init(_ word: String) { self.word = word }
    }

    private static let word = Setting("word", .text, default: "w", "What it says.")

    private static let registry = {
        var registry = AdapterRegistry<Box>("box")
        registry.register(AdapterDeclaration("fixed", "Always the same.")) { _ in Box("fixed") }
        registry.register(AdapterDeclaration("free", "Says what it is told.", SettingGroup { word })) { Box($0[word]) }
        registry.register(AdapterDeclaration("broken", "Cannot be opened.")) { _ in throw ConfigurationError("no server") }
        return registry
    }()

    private static func open(_ json: JSONValue, _ registry: AdapterRegistry<Box> = registry) async throws -> String {
        let adapter = registry.setting("Which box.")
        return try await registry.open(try SettingGroup { adapter }.read(json)[adapter]).word
    }

    @Test func theConfigurationChooses() async throws {
        #expect(try await Self.open([:]) == "fixed")
        #expect(try await Self.open(["adapter": ["name": "free"]]) == "w")
        #expect(try await Self.open(["adapter": ["name": "free", "config": ["word": "x"]]]) == "x")
        await #expect(throws: ConfigurationError.self) { try await Self.open(["adapter": ["name": "broken"]]) }
    }

    @Test(
        arguments: [
            (["adapter": ["name": "fred"]], ["fred", "fixed", "free"]),
            (["adapter": ["name": "free", "config": ["wrod": "x"]]], ["wrod", "word"]),
            (["adapter": ["name": "free", "config": ["word": [7]]]], ["word"]), (["adapter": "free"], ["adapter"]),
        ] as [(JSONValue, [String])])
    func mistakesAreNamed(_ json: JSONValue, _ words: [String]) async throws {
        let error = await #expect(throws: InvalidSettings.self) { try await Self.open(json) }
        for word in words { #expect(error?.description.contains(word) == true, "\(error?.description ?? "") names \(word)") }
    }

    @Test func aNameCanBeTakenOver() async throws {
        var registry = Self.registry
        registry.register(AdapterDeclaration("fixed", "Another.")) { _ in Box("another") }
        #expect(registry.declarations.map(\.name) == ["fixed", "free", "broken"])
        #expect(try await Self.open([:], registry) == "another")
    }

    private static let contract = {
        var registry = Self.registry
        registry.register(AdapterDeclaration("broken", "Mended.")) { _ in Box("mended") }
        return AdapterContract(registry, configs: ["fixed": { [:] }, "free": { ["word": "y"] }, "broken": { [:] }])
    }()

    @Test(arguments: contract.names) func theContractRunsEveryAdapter(name: String) async throws {
        try await Self.contract.run(name) { #expect(!$0.word.isEmpty) }
    }

    @Test func anAdapterWithoutAConfigIsNotPassedOver() async throws {
        let contract = AdapterContract(Self.registry, configs: [:])
        await #expect(throws: AdapterContract<Box>.Untried.self) { try await contract.run("fixed") { _ in } }
    }
}
