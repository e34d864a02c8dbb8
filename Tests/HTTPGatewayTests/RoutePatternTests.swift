import Testing

@testable import IIIHTTPGateway

@Suite struct RoutePatternTests {
    @Test(arguments: [
        ("users/:id", "users/:id", ["id"]), ("/users/:id", "users/:id", ["id"]), ("//users/:id", "users/:id", ["id"]),
        ("/", "", []), ("", "", []), ("/a/{b}/c", "a/{b}/c", ["b"]), ("/files/{*rest}", "files/{*rest}", ["rest"]),
        ("/x:y", "x:y", []), ("/:id.json", ":id.json", ["id.json"]), ("/{broken", "{broken", []), ("/a{b}", "a{b}", []),
        ("/:gr\u{F6}\u{DF}e/{na\u{EF}ve}", ":gr\u{F6}\u{DF}e/{na\u{EF}ve}", ["gr\u{F6}\u{DF}e", "na\u{EF}ve"]),
    ])
    func parses(_ path: String, _ key: String, _ names: [String]) throws {
        let pattern = try RoutePattern(path)
        #expect(pattern.registered == path)
        #expect(pattern.key == key)
        #expect(pattern.parameterNames == names)
    }

    @Test(arguments: [
        "/files/*", "/*rest", "/a/:", "/{*rest}/more", "/:x/:x", "/users/:id?", "/{a b}", "/{*rest#}", String(repeating: "a", count: 3000),
        String(repeating: "/:p", count: 65).split(separator: "/").enumerated().map { "/\($1)\($0)" }.joined(),
    ])
    func refuses(_ path: String) {
        #expect(throws: RoutePatternError.self) { try RoutePattern(path) }
    }

    @Test func methodsAreReadInAnyCase() {
        #expect(RouteMethod(name: "post") == .post)
        #expect(RouteMethod(name: "Options") == .options)
        #expect(RouteMethod(name: "TRACE") == nil)
    }
}
