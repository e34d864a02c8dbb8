import IIIConfiguration
import Testing

@Suite struct ConfigurationDiffTests {
    static let base = "workers:\n  - name: iii-http\n    config: {port: 1, host: a}\n  - name: iii-cron\n"

    @Test(arguments: [
        "# comment\n\nworkers:\n  - name: iii-cron\n  - name: iii-http\n    config:\n      host: a\n      port: 1\n",
        "workers: [{name: iii-http, config: {host: a, port: 0x1}, worker_path: x}, {name: iii-cron, config: ~}]",
    ]) func formattingChangesNothing(text: String) throws {
        let diff = ConfigurationDiff(from: try load(Self.base), to: try load(text))
        #expect(diff.isEmpty)
    }

    @Test func namesWhatChanged() throws {
        let diff = ConfigurationDiff(
            from: try load(Self.base), to: try load("workers: [{name: iii-http, config: {port: 2, host: a}}, {name: iii-queue}]"))
        #expect(diff.changed == ["iii-http"])
        #expect(diff.added == ["iii-queue"])
        #expect(diff.removed == ["iii-cron"])
        #expect(diff.summary == "reload: diff +1 added, -1 removed, ~1 changed (0 revived), =3 unchanged")
    }

    @Test(arguments: ["restart: never", "env: {A: b}", "stop_timeout_ms: 5", "critical: true", "depends_on: iii-http"])
    func settingsOfAnEntryCount(setting: String) throws {
        let diff = ConfigurationDiff(from: try load(Self.base), to: try load(Self.base + "    \(setting)\n"))
        #expect(diff.changed == ["iii-cron"])
    }

    @Test func variablesAreComparedExpanded() throws {
        let text = "workers: [{name: iii-http, config: {port: ${P}}}]"
        #expect(ConfigurationDiff(from: try load(text, ["P": "1"]), to: try load(text, ["P": "2"])).changed == ["iii-http"])
    }
}
