import IIIConfiguration
import IIISettings
import Testing

@testable import IIISupervision

@Suite struct PlanTests {
    static func plan(_ text: String, built: Set<String> = ["/opt/iii/iii-http", "/opt/iii/iii-stream", "/usr/bin/env"]) throws -> FleetPlan
    {
        let configuration = try EngineConfiguration.load(text: text, path: "config.yaml", environment: [:], engineVersion: "1")
        return try FleetPlan.make(configuration: configuration, lookup: lookup(built))
    }

    static func lookup(_ built: Set<String>) -> ExecutableLookup {
        ExecutableLookup(directory: "/opt/iii", searchPath: "/bin:/usr/bin") { built.contains($0) }
    }

    @Test func rolesShareExecutables() throws {
        let plan = try Self.plan("workers: [{name: iii-stream}, {name: iii-state}, {name: iii-http-functions}]")
        #expect(plan.children.map(\.role) == ["stream", "state", "outbound"])
        #expect(plan.children[1].program == .executable(path: "/opt/iii/iii-stream", arguments: []))
        #expect(plan.children[0].listener == .init(name: "stream", host: "127.0.0.1", port: 3112))
        #expect(plan.children[1].listener == nil)
        #expect(plan.unavailable == ["iii-observability"])
    }

    @Test func missingExecutablesAreNamedWithTheCure() throws {
        let error = #expect(throws: ConfigurationErrors.self) { try Self.plan("workers:\n  - name: iii-cron\n  - name: iii-queue\n") }
        #expect(error?.problems.map(\.line) == [2, 3])
        #expect(error?.problems.first?.message.contains("'/opt/iii/iii-cron'") == true)
        #expect(error?.problems.first?.message.contains("swift build --product iii-cron") == true)
    }

    @Test func execReplacesPrograms() throws {
        let plan = try Self.plan(
            "workers: [{name: iii-queue, exec: env}, {name: a, exec: [env, python3, w.py]}, {name: b, exec: python3 w.py}]")
        #expect(plan.children[0].program == .executable(path: "/usr/bin/env", arguments: []))
        #expect(plan.children[0].role == "queue" && plan.children[0].entry.readiness == .reported)
        #expect(plan.children[1].program == .executable(path: "/usr/bin/env", arguments: ["python3", "w.py"]))
        #expect(plan.children[2].program == .executable(path: "/bin/sh", arguments: ["-c", "exec python3 w.py"]))
        #expect(plan.children[2].role == "custom")
        #expect(throws: ConfigurationErrors.self) { try Self.plan("workers: [{name: a, exec: nowhere}]") }
    }

    @Test func onlyAndExceptSelect() throws {
        let configuration = try EngineConfiguration.load(
            text: "workers: [{name: iii-http}, {name: iii-stream}]", path: "c", environment: [:], engineVersion: "1")
        let lookup = Self.lookup(["/opt/iii/iii-http", "/opt/iii/iii-stream"])
        let only = try FleetPlan.make(configuration: configuration, lookup: lookup, only: ["http"])
        #expect(only.children.map(\.isEnabled) == [true, false])
        let except = try FleetPlan.make(configuration: configuration, lookup: lookup, except: ["iii-http"])
        #expect(except.children.map(\.isEnabled) == [false, true])
        #expect(throws: ConfigurationErrors.self) { try FleetPlan.make(configuration: configuration, lookup: lookup, only: ["htpp"]) }
    }

    @Test func ignoredEntriesGetARemark() throws {
        let plan = try Self.plan("workers: [{name: iii-telemetry}]")
        #expect(plan.children.isEmpty && plan.remarks.count == 1)
    }

    /// What the check calls without effect has none.
    @Test(arguments: EnvironmentRule.reserved) func variablesOfTheCoreAreNotOverridden(name: String) throws {
        let plan = try Self.plan("workers: [{name: iii-exec, env: {\(name): mine}, config: {exec: [a]}}]")
        let environment = ChildEnvironment(inherited: [:], engine: EngineAddress(url: "ws://e", port: 1), enginePID: 7)
        let variables = environment.variables(for: plan.children[0], spawnID: "s", hasSecret: false, listenerName: nil)
        #expect(variables.contains { $0.hasPrefix("\(name)=") } && !variables.contains("\(name)=mine"))
    }

    @Test func childrenSeeOnlyWhatIsTheirs() throws {
        let plan = try Self.plan("workers: [{name: iii-http, env: {MINE: 1}}, {name: iii-exec, config: {exec: [a]}}]")
        let environment = ChildEnvironment(
            inherited: [
                "PATH": "/bin", "NOTIFY_SOCKET": "/x", "LISTEN_FDS": "2", "WATCHDOG_USEC": "1", "JOURNAL_STREAM": "1:2",
                "III_BUILTIN_TOKEN": "old",
            ], engine: EngineAddress(url: "ws://e", port: 1), enginePID: 7)
        let builtIn = environment.variables(for: plan.children[0], spawnID: "7/iii-http/1", hasSecret: true, listenerName: "http")
        #expect(
            builtIn == [
                "III_BUILTIN_ROLE=http", "III_BUILTIN_TOKEN_FD=5", "III_ENGINE_PID=7", "III_ENGINE_URL=ws://e", "III_ENTRY_NAME=iii-http",
                "III_LIFELINE_FD=4",
                "III_LOG_STREAM=text", "III_SPAWN_ID=7/iii-http/1", "III_URL=ws://e", "LISTEN_FDNAMES=http", "LISTEN_FDS=1",
                "LISTEN_PID=\(ChildEnvironment.pidPlaceholder)", "MINE=1", "PATH=/bin",
            ])
        let user = environment.variables(for: plan.children[1], spawnID: "7/iii-exec/1", hasSecret: false, listenerName: nil)
        #expect(
            user == [
                "III_ENGINE_PID=7", "III_ENGINE_URL=ws://e", "III_ENTRY_NAME=iii-exec", "III_LIFELINE_FD=3", "III_SPAWN_ID=7/iii-exec/1",
                "III_URL=ws://e", "PATH=/bin",
            ])
    }

    @Test(arguments: [
        ("src/**/*.ts", "src/a.ts", true), ("src/**/*.ts", "src/x/y/a.ts", true), ("src/**/*.ts", "lib/a.ts", false),
        ("src/**/*.test.ts", "src/a.ts", false), ("**/*.ts", "a.ts", true), ("./**/*.ts", "b/a.ts", true), ("*.{ts,js}", "a.js", true),
        ("*.{ts,js}", "a.py", false), ("a?.ts", "ab.ts", true), ("a?.ts", "a.ts", false), ("**/*.ts", "node_modules/a.ts", false),
        ("Makefile", "Makefile", true), ("src/**", "src/a/b", true), ("src", "src/a/b.py", true), ("src/", "src/a", true),
        ("./src", "src/a", true), ("src", "srcs/a", false), (".", "a/b", true), ("src/*", "src/a/b", false), ("/src", "src/a", false),
        ("/src", "/src/a", true), ("src/{a,b}", "src/b/c", true), ("../lib", "../lib/x", true), ("src/a.ts", "src/a.ts", true),
        ("src", "src/node_modules/x", false),
    ]) func globs(pattern: String, path: String, matches: Bool) {
        #expect(WatchPattern(patterns: [pattern], ignored: ["node_modules"]).matches(path) == matches)
    }

    @Test func negationTakesAway() {
        let pattern = WatchPattern(patterns: ["src/**/*.ts", "!src/**/*.gen.ts"], ignored: [])
        #expect(pattern.matches("src/a.ts") && !pattern.matches("src/a.gen.ts"))
        #expect(pattern.roots == ["src"])
        let whole = WatchPattern(patterns: ["src", "!src/out"], ignored: [])
        #expect(whole.matches("src/a.ts") && !whole.matches("src/out/a.ts"))
    }

    @Test(arguments: [
        ("*.ts", "a", false), ("src/*.ts", "src", true), ("src/*.ts", "src/a", false), ("src/**/*.ts", "src/a/b", true),
        ("src", "src/a", true),
        ("src", "lib", false), ("src/a.ts", ".", true), ("src/*/x/*.ts", "src/a", true), ("src/*/x/*.ts", "src/a/y", false),
        ("**/*.ts", "node_modules", false),
    ]) func onlyDirectoriesThatCanMatchAreLookedInto(pattern: String, directory: String, mayMatch: Bool) {
        #expect(WatchPattern(patterns: [pattern], ignored: ["node_modules"]).mayMatch(below: directory) == mayMatch)
    }

    @Test(arguments: [
        ("src/**/*.ts", "src"), ("*.ts", "."), ("src", "src"), ("src/a.ts", "src/a.ts"), ("/src/**", "/src"), ("/**", "/"),
        ("./a/b/*.c", "a/b"),
    ]) func rootsEndBeforeTheFirstWildcard(pattern: String, root: String) {
        #expect(WatchPattern(patterns: [pattern], ignored: []).roots == [root])
    }

    @Test func aPatternThatCanMatchNothingIsNamed() {
        let pattern = WatchPattern(patterns: ["target/**/*.rs", "src"], ignored: ["target"])
        #expect(pattern.contradictions == ["watch: 'target/**/*.rs' matches nothing, because 'target' is in `ignore`"])
        #expect(pattern.roots == ["src"])
    }
}
