import IIIProtocol
import Testing

@testable import IIIItems

/// The update language, operation by operation.
@Suite struct UpdateEvaluationTests {
    struct Outcome: Equatable {
        let document: String
        /// `index code`.
        let failures: [String]
    }

    /// `stored` nil: no document.
    static func apply(_ operations: String, to stored: String?) throws -> Outcome {
        let evaluation = try evaluation(operations, to: stored)
        return Outcome(
            document: String(decoding: evaluation.document.bytes, as: UTF8.self),
            failures: evaluation.failures.map { "\($0.index) \($0.refusal.code)" })
    }

    static func evaluation(_ operations: String, to stored: String?) throws -> UpdateEvaluation {
        let text = Array(operations.utf8)[...]
        let decoded = try UpdateOperation.decode(JSONLevel.elements(of: text).map { text[$0] })
        var evaluation = UpdateEvaluation(stored: stored.map { Array($0.utf8) })
        try evaluation.apply(decoded)
        return evaluation
    }

    struct Row: Sendable, CustomStringConvertible {
        let stored: String?
        let operations: String
        let document: String
        var failures: [String] = []
        var description: String { "\(stored ?? "-") \(operations)" }

        init(_ stored: String?, _ operations: String, _ document: String, _ failures: String...) {
            (self.stored, self.operations, self.document, self.failures) = (stored, operations, document, failures)
        }
    }

    static let rows: [Row] = [
        // set
        Row(nil, #"[{"type":"set","path":"a","value":1.0}]"#, #"{"a":1.0}"#),
        Row(#"{"z":1,"a":2}"#, #"[{"type":"set","path":"z"}]"#, #"{"z":null,"a":2}"#),
        Row(#"{"a":1}"#, #"[{"type":"set","path":"","value":[1]}]"#, "[1]"),
        Row("7", #"[{"type":"set","path":"a","value":1}]"#, "7", "0 set.target_not_object"),
        Row(#"{"user":{"name":1}}"#, #"[{"type":"set","path":"user.name","value":2}]"#, #"{"user":{"name":1},"user.name":2}"#),
        Row(nil, #"[{"type":"set","path":["a","b"],"value":2}]"#, #"{"a":{"b":2}}"#),
        Row(nil, #"[{"type":"set","path":"__proto__","value":1}]"#, "{}", "0 set.path.proto_polluted"),
        // merge
        Row(nil, #"[{"type":"merge","path":["a","b","c"],"value":{"x":1}}]"#, #"{"a":{"b":{"c":{"x":1}}}}"#),
        Row(
            #"{"sessions":{"abc":"junk"}}"#, #"[{"type":"merge","path":["sessions","abc"],"value":{"author":"al"}}]"#,
            #"{"sessions":{"abc":{"author":"al"}}}"#),
        Row(#"{"a":{"b":1}}"#, #"[{"type":"merge","path":["a.b"],"value":{"x":1}}]"#, #"{"a":{"b":1},"a.b":{"x":1}}"#),
        Row(#""leaf""#, #"[{"type":"merge","value":{"a":1}}]"#, #""leaf""#),
        Row("[1]", #"[{"type":"merge","path":["a","b"],"value":{"x":1}}]"#, #"{"a":{"b":{"x":1}}}"#),
        Row(#"{"a":[1]}"#, #"[{"type":"merge","path":["a","b"],"value":{"x":1}}]"#, #"{"a":{"b":{"x":1}}}"#),
        Row(#"{"items":[7]}"#, #"[{"type":"merge","path":["items","0"],"value":{"x":1}}]"#, #"{"items":{"0":{"x":1}}}"#),
        Row(#"{"a":1}"#, #"[{"type":"merge","value":{"a":null,"l":[null,1]}}]"#, #"{"a":null,"l":[null,1]}"#),
        Row("{}", #"[{"type":"merge","path":"s","value":{"a":1}},{"type":"merge","path":"s","value":{"b":2}}]"#, #"{"s":{"a":1,"b":2}}"#),
        Row("{}", #"[{"type":"merge","value":[1]}]"#, "{}", "0 merge.value.not_an_object"),
        Row("{}", #"[{"type":"merge","value":{"constructor":1}}]"#, "{}", "0 merge.value.proto_polluted"),
        Row("{}", #"[{"type":"merge","path":["a",""],"value":{}}]"#, "{}", "0 merge.path.empty_segment"),
        // increment and decrement
        Row(nil, #"[{"type":"increment","path":"","by":3}]"#, "3"),
        Row(nil, #"[{"type":"decrement","path":"","by":3}]"#, "-3"),
        Row(nil, #"[{"type":"increment","path":"n","by":3}]"#, #"{"n":3}"#),
        Row(#"{"n":1.5}"#, #"[{"type":"increment","path":"n","by":2}]"#, #"{"n":3.5}"#),
        Row(#"{"n":1.0}"#, #"[{"type":"increment","path":"n","by":1}]"#, #"{"n":2.0}"#),
        Row(#"{"n":1}"#, #"[{"type":"increment","path":"n","by":2.0}]"#, #"{"n":3}"#),
        Row(#"{"n":10.3}"#, #"[{"type":"increment","path":"n","by":10.33}]"#, #"{"n":20.630000000000003}"#),
        Row(#"{"n":9223372036854775807}"#, #"[{"type":"increment","path":"n","by":1}]"#, #"{"n":9223372036854775808}"#),
        Row(
            #"{"n":18446744073709551615}"#, #"[{"type":"increment","path":"n","by":1}]"#, #"{"n":18446744073709551615}"#,
            "0 increment.not_number"),
        Row(#"{"n":18446744073709551615}"#, #"[{"type":"decrement","path":"n","by":1}]"#, #"{"n":18446744073709551614}"#),
        Row(
            #"{"n":-9223372036854775808}"#, #"[{"type":"decrement","path":"n","by":1}]"#, #"{"n":-9223372036854775808}"#,
            "0 decrement.not_number"),
        Row(nil, #"[{"type":"decrement","path":"","by":-9223372036854775808}]"#, "9223372036854775808"),
        Row(#"{"n":null}"#, #"[{"type":"increment","path":"n","by":1}]"#, #"{"n":null}"#, "0 increment.not_number"),
        Row(#"{"n":"1"}"#, #"[{"type":"increment","path":"n","by":0}]"#, #"{"n":"1"}"#, "0 increment.not_number"),
        Row(#"{"n":1e400}"#, #"[{"type":"increment","path":"n","by":1}]"#, #"{"n":1e400}"#, "0 increment.not_number"),
        Row("{}", #"[{"type":"increment","path":"","by":1}]"#, "{}", "0 increment.not_number"),
        Row("[]", #"[{"type":"increment","path":"n","by":1}]"#, "[]", "0 increment.target_not_object"),
        // append
        Row(nil, #"[{"type":"append","path":"","value":"hi"}]"#, #""hi""#),
        Row(nil, #"[{"type":"append","value":{"k":1}}]"#, #"[{"k":1}]"#),
        Row(nil, #"[{"type":"append","path":["a","b"],"value":"x"}]"#, #"{"a":{"b":["x"]}}"#),
        Row(nil, #"[{"type":"append","path":"a","value":"x"}]"#, #"{"a":"x"}"#),
        Row(nil, #"[{"type":"append","path":"a","value":1}]"#, #"{"a":[1]}"#),
        Row(#"{"a":{"b":null}}"#, #"[{"type":"append","path":["a","b"],"value":"x"}]"#, #"{"a":{"b":"x"}}"#),
        Row(#"{"a":[]}"#, #"[{"type":"append","path":"a","value":[1]},{"type":"append","path":"a","value":"s"}]"#, #"{"a":[[1],"s"]}"#),
        Row(#"{"a":"x\n"}"#, #"[{"type":"append","path":"a","value":"é"}]"#, #"{"a":"x\né"}"#),
        Row(#"{"a":"x"}"#, #"[{"type":"append","path":"a","value":{}}]"#, #"{"a":"x"}"#, "0 append.type_mismatch"),
        Row(#"{"count":1}"#, #"[{"type":"append","path":"count","value":"x"}]"#, #"{"count":1}"#, "0 append.type_mismatch"),
        Row(#"{"a":[1,2,3]}"#, #"[{"type":"append","path":["a","b"],"value":42}]"#, #"{"a":{"b":[42]}}"#),
        Row("3", #"[{"type":"append","path":["a","b"],"value":1}]"#, "3", "0 append.target_not_object"),
        // remove
        Row(#"{"a":1,"b":2}"#, #"[{"type":"remove","path":"a"},{"type":"remove","path":"zz"}]"#, #"{"b":2}"#),
        Row(#"{"a":1}"#, #"[{"type":"remove","path":""}]"#, "null"),
        Row("1", #"[{"type":"remove","path":"a"}]"#, "1", "0 remove.target_not_object"),
        // what is missing stays missing until something takes effect
        Row(nil, #"[{"type":"remove","path":"a"},{"type":"increment","path":"","by":1}]"#, "{}", "1 increment.not_number"),
        Row(nil, #"[{"type":"set","path":"__proto__"},{"type":"increment","path":"","by":1}]"#, "1", "0 set.path.proto_polluted"),
        // one bad operation holds up no other
        Row(
            #"{"bad":"value","events":{}}"#,
            #"[{"type":"increment","path":"bad","by":1},{"type":"set","path":"__proto__","value":true},{"type":"append","path":"events","value":"chunk"},{"type":"set","path":"ok","value":true}]"#,
            #"{"bad":"value","events":{},"ok":true}"#, "0 increment.not_number", "1 set.path.proto_polluted", "2 append.type_mismatch"),
        // everything that is not touched keeps its text
        Row(
            #"{"v":15947634569000323,"w":[130775545883395173],"x":[0.0,-0.0,5e-324,1.7976931348623157e308],"n":1}"#,
            #"[{"type":"increment","path":"n","by":1}]"#,
            #"{"v":15947634569000323,"w":[130775545883395173],"x":[0.0,-0.0,5e-324,1.7976931348623157e308],"n":2}"#),
    ]

    @Test(arguments: rows) func operationsDoWhatTheReferenceSays(_ row: Row) throws {
        #expect(try Self.apply(row.operations, to: row.stored) == Outcome(document: row.document, failures: row.failures))
    }

    @Test(arguments: [
        (#"[{"type":"set","path":"field","value":1}]"#, #""s""#, "Cannot set at path 'field': target is string, expected object."),
        (
            #"[{"type":"append","path":"events","value":1}]"#, #""s""#,
            "Cannot append at path '[events]': target is string, expected object."
        ),
        (#"[{"type":"append","path":"t","value":{}}]"#, #"{"t":"x"}"#, "Expected string append value at path 't', got object."),
        (
            #"[{"type":"append","path":["a","count"],"value":1}]"#, #"{"a":{"count":1}}"#,
            "Cannot append at path 'count': target is number, expected array, string, null, or missing field."
        ), (#"[{"type":"increment","path":"name","by":1}]"#, #"{"name":"x"}"#, "Expected number at path 'name', got string."),
        (#"[{"type":"decrement","path":"count","by":1}]"#, "[]", "Cannot decrement at path 'count': target is array, expected object."),
        (#"[{"type":"set","path":"__proto__"}]"#, "{}", "Path segment '__proto__' is not allowed (prototype pollution)."),
        (#"[{"type":"merge","value":{"__proto__":1}}]"#, "{}", #"Merge value top-level key "__proto__" is a prototype-pollution sink"#),
    ]) func messagesAreThoseOfTheReference(_ operations: String, _ stored: String, _ message: String) throws {
        #expect(try Self.evaluation(operations, to: stored).failures.first?.refusal.message == message)
    }

    @Test func limitsHaveTheirCodes() throws {
        let deep = #"["# + Array(repeating: #""a""#, count: 33).joined(separator: ",") + "]"
        let long = String(repeating: "é", count: 128) + "x"
        let many = (0...1024).map { "\"k\($0)\":1" }.joined(separator: ",")
        let nested = String(repeating: "[", count: 16) + String(repeating: "]", count: 16)
        let operations = """
            [{"type":"merge","path":\(deep),"value":{}},{"type":"append","path":"\(long)","value":1},{"type":"merge","value":{\(many)}},
            {"type":"merge","value":{"x":\(nested)}},{"type":"merge","path":["a","\(long)"],"value":{}}]
            """
        let failures = try Self.evaluation(operations, to: "{}").failures
        #expect(
            failures.map(\.refusal.code) == [
                "merge.path.too_deep", "append.path.segment_too_long", "merge.value.too_many_keys", "merge.value.too_deep",
                "merge.path.segment_too_long",
            ])
        #expect(failures[0].refusal.message == "Path depth 33 exceeds maximum of 32")
        #expect(failures[1].refusal.message == "Path segment of 257 bytes exceeds maximum of 256")
        #expect(failures[2].refusal.message == "Merge value has 1025 top-level keys, exceeds maximum of 1024")
        #expect(failures[3].refusal.message == "Merge value JSON nesting depth 17 exceeds maximum of 16")
    }

    @Test(arguments: [
        (#"[{"type":"foo","path":"a"}]"#, "unknown variant `foo`"), (#"[{"path":"a"}]"#, "missing field `type`"),
        (#"[{"type":"set"}]"#, "missing field `path`"), (#"[{"type":"increment","path":"a"}]"#, "missing field `by`"),
        (#"[{"type":"merge"}]"#, "missing field `value`"), (#"[{"type":"append","path":"a"}]"#, "missing field `value`"),
        (#"[{"type":"increment","path":"a","by":"1"}]"#, "invalid type: string"),
        (#"[{"type":"increment","path":"a","by":9223372036854775808}]"#, "expected i64"),
        (#"[{"type":"set","path":5}]"#, "invalid type: integer `5`, expected a string"),
        (#"[{"type":"set","path":null}]"#, "invalid type: null, expected a string"), (#"[7]"#, "invalid type: integer `7`"),
    ]) func whatIsNoOperationFailsTheWholeCall(_ operations: String, _ words: String) {
        let problem = #expect(throws: InputProblem.self) { try Self.evaluation(operations, to: "{}") }
        #expect(problem?.message.contains(words) == true, "\(problem?.message ?? "")")
    }

    @Test(arguments: [
        (#"{"a":1}"#, "a", "1.0", true), (#"{"a":{"x":1,"y":[2]}}"#, "a", #"{"y":[2],"x":1}"#, true), (#"{"a":null}"#, "a", "null", true),
        ("{}", "a", "null", false), (#"{"a":[1,2]}"#, "a", "[2,1]", false), (#"{"a":"\u00e9"}"#, "a", #""é""#, true),
        (#"{"a":98765432109876543210}"#, "a", "98765432109876543211", false),
    ]) func testsCompareValues(_ stored: String, _ path: String, _ value: String, _ holds: Bool) throws {
        let operations = #"[{"type":"test","path":"\#(path)","value":\#(value)},{"type":"set","path":"b","value":1}]"#
        if holds {
            #expect(try Self.apply(operations, to: stored).failures == [])
        } else {
            #expect(throws: UpdateEvaluation.Conflict.self) { try Self.apply(operations, to: stored) }
        }
    }

    @Test func aTestOfWhatIsMissingDoesNotHold() {
        #expect(throws: UpdateEvaluation.Conflict(index: 0, path: "root")) {
            try Self.apply(#"[{"type":"test","path":"","value":{}}]"#, to: nil)
        }
    }

    @Test func aThousandAppendsToALongListAreQuick() throws {
        let list = "[" + (0..<10_000).map(String.init).joined(separator: ",") + "]"
        let operations = "[" + (0..<1000).map { #"{"type":"append","path":"l","value":\#($0)}"# }.joined(separator: ",") + "]"
        let evaluation = try Self.evaluation(operations, to: #"{"l":\#(list)}"#)
        #expect(JSONLevel.elements(of: evaluation.document.member("l")?.bytes[...] ?? []).count == 11_000)
    }
}
