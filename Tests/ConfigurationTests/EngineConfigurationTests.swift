import IIIConfiguration
import IIIProtocol
import IIISettings
import Testing

func load(_ text: String, _ environment: [String: String] = [:]) throws(ConfigurationErrors) -> EngineConfiguration {
    try EngineConfiguration.load(
        text: text, path: "config.yaml", environment: environment, engineVersion: "9.9.9", context: SettingContext())
}

@Suite struct EngineConfigurationTests {
    // MARK: What is accepted

    @Test(arguments: ["", "# nothing\n", "workers:\n", "workers: ~\nmodules: null\n", "workers: []", "---\n"])
    func emptyFilesHaveNoEntriesButTheMandatoryOnes(text: String) throws {
        let configuration = try load(text)
        #expect(configuration.entries.map(\.id) == ["iii-worker-manager", "iii-engine-functions", "iii-observability"])
        #expect(configuration.entries.allSatisfy { !$0.isExplicit })
        #expect(configuration.enginePort == 49134)
    }

    @Test func modulesComeAfterWorkers() throws {
        let configuration = try load("modules:\n  - name: iii-cron\nworkers:\n  - name: iii-http\n")
        #expect(configuration.entries.prefix(2).map(\.id) == ["iii-http", "iii-cron"])
        #expect(configuration.entry("iii-cron")?.line == 2)
    }

    @Test func repeatedNamesAreNumberedAndAliasesResolved() throws {
        let configuration = try load(
            "workers: [{name: iii-worker-manager}, {name: iii-worker-manager, config: {port: 49135}}, {name: http}, {name: iii-stream#x}]")
        #expect(configuration.entries.prefix(4).map(\.id) == ["iii-worker-manager", "iii-worker-manager#1", "iii-http", "iii-stream#x"])
        #expect(configuration.entry("iii-http")?.name == "http")
        #expect(configuration.entry("iii-stream#x")?.typeName == "iii-stream")
        #expect(configuration.entries(ofType: "iii-worker-manager").map { $0.address?.port } == [49134, 49135])
    }

    @Test func expandedScalarsTakeTheirYAMLType() throws {
        let text = "workers:\n  - name: iii-http\n    config: {port: ${P:3111}, trust_proxy: ${T:true}, host: ${H:localhost}}\n"
        #expect(try load(text).entry("iii-http")?.config == ["port": 3111, "trust_proxy": true, "host": "localhost"])
        #expect(try load(text, ["P": "80"]).entry("iii-http")?.config?["port"] == 80)
    }

    static let scalars: [(String, JSONValue)] = [
        ("yes", "yes"), ("off", "off"), ("True", true), ("FALSE", false), ("~", nil), ("", nil), ("0x1F", 31), ("0o17", 15), ("+5", 5),
        ("-7", -7), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("\"1\"", "1"), ("'true'", "true"), ("!!str 5", "5"), ("1.2.3", "1.2.3"),
        ("2024-01-01", "2024-01-01"), ("nan", "nan"), ("0x", "0x"), ("1_000", "1_000"), ("|\n        text\n", "text\n"),
    ]

    @Test(arguments: scalars) func scalarsFollowYAML12(text: String, expected: JSONValue) throws {
        let configuration = try load("workers:\n  - name: mine\n    exec: ./mine\n    config:\n      value: \(text)\n")
        #expect(configuration.entry("mine")?.config?["value"] == expected)
    }

    @Test func anchorsWorkAndMergeKeysAreKeys() throws {
        let configuration = try load(
            "workers:\n  - name: mine\n    exec: ./a\n    config: {a: &x {k: 1}, b: *x, <<: 2}\n")
        #expect(configuration.entry("mine")?.config == ["a": ["k": 1], "b": ["k": 1], "<<": 2])
    }

    @Test func entrySettingsAreRead() throws {
        let entry = try #require(
            try load(
                """
                workers:
                  - name: mine
                    exec: [python3, worker.py]
                    restart: {policy: on-failure, delay_ms: 50, max_restarts: 3, give_up: true}
                    resources: {nofile: 4096, memory_max_mb: 100, nice: 5}
                    depends_on: [queue]
                    env: {A: b, N: 1, T: true}
                    stop_timeout_ms: 1500
                    startup_timeout_ms: 2500
                    critical: true
                    worker_path: ./elsewhere
                  - name: iii-queue
                """
            ).entry("mine"))
        #expect(entry.exec == .arguments(["python3", "worker.py"]))
        #expect(entry.restart.policy == .onFailure)
        #expect(entry.restart.delay == .milliseconds(50))
        #expect(entry.restart.maximumRestarts == 3)
        #expect(entry.restart.givesUp && entry.restart.isCritical)
        #expect(entry.resources == .init(openFiles: 4096, memoryMaximumMiB: 100, niceness: 5))
        #expect(entry.dependsOn == ["queue"])
        #expect(entry.environment == ["A": "b", "N": "1", "T": "true"])
        #expect(entry.stopTimeout == .milliseconds(1500) && entry.startupTimeout == .milliseconds(2500))
        #expect(entry.readiness == .alive)
    }

    @Test func aFirstPauseAboveTheLongestOneIsWarnedAbout() throws {
        let cut = try load("workers:\n  - name: mine\n    exec: ./mine\n    restart: {delay_ms: 60000}\n")
        #expect(
            cut.warnings.map(\.message) == ["mine.restart.delay_ms: the first pause is cut to max_delay_ms (30000); raise that too"])
        let sound = try load("workers:\n  - name: mine\n    exec: ./mine\n    restart: {delay_ms: 60000, max_delay_ms: 60000}\n")
        #expect(sound.warnings.isEmpty)
    }

    @Test func keysThatActOnNothingAreWarnedAboutByName() throws {
        let configuration = try load(
            """
            registration_namespace_grace_ms: 10
            workers:
              - name: iii-http
                restrat: never
                environment: {A: b}
                health: {path: /x}
              - name: iii-telemetry
                config: {enabled: true, sdk_api_key: k}
              - name: iii-engine-functions
                config: {whatever: 1}
            """)
        let messages = configuration.warnings.map(\.description)
        for part in [
            "line 4: iii-http: `restrat` has no effect", "did you mean `restart`", "line 5: iii-http: `environment` has no effect",
            "iii-http: `health` has no effect", "line 8: iii-telemetry.config: `enabled`, `sdk_api_key` have no effect",
            "line 10: iii-engine-functions.config: `whatever` has no effect",
            "line 1: file: `registration_namespace_grace_ms` has no effect",
        ] {
            #expect(messages.contains { $0.contains(part) }, "\(part) in \(messages)")
        }
    }

    @Test func graceComesFromTheFileOrTheEnvironment() throws {
        let variable = ["III_NAMESPACE_GRACE_MS": "20"]
        #expect(try load("registration_namespace_grace_ms: 10", variable).registrationNamespaceGrace == .milliseconds(10))
        #expect(try load("", variable).registrationNamespaceGrace == .milliseconds(20))
        let error = #expect(throws: ConfigurationErrors.self) { try load("", ["III_NAMESPACE_GRACE_MS": "soon"]) }
        #expect(error?.description.contains("III_NAMESPACE_GRACE_MS") == true)
    }

    @Test func textIsTakenAsItIsWritten() throws {
        let entry = try #require(
            try load(
                """
                workers:
                  - name: iii-exec
                    env: {ZIP: ${ZIP}, PRICE: 1.50, LONG: 12345678901234567890, EMPTY: , NULL: null, HEX: 0x1F, YES: yes, QUOTED: "00770"}
                    config:
                      exec: [{command: run, env: {ZIP: 00770, ON: true, NONE: ~}}]
                """, ["ZIP": "00770"]
            ).entry("iii-exec"))
        #expect(
            entry.environment == [
                "ZIP": "00770", "PRICE": "1.50", "LONG": "12345678901234567890", "EMPTY": "", "NULL": "", "HEX": "0x1F", "YES": "yes",
                "QUOTED": "00770",
            ])
        let commands = try #require(entry.values)[ExecSettings.commands]
        #expect(commands.first?.environment == ["ZIP": "00770", "ON": "true", "NONE": ""])
    }

    @Test(arguments: ["workers: [{name: iii-http}]", "# x\nworkers: [{name: iii-http}]", "modules: []\nworkers: [{name: iii-http}]"])
    func aByteOrderMarkIsNoPartOfTheFirstKey(text: String) throws {
        #expect(try load("\u{FEFF}" + text).entries.first?.id == "iii-http")
    }

    @Test func quotedNumbersAreNumbersWhereNumbersAreWanted() throws {
        let text = "workers: [{name: iii-http, config: {port: '3111', trust_proxy: 'true', access_log_sample: '0.5'}}]"
        #expect(try load(text).entry("iii-http")?.config == ["port": 3111, "trust_proxy": true, "access_log_sample": 0.5])
    }

    @Test func publicAddressesWithoutAuthenticationAreWarnedAbout() throws {
        let configuration = try load(
            """
            workers:
              - {name: iii-http, config: {host: 0.0.0.0}}
              - {name: iii-stream, config: {host: 0.0.0.0, auth_function: a::b}}
            """)
        let exposed = configuration.warnings.filter { $0.message.contains("without authentication") }
        #expect(exposed.count == 1)
        #expect(exposed.first?.message.contains("iii-http listens on 0.0.0.0:3111") == true)
    }

    // MARK: What is refused

    static let refusals: [(String, Int?, String)] = [
        ("port: 49134", 1, "unknown field `port`"),
        ("port: 49134", 1, "`config.port` of the `iii-worker-manager` entry"),
        ("wokers: []", 1, "did you mean `workers`?"),
        ("- a\n- b", 1, "Failed to parse config file 'config.yaml'"),
        ("workers: {a: b", 2, "Failed to parse config file 'config.yaml'"),
        ("workers:\n  - class: modules::api", 2, "missing field `name`"),
        ("workers: 5", 1, "`workers` must be a list"),
        ("workers: [5]", 1, "an entry must be a map"),
        (
            "workers:\n  - name: iii-http\n    image: x/y", 3,
            "Worker 'iii-http' is a built-in worker and cannot have an 'image' field. Remove 'image' or use a different name."
        ),
        ("workers:\n  - name: iii-htpp", 2, "did you mean 'iii-http'?"),
        ("workers:\n  - name: quue", 2, "did you mean 'queue'?"),
        ("workers:\n  - name: my-worker", 2, "`exec:`"),
        ("workers:\n  - name: my-worker\n    exec: [a, null]", 3, "my-worker.exec[1]: invalid value: null"),
        ("workers:\n  - name: iii-http\n    config:\n      prot: 1", 4, "iii-http.config: unknown field `prot`"),
        (
            "workers:\n  - name: iii-http\n    config:\n      port: abc", 4,
            "invalid value: string \"abc\", expected an integer from 0 to 65535"
        ),
        ("workers:\n  - name: iii-http\n    config: {port: 70000}", 3, "expected an integer"),
        ("workers:\n  - name: iii-cron\n    config: {adapter: {name: rediss}}", 3, "did you mean `redis`?"),
        ("workers:\n  - name: iii-cron\n    config: {adapter: {}}", 3, "missing field `name`"),
        ("workers:\n  - name: iii-bridge\n    config: {urll: x}", 3, "unknown field `urll`"),
        ("workers:\n  - name: iii-exec", 2, "missing `config`"),
        ("workers:\n  - name: iii-queue\n    config: {queue_configs: {a: {type: fifo}}}", 3, "message_group_field"),
        ("workers:\n  - name: iii-http\n    restart: sometimes", 3, "expected one of"),
        ("workers:\n  - name: iii-http\n    depends_on: nobody", 2, "no entry 'nobody'"),
        ("workers:\n  - {name: a, exec: x, depends_on: b}\n  - {name: b, exec: x, depends_on: a}", 2, "circle: a → b → a"),
        (
            "workers:\n  - name: iii-cron\n  - name: cron", 2,
            "'iii-cron' is the deprecated name for 'cron', but both are present. Remove 'iii-cron' from your configuration."
        ),
        ("workers:\n  - name: iii-worker-manager\n    config: {rbac: {expose_functions: ['api::*']}}", 3, "expected match(\"pattern\")"),
        ("workers:\n  - name: iii-engine-functions\n    exec: ./x", 3, "no executable of its own"),
        ("a: 1\na: 2", nil, "duplicate key `a`"),
        (
            "workers:\n  - name: iii-http\n    config: {cors: {allow_credentials: true}}", 3,
            "iii-http.config.cors.allow_credentials: needs a list"
        ),
        ("workers:\n  - name: iii-http\n    config:\n      openapi_path: openapi.json", 4, "expected a path such as /openapi.json"),
        ("workers:\n  - name: iii-http\n    config:\n      host: http://x", 4, "without scheme and port"),
        ("workers:\n  - name: iii-http\n    config:\n      port: 1\n      host: x:80", 5, "without scheme and port"),
        ("workers:\n  - name: iii-http\n    config:\n      tls:\n        cert_file: a", 5, "missing field `key_file`"),
        ("workers:\n  - name: iii-http\n    config: {request_id_header: Content-Length}", 3, "expected a header name"),
        (
            "workers:\n  - name: iii-http-functions\n    config: {security: {url_allowlist: ['[']}}", 3,
            "url_allowlist[0]: '[' has a '[' without ']'"
        ),
        ("workers:\n  - name: iii-exec\n    config: {exec: []}", 3, "at least one command"),
        ("workers:\n  - name: mine\n    core_worker: true", 2, "`exec:`"),
        ("workers:\n  - name: iii-http\n    core_worker: true", 3, "needs `exec`"),
        ("workers:\n  - class: modules::api::RestApiModule", 2, "write `name: iii-http`"),
        (
            "workers:\n  - name: iii-observability\n    config: {alerts: [{name: a, metric: m, threshold: 1, action: {type: webhook}}]}", 3,
            "needs `url`"
        ),
    ]

    @Test(arguments: [
        ("rbac: {auth_function_id: a::b}", false), ("rbac: {}", true), ("middleware_function_id: a::b", true),
    ])
    func whoMayConnectIsAskedByAnAuthFunctionAlone(_ rule: String, _ warns: Bool) throws {
        let configuration = try load("workers:\n  - name: iii-worker-manager\n    config: {host: 0.0.0.0, \(rule)}")
        let warnings = configuration.warnings.map(\.message)
        #expect(warnings.contains { $0.contains("listens on 0.0.0.0") && $0.contains("without authentication") } == warns)
    }

    @Test(arguments: [
        ("rbac: {auth_funtion_id: a::b}", "auth_function_id"), ("rbac: {auth_function_id: 'core::x'}", "core::x"),
        ("middleware_function_id: 'builtin::x::y'", "builtin::x::y"), ("rbac: {expose_functions: [plain]}", "match("),
        ("rbac: {expose_functions: [{metadata: {}}]}", "needs `match` or `metadata`"),
        ("rbac: {expose_functions: [{match: a, namespce: b}]}", "namespace"),
    ])
    func misspeltAccessRulesAreErrors(_ rule: String, _ hint: String) throws {
        #expect {
            try load("workers:\n  - name: iii-worker-manager\n    config: {\(rule)}")
        } throws: { "\($0)".contains(hint) }
    }

    /// As they come from editors, other formats, and by mistake.
    static let oddities: [(text: String, line: Int, message: String)] = [
        ("workers:\n\t- name: iii-http", 2, "begins with a tab"), ("workers:\n  - name: iii-http\u{200B}", 2, #"\u200b"#),
        ("workers:\n  - name:\u{A0}iii-http", 2, #"name:\u00a0iii-http"#), ("workers:\n  - name: \"\\e[2Jx\"", 2, #"\u001b[2Jx"#),
        ("workers:\n  - name: \"a\\nb\"\n    exec: x", 2, "name: invalid value"),
        ("workers:\n  - name: a/b\n    exec: x", 2, "without blanks"),
        ("workers:\n  - name: '#1'\n    exec: x", 2, "does not begin with `#`"),
        ("workers:\n  - name: a\n    exec: [x, \"a\\0b\"]", 3, "NUL"), ("workers:\n  - name: iii-http\n    \"a\\0\": 1", 3, "NUL"),
        ("workers:\n  - name: a\n    exec: x\n    env: {'A=B': c}", 4, "a.env.A=B: no name of an environment variable"),
        ("workers:\n  - name: iii-exec\n    config: {exec: [{command: x, env: {'': c}}]}", 3, "no name of an environment variable"),
        ("workers:\n  - name: iii-http\n    config: {port: 1e3}", 3, "number `1e3`"),
        ("workers:\n  - name: iii-http\n    config: {port: 1_000}", 3, "write it without `_`"),
        ("workers:\n  - name: iii-http\n    config: {default_timeout: 30s}", 3, "(ms); write the number alone"),
        ("workers:\n  - name: iii-http\n    config: {body_limit: 99999999999999999999}", 3, "`99999999999999999999`"),
        ("workers:\n  - name: iii-http\n    config: {access_log_sample: .nan}", 3, "number `.nan`"),
        ("workers:\n  - name: iii-http\n    config: {port: 1, port: 2}", 3, "duplicate key `port`"),
        ("workers:\n  - name: iii-http\n    config: {<<: {port: 1}}", 3, "unknown field `<<`"),
        ("workers:\n  - *none", 2, "undefined alias"), ("workers: []\n---\nworkers: []", 2, "another document"),
        ("workers:\r\n  - name: iii-http\r\n    config:\r\n      port: x\r\n", 4, "port: invalid value"),
    ]

    @Test(arguments: oddities) func oddFilesAreRefusedWithLineAndReason(text: String, line: Int, message: String) throws {
        try refuses(text: text, line: line, message: message)
    }

    @Test(arguments: [
        "port: 'redis://u:hunter2@h'", "error_format: sk_live_hunter2hunter2", "host: 'http://u:hunter2@h'", "port: \"a\\nhunter2\"",
        "not_found_function: 'core::token=hunter2'", "tls: {cert_file: 'redis://u:hunter2@h', key_file: y}",
        "trust_proxy: --password=hunter2",
    ]) func aMisplacedSecretIsNotInTheError(config: String) throws {
        let error = #expect(throws: ConfigurationErrors.self) {
            try EngineConfiguration.load(
                text: "workers:\n  - name: iii-http\n    config: {\(config)}", path: "c", environment: [:], engineVersion: "1",
                context: SettingContext(unreadable: { _ in "No such file" }))
        }
        #expect(error?.description.contains("hunter2") == false, "\(error?.description ?? "")")
    }

    @Test func variablesThatTheCoreSetsAreNamed() throws {
        let configuration = try load("workers:\n  - name: a\n    exec: x\n    env: {III_URL: ws://x, MINE: y}")
        #expect(configuration.warnings.map(\.message) == ["a.env.III_URL: has no effect: the core sets it"])
    }

    @Test(arguments: refusals) func refuses(text: String, line: Int?, message: String) throws {
        let error = #expect(throws: ConfigurationErrors.self) { try load(text) }
        let problem = error?.problems.first { $0.message.contains(message) }
        #expect(problem != nil, "got: \(error?.description ?? "")")
        if let line { #expect(problem?.line == line) }
    }

    @Test func reportsEverythingAtOnceInOrderOfLines() throws {
        let error = #expect(throws: ConfigurationErrors.self) {
            try load("workers:\n  - name: iii-htpp\n  - name: iii-http\n    config: {prot: 1, hosst: 2}\nport: 1\n")
        }
        let lines = error?.description.split(separator: "\n") ?? []
        #expect(lines.count == 4)
        #expect(lines.first?.hasPrefix("Error: config.yaml:2: unknown worker 'iii-htpp'") == true)
        #expect(lines.last?.contains("config.yaml:5: ") == true)
    }

    @Test func errorsDoNotShowSecrets() throws {
        let error = #expect(throws: ConfigurationErrors.self) {
            try load("workers:\n  - name: iii-telemetry\n    config: {sdk_api_key: [12345]}")
        }
        #expect(error?.description.contains("12345") == false)
    }

    @Test func aNestOfAliasesIsRefused() throws {
        let levels = (1...9).map { "l\($0): &l\($0) [\(Array(repeating: "*l\($0 - 1)", count: 10).joined(separator: ","))]" }
        let error = #expect(throws: ConfigurationErrors.self) { try load("l0: &l0 x\n" + levels.joined(separator: "\n")) }
        #expect(error?.description.contains("aliases") == true)
    }

    @Test func missingFileHasTheExactText() {
        #expect(
            ConfigurationErrors.notFound(path: "config.yaml").description
                == "Error: Config file not found: 'config.yaml'.\nHint: create a config.yaml or pass --use-default-config to run with defaults."
        )
    }
}
