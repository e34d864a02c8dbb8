import IIIProtocol
import Testing

@Suite struct EnvelopeTests {
    @Test func findsMembersInAnyOrder() {
        let text =
            #"{"data":{"type":"x","data":1},"metadata":[1],"function_id":"f","invocation_id":"i","type":"invokefunction","traceparent":"t","baggage":"b"}"#
        scan(text) { envelope, text in
            #expect(envelope.type == .invokeFunction)
            #expect(text(envelope.data) == #"{"type":"x","data":1}"#)
            #expect(text(envelope.functionID) == #""f""#)
            #expect(text(envelope.invocationID) == #""i""#)
            #expect(text(envelope.metadata) == "[1]")
            #expect(text(envelope.traceparent) == #""t""#)
            #expect(text(envelope.baggage) == #""b""#)
            #expect(!envelope.action.isPresent)
        }
    }

    @Test func nullIsAbsentExceptWhereItReachesTheOtherSide() {
        scan(#"{"type":"invocationresult","result":null,"error":null,"data":null,"invocation_id":null,"metadata":null}"#) {
            envelope, text in
            #expect(text(envelope.result) == "null")
            #expect(text(envelope.data) == "null")
            #expect(!envelope.error.isPresent && !envelope.invocationID.isPresent && !envelope.metadata.isPresent)
        }
    }

    @Test func escapedKeysAndDuplicates() {
        scan(#"{"type":"ping","\u0074ype":"pong","id":"a","id":"b"}"#) { envelope, text in
            #expect(envelope.type == .pong)
            #expect(text(envelope.id) == #""b""#)
        }
        scan(#"{"type":"p\u0069ng"}"#) { envelope, _ in #expect(envelope.type == .ping) }
    }

    @Test(arguments: ["", "[]", "1", "{", #"{"type"}"#, #"{"type":"ping"}x"#, #"{"type":"ping",}"#, #"{"data":{]}"#])
    func refuses(_ text: String) {
        #expect(Array(text.utf8).withUnsafeBytes { Envelope.scan($0) } == nil)
    }

    @Test(arguments: [#"{}"#, #"{"type":7}"#, #"{"type":"nope"}"#, #"{"type":null}"#])
    func unknownTypes(_ text: String) {
        #expect(Array(text.utf8).withUnsafeBytes { Envelope.scan($0) }?.type == .unknown)
    }

    private func scan(_ text: String, _ check: (Envelope, (ByteSpan) -> String) -> Void) {
        Array(text.utf8).withUnsafeBytes { bytes in
            guard let envelope = Envelope.scan(bytes) else {
                Issue.record("refused: \(text)")
                return
            }
            check(envelope) { String(decoding: $0.of(bytes), as: UTF8.self) }
        }
    }
}

@Suite struct UUIDBitsTests {
    @Test(arguments: [
        "0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1", "0D0F6C2E-6A1C-4F39-9D0A-2F1F8A0A77B1", "0d0f6c2e6a1c4f399d0a2f1f8a0a77b1",
        "urn:uuid:0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1", "{0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1}",
    ])
    func readsEveryForm(_ text: String) {
        #expect(UUIDBits(text)?.text == "0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1")
    }

    @Test(arguments: [
        "", "x", "0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b", "0d0f6c2e06a1c-4f39-9d0a-2f1f8a0a77b1", "0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77bg",
    ])
    func refuses(_ text: String) {
        #expect(UUIDBits(text) == nil)
    }

    @Test func randomOnesAreVersionFour() {
        let text = Array(UUIDBits.random().text)
        #expect(text[14] == "4" && "89ab".contains(text[19]))
    }
}
