import IIIProtocol
import Testing

/// Seeded mutation fuzzing of everything that reads a peer's bytes: no input may trap, hang, or be read differently by two
/// of our readers. A failing seed replays exactly: the seed is the test's argument.
@Suite struct FuzzTests {
    static let corpus: [[UInt8]] =
        [
            #"{"type":"invokefunction","invocation_id":"0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1","function_id":"a::b","data":{"x":[1,2.5e3,"é\n\ud83d\ude00"]}}"#,
            #"{"type":"invocationresult","invocation_id":"0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1","function_id":"a","error":{"code":"c","message":"m"}}"#,
            #"{"type":"registertrigger","id":"t","trigger_type":"http","function_id":"f","config":{"api_path":"/x"},"metadata":null}"#,
            #"[[[{"a":{"b":[]}}]],"\u0000\\",-0.0,1E-7,true,false,null]"#, #"{"type":"ping"}"#, "MTRC{\"resourceMetrics\":[]}",
        ].map { Array($0.utf8) } + [
            [0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9], [0x82, 0xFE, 0x01, 0x00, 9, 9, 9, 9], [0x88, 0x82, 0, 0, 0, 0, 3, 0xE8],
        ]

    @Test(arguments: 0..<32)
    func noInputBreaksAReader(_ seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed) &+ 1)
        for _ in 0..<2_000 {
            var bytes = Self.corpus[Int.random(in: 0..<Self.corpus.count, using: &generator)]
            for _ in 0..<Int.random(in: 1...6, using: &generator) { mutate(&bytes, &generator) }
            check(bytes)
        }
    }

    private func check(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in
            let isValid = JSONText.isValid(raw)
            let parsed = try? JSONValue(parsing: raw)
            #expect(isValid == (parsed != nil))
            if isValid { #expect(UTF8Validation.isValid(raw), "valid JSON must be valid UTF-8") }
            if let parsed {
                // What we write, we read back as the same value.
                let text = parsed.bytes
                #expect((try? JSONValue(parsing: text)) == parsed)
            }
            if let envelope = Envelope.scan(raw) {
                #expect(isValid && parsed?.object != nil)
                for span in [envelope.data, envelope.functionID, envelope.invocationID, envelope.error, envelope.result]
                where span.isPresent {
                    #expect(JSONText.isValid(span.of(raw)))
                }
            } else {
                #expect(parsed?.object == nil)
            }
            for expectsMask in [true, false] {
                if case .header(let header) = WebSocketFrameHeader.parse(raw, expectsMask: expectsMask, maximumFrameLength: 1 << 20) {
                    #expect(header.headerLength <= 14 && header.payloadLength <= 1 << 20 && header.headerLength <= raw.count)
                }
            }
            _ = UUIDBits(ascii: raw)
            _ = JSONText.decodeString(raw)
        }
    }

    private func mutate(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        guard !bytes.isEmpty else { return bytes.append(UInt8.random(in: 0...255, using: &generator)) }
        let index = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<7, using: &generator) {
        case 0: bytes[index] = UInt8.random(in: 0...255, using: &generator)
        case 1: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
        case 2: bytes.remove(at: index)
        case 3: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: index)
        case 4: bytes.removeSubrange(index...)
        case 5: bytes.insert(contentsOf: bytes[index...].prefix(20), at: index)
        default:
            let tokens: [StaticString] = ["{", "}", "[", "]", "\"", "\\", "\\ud800", "\\u0041", ",", ":", "1e", "-", "null", "\u{7F}"]
            let token = tokens[Int.random(in: 0..<tokens.count, using: &generator)]
            bytes.insert(contentsOf: UnsafeBufferPointer(start: token.utf8Start, count: token.utf8CodeUnitCount), at: index)
        }
    }
}
