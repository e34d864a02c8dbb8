import IIIProtocol
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        "null", "true", "false", "0", "-0", "1", "-12.5e+3", "1E9", "\"\"", "\"a\\\"b\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u00e9\"",
        "\"\\ud83d\\ude00\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"",
        "\"é😀\"", "[]", "{}", "[1,[2,[3]]]", "{\"a\":{\"b\":[{}]}}", " \t\r\n{ \"a\" : 1 } ", "\"01234567\\u0041\"", "\"0123456\"",
        "\"01234567\"",
    ])
    func accepts(_ text: String) {
        #expect(isValid(text))
    }

    @Test(arguments: [
        "", " ", "nul", "tru", "01", "-", "1.", ".5", "1e", "+1", "0x1", "NaN", "Infinity", "\"", "\"a", "\"\\\"", "\"\\x\"", "\"\\u12\"",
        "\"\t\"", "\"\u{0}\"", "[", "]", "[1", "[1,]", "[,1]", "[1 2]", "{", "}", "{\"a\"}",
        "{\"a\":}", "{\"a\":1,}", "{a:1}",
        "{\"a\":1]", "[1}", "1 2", "\u{FEFF}1", "'a'", "// x",
    ])
    func refuses(_ text: String) {
        #expect(!isValid(text))
    }

    @Test(
        arguments: [
            [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80],
            [0xF5, 0x80, 0x80, 0x80],
            [0x80], [0xE2, 0x82], [0xFF], [0xC3],
        ] as [[UInt8]])
    func refusesInvalidUTF8(_ bytes: [UInt8]) {
        let text = Array("\"01234567".utf8) + bytes + Array("\"".utf8)
        #expect(!text.withUnsafeBytes { JSONText.isValid($0) })
        #expect(!bytes.withUnsafeBytes { UTF8Validation.isValid($0) })
    }

    @Test func depthIsCapped() {
        let depth = JSONCursor.maximumDepth
        #expect(isValid(String(repeating: "[", count: depth) + "1" + String(repeating: "]", count: depth)))
        #expect(!isValid(String(repeating: "[", count: depth + 1) + "1" + String(repeating: "]", count: depth + 1)))
        let objects = String(repeating: "{\"a\":[", count: depth / 2) + "1" + String(repeating: "]}", count: depth / 2)
        #expect(isValid(objects))
        // The bit stack must still know on which level an object or an array stands.
        #expect(!isValid(String(repeating: "{\"a\":[", count: depth / 2) + "1" + String(repeating: "}]", count: depth / 2)))
    }

    @Test(
        arguments: [
            ("9007199254740993", JSONValue.integer(9_007_199_254_740_993)), ("-9223372036854775808", .integer(.min)), ("1.0", .double(1)),
            ("1e2", .double(100)),
            ("18446744073709551615", .double(0x1p64)), ("-0", .double(-0.0)), ("\"\\ud83d\\ude00\\n\"", .string("😀\n")),
            ("\"\\ud83d\"", .string("\u{FFFD}")),
            ("\"\\ud83d\\u0041\\udc00\"", .string("\u{FFFD}A\u{FFFD}")), ("\"\\ud83d\\ud83d\\ude00\"", .string("\u{FFFD}😀")),
            ("{\"a\":1,\"a\":2}", .object(["a": 2])), ("[null,true]", .array([.null, true])),
        ] as [(String, JSONValue)])
    func decodes(_ text: String, _ value: JSONValue) throws {
        #expect(try JSONValue(parsing: text) == value)
    }

    @Test func writesWhatItReads() throws {
        let value: JSONValue = ["z": [1, 1.5, "é\u{1}\"\\\n", nil], "a": [:], "b": [], "n": .double(.nan)]
        #expect(value.text == #"{"a":{},"b":[],"n":null,"z":[1,1.5,"é\u0001\"\\\n",null]}"#)
        #expect(try JSONValue(parsing: value.text)["z"] == value["z"])
        #expect(try JSONValue(parsing: value.pretty()) == (try JSONValue(parsing: value.text)))
    }

    private func isValid(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { JSONText.isValid(UnsafeRawBufferPointer($0)) }
    }
}
