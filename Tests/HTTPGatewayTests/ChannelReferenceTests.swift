import IIICrypto
import IIIProtocol
import NIOCore
import Testing

@testable import IIIHTTPGateway

@Suite struct ChannelReferenceTests {
    /// RFC 4231, test cases 1, 2 and 6, and the empty key.
    @Test(arguments: [
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        (
            "4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        (
            String(repeating: "aa", count: 131),
            "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579204669727374",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
        ("", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"),
    ])
    func macIsHMACSHA256(_ key: String, _ message: String, _ expected: String) throws {
        let mac = HMACSHA256(key: try unwrap(SecureBytes.bytes(hex: key)))
        let bytes = try unwrap(SecureBytes.bytes(hex: message))
        // Twice: the context is rewound between messages.
        #expect(SecureBytes.hex(mac.authenticate(bytes)) == expected)
        #expect(SecureBytes.hex(mac.authenticate(bytes)) == expected)
    }

    private func mint(_ mint: ChannelRefMint, deadline: UInt64) throws -> JSONValue {
        mint.advance(token: .random(in: 0 ... .max), deadline: deadline)
        var buffer = ByteBuffer()
        buffer.writeString("{")
        mint.writeMembers(to: &buffer)
        buffer.writeString("}")
        return try JSONValue(parsing: String(buffer: buffer))
    }

    @Test func mintedReferencesVerify() throws {
        let key = Array("secret".utf8)
        let references = try mint(ChannelRefMint(key: key), deadline: 0x0190_1234_5678)
        let mac = HMACSHA256(key: key)
        for (member, end, direction) in [("request_body", ChannelReference.End.requestBody, "read"), ("response", .response, "write")] {
            let id = try unwrap(references[member]?["channel_id"]?.string)
            let accessKey = try unwrap(references[member]?["access_key"]?.string)
            #expect(references[member]?["direction"]?.string == direction)
            let reference = try unwrap(ChannelReference(channelID: id))
            #expect(reference.deadline == 0x0190_1234_5678)
            #expect(reference.end == end)
            #expect(id.hasPrefix("h1-019012345678-"))
            #expect(reference.isOpened(by: accessKey, mac: mac.authenticate(reference.base)))
            #expect(!reference.isOpened(by: accessKey.uppercased() + "0", mac: mac.authenticate(reference.base)))
            #expect(!reference.isOpened(by: accessKey, mac: HMACSHA256(key: [1]).authenticate(reference.base)))
        }
    }

    @Test func keyOfOneDirectionDoesNotOpenTheOther() throws {
        let references = try mint(ChannelRefMint(key: [7]), deadline: 1)
        let body = try unwrap(ChannelReference(channelID: unwrap(references["request_body"]?["channel_id"]?.string)))
        let responseKey = try unwrap(references["response"]?["access_key"]?.string)
        #expect(!body.isOpened(by: responseKey, mac: HMACSHA256(key: [7]).authenticate(body.base)))
    }

    @Test func everyRequestHasItsOwn() throws {
        let references = ChannelRefMint(key: [7])
        let ids = try (0..<100).map { _ in try mint(references, deadline: 1)["response"]?["channel_id"]?.string }
        #expect(Set(ids).count == 100)
    }

    @Test(arguments: [
        "", "h1-", "7b8f0000-0000-4000-8000-000000000000", "h1-019012345678-0123456789abcdef0123456789abcdef-x",
        "h2-019012345678-0123456789abcdef0123456789abcdef-b", "h1-01901234567g-0123456789abcdef0123456789abcdef-b",
        "h1-019012345678-0123456789ABCDEF0123456789abcdef-b", "h1-019012345678x0123456789abcdef0123456789abcdef-b",
        "h1-019012345678-0123456789abcdef0123456789abcdef-bb",
    ])
    func foreignIdentifiersAreNotReferences(_ id: String) {
        #expect(ChannelReference(channelID: id) == nil)
    }

    @Test func comparisonAndHex() {
        #expect(SecureBytes.constantTimeEquals([1, 2], [1, 2]))
        #expect(!SecureBytes.constantTimeEquals([1, 2], [1, 3]))
        #expect(!SecureBytes.constantTimeEquals([1], [1, 2]))
        #expect(SecureBytes.constantTimeEquals([], []))
        #expect(SecureBytes.random(count: 16) != SecureBytes.random(count: 16))
        #expect(SecureBytes.bytes(hex: "0aFF") == [10, 255])
        #expect(SecureBytes.bytes(hex: "0") == nil)
        #expect(SecureBytes.bytes(hex: "zz") == nil)
    }
}
