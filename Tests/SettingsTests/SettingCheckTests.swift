import IIIProtocol
import IIISettings
import Testing

/// A declaration as a third party writes it.
private enum TickerSettings {
    enum Mode: String, CaseIterable, Sendable { case steady, bursty }

    static let interval = Setting("interval_ms", .milliseconds(10...60_000), default: 1000, change: .live, "Time between two ticks.")
    static let label = Setting("label", .text, environment: "TICKER_LABEL", "Goes into every tick.")
    static let mode = Setting<Mode>("mode", .choice, default: "steady", "How ticks come.")
    static let key = Setting(required: "api_key", .text, example: "k", secret: true, "Key of the clock.")
    static let header = Setting<String?>("header", .nullable(.text), default: "x-tick", "null: none.")
    static let limits = Setting<[String: Int]>("limits", .map(of: .count(1...10)), default: [:], "By name.")
    static let targets = Setting<[String]>(
        "targets", .oneOf(SettingType<String>.text.map { [$0] }, .list(.text)), default: [], "Functions.")
    static let store = Setting("adapter", .adapter(adapters), default: ["name": "memory"], "Where ticks are kept.")
    static let path = Setting("path", .text, "File of `disk`.")
    static let adapters = [
        AdapterDeclaration("memory", "Kept in memory."), AdapterDeclaration("disk", "Kept on disk.", SettingGroup { path }),
    ]
    static let old = Setting("old", .boolean, inert: "replaced by `mode`", "Once did something.")

    static let group = SettingGroup {
        interval
        label
        mode
        key
        header
        limits
        targets
        store
        old
        SettingRule("A bursty ticker needs a label.") { values in
            values[mode] == .bursty && values[label] == nil ? [.problem("mode", message: "bursty needs `label`")] : []
        }
    }
}

@Suite struct SettingCheckTests {
    private func read(_ json: JSONValue, _ environment: [String: String] = [:]) throws(InvalidSettings) -> SettingValues {
        try TickerSettings.group.read(json, context: SettingContext(environment: { environment[$0] }))
    }

    @Test func absentKeysHaveTheirDefaults() throws {
        let values = try read(["api_key": "k"])
        #expect(values[TickerSettings.interval] == .seconds(1))
        #expect(values[TickerSettings.label] == nil)
        #expect(values[TickerSettings.mode] == .steady)
        #expect(values[TickerSettings.header] == "x-tick")
        #expect(values[TickerSettings.store].name == "memory")
        #expect(!values.isWritten(TickerSettings.interval))
    }

    @Test func writtenKeysAreRead() throws {
        let values = try read([
            "api_key": "k", "interval_ms": "20", "mode": "bursty", "label": 7, "header": nil, "limits": ["a": 3], "targets": "x::y",
            "adapter": ["name": "disk", "config": ["path": "/tmp/x"]],
        ])
        #expect(values[TickerSettings.interval] == .milliseconds(20))
        #expect(values[TickerSettings.label] == "7")
        #expect(values[TickerSettings.header] == nil)
        #expect(values[TickerSettings.limits] == ["a": 3])
        #expect(values[TickerSettings.targets] == ["x::y"])
        #expect(values[TickerSettings.store].config[TickerSettings.path] == "/tmp/x")
    }

    @Test func theEnvironmentStandsInForAnAbsentKey() throws {
        #expect(try read(["api_key": "k"], ["TICKER_LABEL": "env"])[TickerSettings.label] == "env")
        #expect(try read(["api_key": "k", "label": "file"], ["TICKER_LABEL": "env"])[TickerSettings.label] == "file")
        #expect(try read(["api_key": "k"], ["TICKER_LABEL": ""])[TickerSettings.label] == nil)
    }

    @Test(
        arguments: [
            ([:], "config: missing field `api_key`"), (["api_key": "k", "interval_ms": 5], "expected an integer from 10 to 60000"),
            (["api_key": "k", "mode": "burst"], "did you mean `bursty`?"),
            (["api_key": "k", "mode": "bursty"], "config.mode: bursty needs `label`"),
            (["api_key": "k", "intervall_ms": 5], "did you mean `interval_ms`?"),
            (["api_key": "k", "limits": ["a": 11]], "config.limits.a"),
            (["api_key": "k", "targets": [nil]], "config.targets[0]: invalid value: null"),
            (["api_key": "k", "adapter": ["name": "dsk"]], "did you mean `disk`?"),
            (["api_key": "k", "adapter": ["name": "disk", "config": ["pth": "x"]]], "config.adapter.config: unknown field `pth`"),
            (["api_key": "k", "adapter": ["config": [:]]], "config.adapter: missing field `name`"),
        ] as [(JSONValue, String)])
    func refusals(_ json: JSONValue, _ message: String) {
        let error = #expect(throws: InvalidSettings.self) { try read(json) }
        #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    }

    @Test func aSecretIsNotInTheErrorAboutIt() {
        let error = #expect(throws: InvalidSettings.self) { try read(["api_key": ["hunter2": 1]]) }
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func keysWithoutEffectAreNamed() throws {
        #expect(try read(["api_key": "k", "old": true]).warnings == ["config: `old` has no effect: replaced by `mode`"])
    }
}
