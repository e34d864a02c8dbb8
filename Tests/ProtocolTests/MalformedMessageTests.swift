import Testing

@testable import IIIProtocol

@Suite struct MalformedMessageTests {
    private static let id = "0d0f6c2e-6a1c-4f39-9d0a-2f1f8a0a77b1"

    @Test(
        arguments: [
            #"{"type":"invocationresult","invocation_id":"ID","function_id":"f","result":NaN}"#,
            #"{"result":{"a":[NaN,"}"],"b":"\"}{"},"function_id":"f","invocation_id":"ID","type":"invocationresult"}"#,
            #" {"result":-Infinity , "invocation_id" : "ID" , "function_id":"f", "type":"invocationresult" ,}"#,
            #"{"type":"invocationresult","invocation_id":"ID","function_id":"f","result":"cut off"#,
            #"{"type":"x","\u0074ype":"invocationresult","invocation_id":"ID","function_id":"f","result":'x'}"#,
            "\u{FEFF}" + #"{"type":"invocationresult","invocation_id":"ID","function_id":"f"}"#,
            "{\"result\":\"a\u{1}b\\\",\",\"type\":\"invocationresult\",\"invocation_id\":\"ID\",\"function_id\":\"f\"}",
        ])
    func findsWhoWaits(_ text: String) {
        let bytes = Array(text.replacing("ID", with: Self.id).utf8)
        let message = bytes.withUnsafeBytes(MalformedMessage.init)
        #expect(message.type == .invocationResult && message.functionID == "f" && message.invocationID == UUIDBits(Self.id))
    }

    @Test func nestedMembersAreNotTakenForItsOwn() {
        let text = #"{"result":{"type":"ping","invocation_id":"x"},"x":[{"function_id":"inner"}],"type":"invokefunction","a":NaN}"#
        let message = Array(text.utf8).withUnsafeBytes(MalformedMessage.init)
        #expect(message.type == .invokeFunction && message.functionID == nil && message.invocationID == nil)
    }

    @Test(arguments: [
        "", "[", "{", "{\"", "{\"a", "{\"a\\", "{\"a\":", "}", "{\"type\":\"", "{\"type\":\"invokefunction", "{]}", "{{{{", "\\",
    ])
    func anythingEnds(_ text: String) {
        let bytes = Array(text.utf8)
        #expect(bytes.withUnsafeBytes(MalformedMessage.init).type == .unknown)
        #expect(!bytes.withUnsafeBytes(MalformedMessage.reason).isEmpty)
    }

    @Test func randomBytesEnd() {
        var generator = SeededGenerator(seed: 7)
        let alphabet = Array(#"{}[]",:\ntype0NaN"#.utf8) + [0, 0xEF, 0xBB, 0xBF, 0xFF]
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0..<40, using: &generator)).map { _ in alphabet.randomElement(using: &generator) ?? 0 }
            _ = bytes.withUnsafeBytes(MalformedMessage.init)
            _ = bytes.withUnsafeBytes(MalformedMessage.reason)
        }
    }

    @Test func membersKeepTheirText() throws {
        let text = #" { "a" : 1.0 , "b":"\ud800", "n":null, "\u0063": [ 1 , 2 ], "a":2e5 } "#
        let bytes = Array(text.utf8)
        bytes.withUnsafeBytes { buffer in
            let members = JSONMembers(buffer)
            #expect(members?.raw("a") == Array("2e5".utf8) && members?.raw("b") == Array(#""\ud800""#.utf8))
            #expect(members?.raw("n") == nil && members?.raw("x") == nil && members?.raw("c") == Array("[ 1 , 2 ]".utf8))
            #expect(members?["b"] == "\u{FFFD}")
        }
        for bad in ["", "[]", "{", "{\"a\":1}x", "{\"a\":NaN}", "{\"a\":1,}"] {
            let isRead = Array(bad.utf8).withUnsafeBytes { JSONMembers($0) != nil }
            #expect(!isRead, "\(bad)")
        }
    }
}
