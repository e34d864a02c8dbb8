import IIIHTTPClient
import Testing

@testable import IIIHTTPFunctions

@Suite struct IPAddressTests {
    @Test(arguments: [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.9", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.7", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
        "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        // IPv6 of its own
        "::", "::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ffff::1", "2001:db8::1", "3fff::1", "100::1",
        // IPv4 wrapped: mapped, translated, compatible, NAT64, 6to4, Teredo (server, client)
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1", "::10.0.0.1", "::127.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::1", "64:ff9b::1:8.8.8.8", "2002:7f00:1::", "2002:a00:1::1",
        "2001:0:7f00:1::", "2001:0:808:808:0:0:80ff:fffe", "::1:0:0:1",
    ])
    func blocked(_ text: String) throws {
        #expect(try #require(IPAddress(text)).isPrivate, "\(text)")
    }

    @Test(arguments: [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1", "169.253.1.1",
        "172.15.255.255", "172.32.0.1", "192.0.1.1", "192.0.3.1", "192.167.1.1", "192.169.0.1", "198.17.255.255", "198.20.0.1",
        "198.51.101.1", "203.0.112.1", "203.0.114.1", "223.255.255.255", "2606:4700::1111", "2a00::1", "2001:4860:4860::8888",
        "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:0:808:808:0:0:f7f7:f7f7",
    ])
    func permitted(_ text: String) throws {
        #expect(try !#require(IPAddress(text)).isPrivate, "\(text)")
    }

    @Test(arguments: ["", "1.2.3", "01.2.3.4", "1.2.3.4.5", "256.1.1.1", "::1%lo", "[::1]", "g::1", "1.2.3.4 "])
    func onlyStrictText(_ text: String) { #expect(IPAddress(text) == nil) }

    @Test func canonicalText() throws {
        #expect(try #require(IPAddress("2001:DB8:0:0::1")).description == "2001:db8::1")
        #expect(try #require(IPAddress("10.0.0.1")).description == "10.0.0.1")
    }
}
