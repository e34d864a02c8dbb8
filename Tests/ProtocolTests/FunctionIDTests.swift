import Testing

@testable import IIIProtocol

@Suite struct FunctionIDTests {
    @Test(arguments: ["core::fleet::stop", "builtin::iii-http::drain", "core::", "builtin::", "engine::channels::create", "core::\u{301}x"])
    func somebodyElsesWordIsNoWayToIt(_ text: String) {
        let error = #expect(throws: InvocationError.self) { try FunctionID(text) }
        #expect(error?.code == "function_not_found" && error?.message.contains(text) == true)
    }

    @Test(arguments: [
        "a", "", "core", "Core::x", " core::x", "corex::y", "engine::channels::created", "engine::functions::list", "my::core::x",
    ])
    func othersMayBeNamed(_ text: String) throws {
        #expect(try FunctionID(text).json == JSONText.string(text))
    }

    @Test func ownSourceIsNotRestricted() {
        let id: FunctionID = "core::builtin::hello"
        #expect(id.text == "core::builtin::hello" && id == FunctionID(own: "core::builtin::hello"))
    }

    @Test(
        arguments: [
            (#"{"condition_function_id":"core::x"}"#, true), (#"{"a":[{"b":{"function_id":"builtin::y"}}]}"#, true),
            (#"{"middleware_function_ids":["f","core::x"]}"#, true), (#"{"\u0066unction_id":"\u0063ore::x"}"#, true),
            (#"{"function_id":"f","text":"core::x"}"#, false), (#"{"function_ids":[1,null,{"x":2}]}"#, false), ("null", false),
            (#"{"function_id":{"function_id":"engine::channels::create"}}"#, true), ("not json::", false), ("", false),
        ])
    func idsInsideAConfigAreFound(_ json: String, _ isFound: Bool) {
        #expect((FunctionID.objection(inside: Array(json.utf8)) != nil) == isFound)
    }
}
