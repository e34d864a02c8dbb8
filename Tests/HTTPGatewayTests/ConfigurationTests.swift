import IIIProtocol
import IIISettings
import NIOCore
import Testing

@testable import IIIHTTPGateway

extension HTTPConfiguration {
    /// As the process reads it, with every file readable.
    init(json: JSONValue) throws(InvalidSettings) { self.init(try HTTPSettings.group.read(json, context: SettingContext())) }
}

@Suite struct HTTPConfigurationTests {
    @Test func defaults() throws {
        for json: JSONValue in [nil, [:]] {
            let configuration = try HTTPConfiguration(json: json)
            #expect(configuration.port == 3111)
            #expect(configuration.requestTimeout == .seconds(30))
            #expect(configuration.concurrencyLimit == 1024)
            #expect(configuration.concurrencyQueueLimit == 4096)
            #expect(configuration.bodyLimit == 16_777_216)
            #expect(configuration.cors == .permissive)
            #expect(!configuration.isPublic)
        }
    }

    @Test func readsKeys() throws {
        let configuration = try HTTPConfiguration(json: [
            "host": "0.0.0.0", "port": 0, "default_timeout": 5, "concurrency_request_limit": 2, "error_format": "envelope",
            "middleware": [],
            "request_id_header": "x-request-id", "not_found_function": nil, "null_result_grace_ms": 7, "invalid_json": "reject",
        ])
        #expect(configuration.isPublic)
        #expect(configuration.port == 0)
        #expect(configuration.concurrencyQueueLimit == 8)
        #expect(configuration.errorFormat == .envelope)
        #expect(configuration.nullResultGrace == .milliseconds(7))
        #expect(configuration.rejectsInvalidJSON)
    }

    @Test func readsTLS() throws {
        #expect(try HTTPConfiguration(json: ["tls": nil]).tls == nil)
        for version: JSONValue in ["1.3", 1.3] {
            let tls = try HTTPConfiguration(json: [
                "tls": ["cert_file": "a", "key_file": "b", "min_version": version, "client_ca_file": "c", "key_password_env": "D"]
            ]).tls
            #expect(tls?.minimumVersion == .tls13 && tls?.clientAuthorityFile == "c" && tls?.passwordVariable == "D")
        }
        #expect(try HTTPConfiguration(json: ["tls": ["cert_file": "a", "key_file": "b"]]).tls?.minimumVersion == .tls12)
    }

    @Test(
        arguments: [
            (["tls": ["cert_file": "a"]], "config.tls: missing field `key_file`"),
            (["tls": ["cert_file": "a", "key_file": "b", "min_version": "1.1"]], "config.tls.min_version: invalid value"),
            (["tls": ["cert_file": "a", "key_file": "b", "ciphers": "x"]], "config.tls: unknown field `ciphers`"),
            (["porrt": 1], "config: unknown field `porrt`"), (["cors": ["origins": []]], "config.cors: unknown field `origins`"),
            (["port": "abc"], "config.port: invalid value: string \"abc\", expected an integer from 0 to 65535"),
            (["port": 70000], "expected an integer from 0 to 65535"), (["error_format": "xml"], "expected one of `flat`, `envelope`"),
            (["cors": 1], "config.cors: invalid value: integer `1`, expected a map"),
            (["cors": ["allowed_origins": ["a", [:]]]], "config.cors.allowed_origins[1]: invalid value: map, expected a text"),
            ([1], "config: invalid value: list, expected a map"),
            (["middleware": [["function_id": "auth", "phase": "onError"]]], "config.middleware[0].phase: invalid value"),
            (["middleware": [["function_id": "auth", "prioritty": 1]]], "config.middleware[0]: unknown field `prioritty`"),
            (["middleware": [["priority": 1]]], "config.middleware[0]: missing field `function_id`"),
            (["middleware": 1], "config.middleware: invalid value"), (["request_id_header": "Content-Length"], "expected a header name"),
            (["request_id_header": "a b"], "expected a header name"),
            (["health_path_prefix": "internal"], "a path that starts with a slash"),
            (["openapi_path": ""], "a path such as /openapi.json"), (["access_log_sample": 2], "expected a number from 0 to 1"),
            (["compression": "br"], "expected one of `off`, `gzip`"), (["stream_body_limit": "1MB"], "expected an integer from 0"),
            (["cors": ["allow_credentials": true]], "needs a list of origins"), (["host": "http://x"], "without scheme and port"),
        ] as [(JSONValue, String)])
    func refuses(_ json: JSONValue, _ message: String) {
        let error = #expect(throws: InvalidSettings.self) { try HTTPConfiguration(json: json) }
        #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    }

    @Test func whatCannotStandInAHeaderIsLeftOutWithAWarning() throws {
        let configuration = try HTTPConfiguration(json: [
            "cors": ["allowed_origins": ["https://a", "b c"], "allowed_methods": ["GET", "P T"]]
        ])
        #expect(configuration.cors == CORSPolicy(allowedOrigins: ["https://a"], allowedMethods: ["GET"]))
        #expect(configuration.warnings.count == 2)
    }

    @Test func zeroConcurrencyWarns() throws {
        let configuration = try HTTPConfiguration(json: ["concurrency_request_limit": 0])
        #expect(configuration.concurrencyLimit == 1)
        #expect(configuration.warnings.count == 1)
    }
}
