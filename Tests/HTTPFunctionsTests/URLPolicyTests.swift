import IIIHTTPClient
import IIIProtocol
import IIISettings
import Testing

@testable import IIIHTTPFunctions

@Suite struct HTTPURLTests {
    @Test(arguments: [
        ("https://Example.COM", "https://example.com/"),
        ("HTTP://example.com:80/a?b#c", "http://example.com/a?b"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:8443/x", "https://example.com:8443/x"),
        ("https://example.com./x", "https://example.com/x"),
        ("https://example.com?q=1", "https://example.com/?q=1"),
        ("https://example.com:/", "https://example.com/"),
        ("https://[2001:DB8:0::1]:8443/", "https://[2001:db8::1]:8443/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        // Numeric hosts in every spelling
        ("http://2130706433/", "http://127.0.0.1/"), ("http://0x7f.1/", "http://127.0.0.1/"), ("http://0x7f000001", "http://127.0.0.1/"),
        ("http://0177.0.0.1/", "http://127.0.0.1/"), ("http://127.1/", "http://127.0.0.1/"), ("http://10.1.257/", "http://10.1.1.1/"),
        ("http://0/", "http://0.0.0.0/"), ("http://127.0.0.1./", "http://127.0.0.1/"), ("http://0X7F.0.0.0X1", "http://127.0.0.1/"),
        // Paths as the server will see them
        ("https://a.b/x/../y", "https://a.b/y"), ("https://a.b/x/./y/..", "https://a.b/x/"), ("https://a.b/../../y", "https://a.b/y"),
        ("https://a.b/x/%2e%2E/y", "https://a.b/y"), ("https://a.b/x%2Fy", "https://a.b/x%2Fy"), ("https://a.b//c/", "https://a.b//c/"),
        // A combining character hides no delimiter.
        ("https://a.b/v1/../\u{301}x", "https://a.b/%CC%81x"), ("https://a.b/x#\u{301}y", "https://a.b/x"),
        ("https://a.b/x?\u{301}y", "https://a.b/x?%CC%81y"), ("https://a.b/\u{301}", "https://a.b/%CC%81"),
        ("https://a.b/ü x?\"q\"", "https://a.b/%C3%BC%20x?%22q%22"),
    ])
    func normalizes(_ text: String, _ expected: String) throws {
        #expect(try HTTPURL(text).description == expected)
        #expect(try HTTPURL(expected).description == expected, "the normal form is its own")
    }

    @Test(arguments: [
        "", "example.com", "//example.com", "https:example.com", "https:/example.com", "https://", "https:///path", "://x",
        "https://user@example.com", "https://user:pass@example.com", "https://good.com@10.0.0.1/", "https://@example.com",
        #"https://good.com\@10.0.0.1"#, #"https:\\10.0.0.1"#, "https://exa mple.com", "https://example.com\r\nHost: x",
        "https://exam\tple.com",
        "https://example.com:0", "https://example.com:65536", "https://example.com:-1", "https://example.com:8a",
        "https://example.com:80:90",
        "https://[::1", "https://[::1]x", "https://[::1%25lo]/", "https://[1.2.3.4]/", "https://[]/", "https://::1/",
        "https://exämple.com", "https://user@\u{301}example.com", "https://a.b:\u{301}80/", "https:/\u{301}/a.b", "https://%31%30.0.0.1",
        "https://a..b", "https://.a", "https://a_b.c%00",
        "http://256.1.1.1", "http://1.2.3.4.5", "http://0x100000000", "http://4294967296", "http://1.2.0x", "http://08.1.1.1", "http://a.1",
    ])
    func refuses(_ text: String) {
        let isInvalid: Bool
        do throws(HTTPURL.Invalid) {
            _ = try HTTPURL(text)
            isInvalid = false
        } catch { isInvalid = error == .syntax }
        // `1.2.0x` is a spelling of 1.2.0.0, which is an address, too.
        #expect(isInvalid || text == "http://1.2.0x", "\(text)")
    }
}

@Suite struct GlobPatternTests {
    @Test(arguments: [
        ("*", ""), ("*", "anything"), ("a*c", "abbc"), ("a*c", "ac"), ("?", "x"), ("a?c", "abc"), ("[a-c]x", "bx"), ("[!a-c]x", "dx"),
        ("[]]", "]"), ("[a-]", "-"), ("**.b", "a.b"), ("*a*b*", "xaxbx"), ("a.b", "a.b"),
    ])
    func matches(_ pattern: String, _ text: String) throws { #expect(try GlobPattern(pattern).matches(text)) }

    @Test(arguments: [
        ("", "x"), ("a*c", "abd"), ("?", ""), ("?", "xy"), ("[a-c]x", "dx"), ("[!a-c]x", "ax"), ("*.example.com", "example.com"),
        ("a.b", "axb"), ("*ab", "abx"),
    ])
    func doesNotMatch(_ pattern: String, _ text: String) throws { #expect(try !GlobPattern(pattern).matches(text)) }

    @Test(arguments: ["[", "[a", "a[b", "[]", "[z-a]", "[!"])
    func invalid(_ pattern: String) { #expect(throws: GlobPattern.Invalid.self) { try GlobPattern(pattern) } }

    @Test func manyStarsDoNotExplode() throws {
        let pattern = try GlobPattern(String(repeating: "*a", count: 60) + "b")
        #expect(!pattern.matches(String(repeating: "a", count: 5000)))
    }
}

@Suite struct URLPolicyTests {
    private static func policy(_ allowlist: [String] = [], private isBlocked: Bool = true, https: Bool = true) throws -> URLPolicy {
        var policy = URLPolicy()
        policy.allowlist = try allowlist.map { try AllowedEndpoint($0) }
        policy.blocksPrivateAddresses = isBlocked
        policy.requiresHTTPS = https
        return policy
    }

    private static func verdict(_ policy: URLPolicy, _ url: String) -> String {
        do throws(InvocationError) {
            _ = try policy.check(url)
            return "ok"
        } catch {
            #expect(error.code == "url_validation_failed")
            return error.message
        }
    }

    @Test(arguments: [
        ("nonsense", "Invalid URL"), ("http://example.com", "HTTPS is required"), ("ftp://example.com", "HTTPS is required"),
        ("https://10.0.0.1", "Private IP blocked"), ("https://[::ffff:10.0.0.1]/", "Private IP blocked"),
        ("https://2130706433/", "Private IP blocked"), ("https://0x7f.1/", "Private IP blocked"), ("https://[::1]/", "Private IP blocked"),
        ("https://u@example.com", "Invalid URL"), ("https://example.com/x", "ok"), ("https://8.8.8.8/", "ok"),
    ])
    func defaults(_ url: String, _ expected: String) throws { #expect(try Self.verdict(Self.policy(), url) == expected) }

    /// Parse, scheme, allow-list, address: the first that objects is reported.
    @Test func orderOfChecks() throws {
        let policy = try Self.policy(["example.com"])
        #expect(Self.verdict(policy, "http://10.0.0.1") == "HTTPS is required")
        #expect(Self.verdict(policy, "https://10.0.0.1") == "URL not in allowlist")
        #expect(Self.verdict(try Self.policy(["10.0.0.1"]), "https://10.0.0.1") == "Private IP blocked")
    }

    @Test func withoutHTTPSOtherSchemesAreInvalid() throws {
        let policy = try Self.policy(private: false, https: false)
        #expect(Self.verdict(policy, "ftp://example.com") == "Invalid URL")
        #expect(Self.verdict(policy, "file:///etc/passwd") == "Invalid URL")
        #expect(Self.verdict(policy, "http://127.0.0.1:8080/") == "ok")
    }

    @Test(arguments: [
        ("*", "https://any.thing/", true), ("example.com", "https://EXAMPLE.com/", true), ("EXAMPLE.com", "https://example.com/", true),
        ("example.com", "https://example.com:8443/", true), ("*.example.com", "https://a.example.com/", true),
        ("*.example.com", "https://example.com/", false), ("*.example.com", "https://evil.com/a.example.com", false),
        ("example.com", "https://example.com.evil.com/", false), ("127.0.0.1", "https://0x7f.1/", true),
        ("2001:db8::1", "https://[2001:db8::1]/", true),
        ("https://api.example.com/*", "https://api.example.com/v1/x", true),
        ("https://api.example.com", "https://api.example.com/v1", true),
        ("https://api.example.com/*", "http://api.example.com/v1", false),
        ("https://api.example.com/*", "https://api.example.com:8443/", false),
        ("https://api.example.com:8443/*", "https://api.example.com:8443/", true), ("https://a.b:*/x", "https://a.b:99/x", true),
        ("https://api.example.com/v1/*", "https://api.example.com/v1/../admin", false),
        ("https://api.example.com/v1/*", "https://api.example.com/v1/%2e%2e/admin", false),
        ("https://*.example.com/*", "https://evil.com/x.example.com/y", false),
        ("*://h/Path", "http://h/Path", true), ("*://h/Path", "http://h/path", false), ("https://h/a", "https://h/a?q=1", true),
    ])
    func allowlist(_ pattern: String, _ url: String, _ isPermitted: Bool) throws {
        let policy = try Self.policy([pattern], private: false, https: false)
        #expect((Self.verdict(policy, url) == "ok") == isPermitted, "\(pattern) \(url)")
    }

    @Test func addressesOfANames() throws {
        let policy = try Self.policy()
        let (good, bad) = (try #require(IPAddress("8.8.8.8")), try #require(IPAddress("127.0.0.1")))
        #expect(throws: URLPolicy.lookupFailed) { try policy.check(addresses: []) }
        #expect(throws: URLPolicy.privateAddress) { try policy.check(addresses: [good, bad]) }
        #expect(throws: Never.self) { try policy.check(addresses: [good]) }
        #expect(policy.needsResolution(try policy.check("https://example.com")))
        #expect(!policy.needsResolution(try policy.check("https://8.8.8.8")))
    }
}

@Suite struct OutboundConfigurationTests {
    @Test func defaults() throws {
        let settings = OutboundConfiguration(HTTPFunctionsSettings.group.defaults)
        #expect(settings.maximumResponseBytes == 64 << 20 && settings.maximumConcurrentRequests == 1024)
        #expect(settings.policy.blocksPrivateAddresses && settings.policy.requiresHTTPS && settings.policy.allowlist.isEmpty)
    }

    @Test(arguments: [
        (#"{"security":{"url_allowlist":["ok","["]}}"#, "security.url_allowlist[1]"),
        (#"{"security":{"url_allowlist":[""]}}"#, "security.url_allowlist[0]"),
        (#"{"security":{"require_https":"yes"}}"#, "security.require_https"),
        (#"{"max_response_bytes":0}"#, "max_response_bytes"), (#"{"ca_file":"/does/not/exist"}"#, "ca_file"),
    ])
    func refusals(_ json: String, _ key: String) throws {
        let value = try JSONValue(parsing: json)
        let error = #expect(throws: InvalidSettings.self) { try HTTPFunctionsSettings.group.read(value) }
        #expect(error?.description.contains(key) == true, "\(error?.description ?? "")")
    }
}
