/// RFC 6455 opcodes this engine speaks.
package enum WebSocketOpcode: UInt8, Sendable {
    case continuation = 0x0
    case text = 0x1
    case binary = 0x2
    case close = 0x8
    case ping = 0x9
    case pong = 0xA

    package var isControl: Bool { rawValue & 0x8 != 0 }
}

/// Close codes that either side of ours originates (docs/reference/worker-protocol.md#closing).
package enum WebSocketCloseCode: UInt16, Sendable {
    case normal = 1000
    case goingAway = 1001
    case protocolError = 1002
    case invalidPayload = 1007
    case policyViolation = 1008
    case messageTooBig = 1009
    case internalError = 1011
    case serviceRestart = 1012
    case tryAgainLater = 1013
}

/// The header of one frame as it stands on the wire.
package struct WebSocketFrameHeader: Sendable, Equatable {
    package var isFinal: Bool
    package var opcode: WebSocketOpcode
    /// The masking key in wire order, nil when unmasked.
    package var maskingKey: UInt32?
    package var payloadLength: Int
    /// Bytes of the header itself: 2...14.
    package var headerLength: Int

    package enum ParseResult: Sendable, Equatable {
        case needsMoreBytes
        case header(WebSocketFrameHeader)
        /// Its payload is over the limit; the length is cut off at `Int.max`.
        case tooLong(WebSocketFrameHeader)
        case violation(WebSocketCloseCode, StaticReason)
    }

    /// Reasons are constants so that hostile input never reaches a close frame or a log.
    package enum StaticReason: String, Sendable {
        case reservedBits = "reserved bits are set"
        case unknownOpcode = "unknown opcode"
        case fragmentedControl = "fragmented control frame"
        case oversizedControl = "control frame over 125 bytes"
        case maskMissing = "client frames must be masked"
        case maskUnexpected = "server frames must not be masked"
        case nonMinimalLength = "length is not in its shortest form"
        case frameTooBig = "frame is over the limit"
        case messageTooBig = "message is over the limit"
        case unexpectedContinuation = "continuation without a start"
        case interruptedMessage = "new message inside a fragmented one"
        case invalidUTF8 = "text is not UTF-8"
        case malformedClose = "malformed close frame"
    }

    /// Parses the header at the start of `bytes`. `expectsMask` is true on the server's side.
    package static func parse(_ bytes: UnsafeRawBufferPointer, expectsMask: Bool, maximumFrameLength: Int) -> ParseResult {
        guard bytes.count >= 2 else { return .needsMoreBytes }
        let first = bytes[0]
        let second = bytes[1]
        guard first & 0x70 == 0 else { return .violation(.protocolError, .reservedBits) }
        guard let opcode = WebSocketOpcode(rawValue: first & 0x0F) else { return .violation(.protocolError, .unknownOpcode) }
        let isFinal = first & 0x80 != 0
        let isMasked = second & 0x80 != 0
        guard isMasked == expectsMask else { return .violation(.protocolError, expectsMask ? .maskMissing : .maskUnexpected) }
        let shortLength = Int(second & 0x7F)
        if opcode.isControl {
            guard isFinal else { return .violation(.protocolError, .fragmentedControl) }
            guard shortLength <= 125 else { return .violation(.protocolError, .oversizedControl) }
        }
        var length = shortLength
        var offset = 2
        if shortLength == 126 {
            guard bytes.count >= 4 else { return .needsMoreBytes }
            length = Int(bytes[2]) << 8 | Int(bytes[3])
            offset = 4
            guard length > 125 else { return .violation(.protocolError, .nonMinimalLength) }
        } else if shortLength == 127 {
            guard bytes.count >= 10 else { return .needsMoreBytes }
            let wide = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt64.self))
            guard wide > 0xFFFF else { return .violation(.protocolError, .nonMinimalLength) }
            length = Int(clamping: wide)
            offset = 10
        }
        var key: UInt32?
        if isMasked {
            guard bytes.count >= offset + 4 else { return .needsMoreBytes }
            key = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
            offset += 4
        }
        let header = WebSocketFrameHeader(
            isFinal: isFinal, opcode: opcode, maskingKey: key, payloadLength: length, headerLength: offset)
        return length > maximumFrameLength ? .tooLong(header) : .header(header)
    }

    /// Bytes that the header of an unmasked frame of `payloadLength` takes; 4 more when masked.
    @inlinable
    package static func length(forPayload payloadLength: Int, masked: Bool) -> Int {
        (payloadLength < 126 ? 2 : payloadLength <= 0xFFFF ? 4 : 10) &+ (masked ? 4 : 0)
    }

    /// Writes a header for `payloadLength` bytes at `target`, which has room for `length(forPayload:masked:)`.
    package static func write(
        to target: UnsafeMutableRawPointer, isFinal: Bool, opcode: WebSocketOpcode, payloadLength: Int, maskingKey: UInt32?
    ) {
        let maskBit: UInt8 = maskingKey == nil ? 0 : 0x80
        target.storeBytes(of: (isFinal ? 0x80 : 0) | opcode.rawValue, as: UInt8.self)
        var offset = 2
        if payloadLength < 126 {
            target.storeBytes(of: maskBit | UInt8(payloadLength), toByteOffset: 1, as: UInt8.self)
        } else if payloadLength <= 0xFFFF {
            target.storeBytes(of: maskBit | 126, toByteOffset: 1, as: UInt8.self)
            target.storeBytes(of: UInt16(payloadLength).bigEndian, toByteOffset: 2, as: UInt16.self)
            offset = 4
        } else {
            target.storeBytes(of: maskBit | 127, toByteOffset: 1, as: UInt8.self)
            target.storeBytes(of: UInt64(payloadLength).bigEndian, toByteOffset: 2, as: UInt64.self)
            offset = 10
        }
        if let maskingKey { target.storeBytes(of: maskingKey, toByteOffset: offset, as: UInt32.self) }
    }

    /// XORs `bytes` with the key in place, eight bytes at a time. Masking and unmasking are the same operation.
    package static func applyMask(_ key: UInt32, to bytes: UnsafeMutableRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        let wide = UInt64(key) | UInt64(key) << 32
        var index = 0
        while index &+ 8 <= bytes.count {
            let word = base.loadUnaligned(fromByteOffset: index, as: UInt64.self) ^ wide
            base.storeBytes(of: word, toByteOffset: index, as: UInt64.self)
            index &+= 8
        }
        let keyBytes = (
            UInt8(truncatingIfNeeded: key), UInt8(truncatingIfNeeded: key >> 8), UInt8(truncatingIfNeeded: key >> 16),
            UInt8(truncatingIfNeeded: key >> 24)
        )
        while index < bytes.count {
            let keyByte =
                switch index & 3 {
                case 0: keyBytes.0
                case 1: keyBytes.1
                case 2: keyBytes.2
                default: keyBytes.3
                }
            bytes[index] ^= keyByte
            index &+= 1
        }
    }

    /// Whether a peer may put `code` into a close frame (RFC 6455 §7.4).
    package static func isLegalCloseCode(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
