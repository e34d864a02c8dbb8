import IIIProtocol
import NIOCore
import Testing

@testable import IIIHTTPGateway

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
            (["tls": ["cert_file": "a"]], "tls.key_file is missing"), (["tls": [:]], "tls.cert_file is missing"),
            (["tls": ["cert_file": "a", "key_file": "b", "min_version": "1.1"]], "tls.min_version must be \"1.2\" or \"1.3\""),
            (["tls": ["cert_file": "a", "key_file": "b", "ciphers": "x"]], "unknown key 'tls.ciphers'; remove it or correct its spelling"),
            (["porrt": 1], "unknown key 'porrt'; remove it or correct its spelling"),
            (["cors": ["origins": []]], "unknown key 'cors.origins'; remove it or correct its spelling"),
            (["port": "abc"], "port must be an integer from 0 to 65535"), (["port": 70000], "port must be an integer from 0 to 65535"),
            (["error_format": "xml"], "error_format must be flat or envelope"), (["cors": 1], "cors must be a map"),
            (["cors": ["allowed_origins": ["a", 1]]], "cors.allowed_origins must be a list of texts"), ([1], "config must be a map"),
            (["middleware": [["function_id": "auth", "phase": "onError"]]], "middleware[0].phase must be preHandler"),
            (
                ["middleware": [["function_id": "auth", "prioritty": 1]]],
                "unknown key 'middleware[0].prioritty'; remove it or correct its spelling"
            ),
            (["middleware": [["priority": 1]]], "middleware[0].function_id is missing"), (["middleware": 1], "middleware must be a list"),
            (["request_id_header": "Content-Length"], "request_id_header must be a header name, or null for none"),
            (["request_id_header": "a b"], "request_id_header must be a header name, or null for none"),
            (["health_path_prefix": "internal"], "health_path_prefix must be a path that starts with a slash"),
            (["openapi_path": ""], "openapi_path must be a path such as /openapi.json"),
            (["access_log_sample": 2], "access_log_sample must be a number from 0 to 1"),
            (["compression": "br"], "compression must be off or gzip"),
            (["stream_body_limit": "1MB"], "stream_body_limit must be an integer from 0 to 1125899906842624"),
            (
                ["cors": ["allow_credentials": true]],
                "cors.allow_credentials needs a list of origins in cors.allowed_origins: browsers refuse '*'"
            ),
        ] as [(JSONValue, String)])
    func refuses(_ json: JSONValue, _ message: String) {
        #expect(throws: HTTPConfigurationError(message)) { try HTTPConfiguration(json: json) }
    }

    @Test func zeroConcurrencyWarns() throws {
        let configuration = try HTTPConfiguration(json: ["concurrency_request_limit": 0])
        #expect(configuration.concurrencyLimit == 1)
        #expect(configuration.warnings.count == 1)
    }
}
