import Testing

@testable import IIIServer

@Suite struct OriginPolicyTests {
    @Test(
        arguments: [
            ("localhost", "localhost"), ("LOCALHOST:49134", "localhost"), ("[::1]:80", "::1"), ("[::1]", "::1"),
            ("a.example.", "a.example"),
            ("10.0.0.1:1", "10.0.0.1"), ("x", "x"), ("x:", "x"), ("a_b", "a_b"), ("x y", nil), ("", nil), (":80", nil), ("x:http", nil),
            ("x:123456", nil), ("[::1", nil), ("[::1]x", nil), ("[]", nil), ("[g]", nil), ("a/b", nil), ("u@h", nil), ("a\"b", nil),
            ("a,b c", nil), ("é", nil),
        ] as [(String, String?)])
    func hostHeaders(_ text: String, _ name: String?) {
        #expect(HostName(header: text)?.name == name)
    }

    private func objection(
        _ policy: OriginPolicy, _ host: String, _ origin: String?, loopback: Bool = true
    ) throws -> OriginPolicy.Objection? {
        policy.objection(
            host: try #require(HostName(header: host)), origin: origin, bindsLoopback: loopback, arrivesOnLoopback: loopback)
    }

    @Test(arguments: [
        "localhost:49134", "127.0.0.1:49134", "[::1]:49134", "engine", "host.docker.internal:49134", "192.168.1.7", "a.localhost",
    ])
    func withoutAnOriginNobodysPageIsInvolved(_ host: String) throws {
        #expect(try objection(OriginPolicy(), host, nil) == nil)
    }

    @Test(
        arguments: [
            ("localhost:49134", "http://localhost:3000"), ("localhost:49134", "https://LOCALHOST"),
            ("127.0.0.1:49134", "http://localhost:5173"),
            ("[::1]:49134", "http://127.0.0.1"), ("10.0.0.7:49134", "http://10.0.0.7:8080"),
        ])
    func pagesOfTheSameHostMayConnectFromAnyPort(_ host: String, _ origin: String) throws {
        #expect(try objection(OriginPolicy(), host, origin) == nil)
    }

    @Test(
        arguments: [
            "http://evil.example", "https://localhost.evil.example", "http://127.0.0.1.evil.example", "null", "http://192.168.1.1",
            "file://",
            "", "garbage", "http://", "http://localhost@evil.example", "http://evil.example:49134", "chrome-extension://abcdef",
        ])
    func foreignPagesMayNot(_ origin: String) throws {
        #expect(try objection(OriginPolicy(), "localhost:49134", origin) == .origin(origin))
        #expect(try objection(OriginPolicy(), "engine.example:49134", origin, loopback: false) == .origin(origin))
    }

    @Test func aStrangersNameForLoopbackIsRefusedEvenAsTheSameHost() throws {
        let policy = OriginPolicy()
        #expect(try objection(policy, "evil.example:49134", "http://evil.example:49134") == .host("evil.example"))
        #expect(try objection(policy, "evil.example", nil) == .host("evil.example"))
        // A listener for everybody does not know its names; what reaches it over loopback from a page is still suspicious.
        let host = try #require(HostName(header: "evil.example"))
        #expect(policy.objection(host: host, origin: nil, bindsLoopback: false, arrivesOnLoopback: true) == nil)
        #expect(
            policy.objection(host: host, origin: "http://evil.example", bindsLoopback: false, arrivesOnLoopback: true)
                == .host("evil.example"))
        #expect(policy.objection(host: host, origin: "http://evil.example", bindsLoopback: false, arrivesOnLoopback: false) == nil)
    }

    @Test func allowedOriginsAreComparedAsOrigins() throws {
        let policy = OriginPolicy(allowedOrigins: ["https://App.example.com/", "http://one.example:8080", "null", "http://[fe80::1]"])
        for origin in ["https://app.example.com", "https://APP.example.com:443", "http://one.example:8080", "null", "http://[FE80::1]:80"] {
            #expect(try objection(policy, "localhost", origin) == nil, "\(origin)")
        }
        for origin in ["http://app.example.com", "https://app.example.com:8443", "http://one.example", "https://x.app.example.com"] {
            #expect(try objection(policy, "localhost", origin) == .origin(origin), "\(origin)")
        }
        #expect(try objection(policy, "app.example.com", nil) == nil, "the name of a proxy that is allowed")
        #expect(try objection(policy, "other.example.com", nil) == .host("other.example.com"))
        #expect(try objection(OriginPolicy(allowedOrigins: ["*"]), "evil.example", "http://evil.example") == nil)
    }
}
