import IIIConfiguration
import IIIProtocol
import IIISettings
import Testing

@Suite struct CatalogueTests {
    /// A file with every documented key.
    static let everything = """
        registration_namespace_grace_ms: 5000
        workers:
          - name: iii-worker-manager
            config:
              host: 127.0.0.1
              port: 49134
              middleware_function_id: a::b
              handshake_timeout_ms: 10000
              invocation_policy: round_robin
              max_connections: 5
              rbac:
                auth_function_id: gate::auth
                expose_functions: ["match(\\"api::*\\")", "match('x')", {metadata: {public: true, tier: match("free*")}}]
                on_function_registration_function_id: a::b
                on_trigger_registration_function_id: a::b
                on_trigger_type_registration_function_id: a::b
          - name: iii-engine-functions
            config: {anything: goes}
          - name: iii-telemetry
            config: {enabled: true, sdk_api_key: x, heartbeat_interval_secs: 5, posthog_api_key: k, posthog_host: h}
          - name: iii-observability
            config:
              enabled: true
              service_name: iii
              service_version: 1.0
              service_namespace: ns
              exporter: both
              endpoint: http://localhost:4317
              sampling_ratio: 1.0
              sampling: {default: 0.5, parent_based: true, rules: [{operation: a, service: b, rate: 1}], rate_limit: {max_traces_per_second: 9}}
              memory_max_spans: 1000
              metrics_enabled: true
              metrics_exporter: memory
              metrics_retention_seconds: 3600
              metrics_max_count: 100
              logs_enabled: true
              logs_exporter: both
              logs_max_count: 1
              logs_retention_seconds: 1
              logs_batch_size: 1
              logs_flush_interval_ms: 1
              logs_sampling_ratio: 0.5
              logs_console_output: false
              alerts:
                - {name: a, metric: m, threshold: 5, operator: ">=", window_seconds: 1, cooldown_seconds: 2, enabled: false, action: {type: webhook, url: "http://u"}}
              level: info,iii=debug
              format: json
              live_spans: true
              trace_storage: {enabled: true, directory: d, max_disk_bytes: 67108864, retention_seconds: 1, memory_max_bytes: 16777216, memory_low_watermark_ratio: 0.5, pending_max_age_seconds: 1}
          - name: iii-http
            config:
              host: 127.0.0.1
              port: 3111
              default_timeout: 30000
              concurrency_request_limit: 1024
              cors: {allowed_origins: ["*"], allowed_methods: [GET, POST]}
              middleware: [{function_id: m::f, phase: preHandler, priority: -1}]
              body_limit: 1048576
              trust_proxy: false
              request_id_header: x-request-id
              ignore_trailing_slash: false
              not_found_function: n::f
              error_format: envelope
              invalid_json: reject
          - name: iii-stream
            config: {host: 127.0.0.1, port: 3112, auth_function: a::b, adapter: {name: kv, config: {store_method: file_based, junk: 1}}}
          - name: iii-state
            config: {adapter: {name: kv, config: {durability: normal}}, triggers_enabled: true, max_value_bytes: 1, save_interval_ms: 1}
          - name: iii-queue
            config:
              adapter: {name: builtin}
              queue_configs:
                q: {type: fifo, max_retries: 3, concurrency: 1, message_group_field: g, backoff_ms: 1, poll_interval_ms: 1, max_priority: 9, priority_field: p}
          - {name: iii-pubsub, config: {adapter: {name: local}}}
          - {name: iii-cron, config: {adapter: {name: kv, config: {lock_ttl_ms: 30000}}}}
          - {name: iii-http-functions, config: {security: {url_allowlist: [a], block_private_ips: false, require_https: false}}}
          - name: iii-bridge
            config:
              url: ws://h
              service_id: s
              service_name: n
              expose: [{local_function: l}]
              forward: [{local_function: l, remote_function: r, timeout_ms: 5}]
          - name: iii-exec
            config: {exec: [npm ci, {command: npm start, cwd: app, name: web, env: {A: 1}}], watch: ["src/**/*.ts"]}
          - {name: configuration, config: {adapter: {name: fs}, ttl_seconds: 0}}
        """

    @Test func everyDocumentedKeyLoads() throws {
        let configuration = try load(Self.everything)
        #expect(configuration.entries.count == WorkerCatalogue.types.count)
        #expect(configuration.logLevel == "info,iii=debug")
        #expect(configuration.logsAreJSON)
    }

    @Test func everyAliasLoads() throws {
        for (alias, name) in WorkerCatalogue.aliases where alias != "exec" {
            #expect(try load("workers: [{name: \(alias)}]").entries.first?.typeName == name)
        }
    }

    @Test func defaultsAreFilledIn() throws {
        let entry = try #require(try load("workers: [{name: iii-http, config: {cors: {allowed_origins: [a]}}}]").entry("iii-http"))
        let effective = entry.effectiveConfig
        #expect(effective["port"] == 3111)
        #expect(effective["host"] == "127.0.0.1")
        #expect(
            effective["cors"]
                == [
                    "allowed_origins": ["a"], "allowed_methods": [], "allowed_headers": [], "expose_headers": [],
                    "allow_credentials": false,
                ])
        #expect(effective["body_limit"] == 16_777_216)
    }

    @Test func defaultConfigurationHoldsWhatIsBuilt() {
        let configuration = EngineConfiguration.default(availableExecutables: ["iii-http"])
        #expect(configuration.entries.map(\.id) == ["iii-worker-manager", "iii-engine-functions", "iii-http"])
        #expect(configuration.unavailable == ["iii-observability", "iii-stream", "iii-state", "iii-queue", "iii-pubsub", "iii-cron"])
        #expect(configuration.entry("iii-http")?.address?.host == "127.0.0.1")
        #expect(configuration.warnings.isEmpty)
    }

    @Test(arguments: [("iii-htpp", "iii-http"), ("iii-crno", "iii-cron"), ("stat", "state"), ("redis", nil)])
    func suggestions(word: String, expected: String?) {
        #expect(EditDistance.nearest(to: word, among: WorkerCatalogue.allNames) == expected)
    }
}
