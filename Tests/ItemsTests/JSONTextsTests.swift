import Testing

@testable import IIIItems

@Suite struct JSONTextsTests {
    @Test(arguments: [
        ("1", "1", true, true), ("1", "1.0", true, false), ("1.0", "1.00", true, true), ("0", "-0", true, true),
        ("1e2", "100.0", true, true),
        ("9007199254740993", "9007199254740992", false, false), (#""a""#, #""\u0061""#, true, true), ("null", "false", false, false),
        (#"{"a":1,"b":2}"#, #"{"b":2,"a":1.0}"#, true, false), ("[]", "{}", false, false), (#"{"a":1}"#, #"{"a":1,"b":1}"#, false, false),
        (#"{"a":1,"a":2}"#, #"{"a":2}"#, true, true),
    ]) func equality(_ left: String, _ right: String, _ isEqual: Bool, _ isSame: Bool) {
        #expect(JSONEquality.areEqual(JSONNode(left), JSONNode(right)) == isEqual)
        #expect(JSONEquality.areEqual(JSONNode(right), JSONNode(left)) == isEqual)
        #expect(JSONEquality.areEqual(JSONNode(left), JSONNode(right), distinguishingFloats: true) == isSame)
    }

    @Test(arguments: [
        (" { \"a b\" : [ 1 , 2 ] }\n", #"{"a b":[1,2]}"#), (#""a \" b""#, #""a \" b""#), ("[1,\t2]", "[1,2]"),
        (#"{"\\": " x"}"#, #"{"\\":" x"}"#),
        ("7", "7"),
    ]) func spaceBetweenTokensGoes(_ text: String, _ compact: String) {
        #expect(String(decoding: JSONLevel.compact(Array(text.utf8)[...]), as: UTF8.self) == compact)
    }

    @Test func namesAreTheirBytes() {
        #expect(ItemName("e\u{301}") != ItemName("\u{e9}"))
        #expect(Set<ItemName>(["e\u{301}", "\u{e9}"]).count == 2)
        #expect(ItemName("B") < ItemName("a") && ItemName("a") < ItemName("é"))
    }

    @Test func missingNullAndRepeatedMembersAreToldApart() throws {
        let input = try InputObject(Array(#" {"a":null,"b":1,"b":2,"c":"x","d":5} "#.utf8)[...])
        #expect(try input.raw("a").map(Array.init) == Array("null".utf8))
        #expect(try input.raw("z") == nil)
        #expect(try input.optionalString("a") == nil)
        #expect(throws: InputProblem("duplicate field `b`")) { try input.raw("b") }
        #expect(throws: InputProblem("missing field `z`")) { try input.string("z") }
        #expect(throws: InputProblem("invalid type: integer `5`, expected a string")) { try input.string("d") }
        #expect(throws: InputProblem("invalid type: null, expected a string")) { try input.string("a") }
        #expect(throws: InputProblem.self) { try InputObject(Array("null".utf8)[...]) }
        _ = try InputObject(optional: Array("null".utf8))
    }
}
