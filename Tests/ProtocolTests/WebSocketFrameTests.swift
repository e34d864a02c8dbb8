import IIIProtocol
import Testing

@Suite struct WebSocketFrameTests {
    @Test(arguments: [0, 1, 125, 126, 65535, 65536, 1 << 20], [true, false])
    func headersRoundTrip(_ length: Int, _ masked: Bool) {
        let size = WebSocketFrameHeader.length(forPayload: length, masked: masked)
        var bytes = [UInt8](repeating: 0, count: size)
        let key: UInt32? = masked ? 0xA1B2_C3D4 : nil
        bytes.withUnsafeMutableBytes {
            WebSocketFrameHeader.write(to: $0.baseAddress!, isFinal: true, opcode: .text, payloadLength: length, maskingKey: key)
        }
        guard case .header(let header) = parse(bytes, expectsMask: masked) else {
            Issue.record("no header")
            return
        }
        #expect(header.isFinal && header.opcode == .text && header.maskingKey == key)
        #expect(header.payloadLength == length && header.headerLength == size)
        for cut in 0..<size { #expect(parse(Array(bytes[..<cut]), expectsMask: masked) == .needsMoreBytes) }
    }

    @Test(
        arguments: [
            ([0xC1, 0x80], WebSocketCloseCode.protocolError, WebSocketFrameHeader.StaticReason.reservedBits),
            ([0x83, 0x80], .protocolError, .unknownOpcode), ([0x09, 0x80], .protocolError, .fragmentedControl),
            ([0x89, 0xFE], .protocolError, .oversizedControl), ([0x81, 0x05], .protocolError, .maskMissing),
            ([0x81, 0xFE, 0x00, 0x7D], .protocolError, .nonMinimalLength),
            ([0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], .protocolError, .nonMinimalLength),
        ] as [([UInt8], WebSocketCloseCode, WebSocketFrameHeader.StaticReason)])
    func violations(_ bytes: [UInt8], _ code: WebSocketCloseCode, _ reason: WebSocketFrameHeader.StaticReason) {
        #expect(parse(bytes, expectsMask: true) == .violation(code, reason))
    }

    @Test(arguments: [([0x80, 0, 0, 0, 0, 0, 0, 0], Int.max), ([0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF], 0x7FFF_FFFF)] as [([UInt8], Int)])
    func overlongFramesAreToldWithTheirLength(_ length: [UInt8], _ value: Int) {
        let bytes = [0x81, 0xFF] + length + [1, 2, 3, 4]
        guard case .tooLong(let header) = parse(bytes, expectsMask: true) else {
            Issue.record("not recognised")
            return
        }
        #expect(header.payloadLength == value && header.headerLength == 14)
    }

    @Test(arguments: 0..<40)
    func maskingTwiceChangesNothing(_ length: Int) {
        let original = (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        var bytes = original
        bytes.withUnsafeMutableBytes { WebSocketFrameHeader.applyMask(0x0403_0201, to: $0) }
        for index in 0..<length { #expect(bytes[index] == original[index] ^ UInt8(index % 4 + 1)) }
        bytes.withUnsafeMutableBytes { WebSocketFrameHeader.applyMask(0x0403_0201, to: $0) }
        #expect(bytes == original)
    }

    private func parse(_ bytes: [UInt8], expectsMask: Bool) -> WebSocketFrameHeader.ParseResult {
        bytes.withUnsafeBytes { WebSocketFrameHeader.parse($0, expectsMask: expectsMask, maximumFrameLength: 1 << 24) }
    }
}
