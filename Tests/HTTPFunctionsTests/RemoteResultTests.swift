import IIIHTTPClient
import IIIProtocol
import Testing

@testable import IIIHTTPFunctions

@Suite struct RemoteResultTests {
    private static func result(_ status: Int, _ body: String, reason: String = "") -> RemoteResult {
        RemoteResult(.response(status: status, reason: reason, body: Array(body.utf8)))
    }

    private static func failure(_ code: String, _ message: String) -> RemoteResult {
        .failure(InvocationError(code: code, message: message))
    }

    @Test func success() {
        #expect(Self.result(204, "") == .none)
        #expect(Self.result(200, "") == .none)
        #expect(Self.result(200, " \r\n\t ") == .none)
        #expect(Self.result(201, #"{"n":9007199254740993}"#) == .value(Array(#"{"n":9007199254740993}"#.utf8)))
        #expect(Self.result(200, " null ") == .value(Array(" null ".utf8)))
    }

    @Test(arguments: ["<html>", "{", " \u{A0}", "{\"a\":1}x", "\u{FEFF}{}"])
    func successThatIsNotJSON(_ body: String) {
        guard case .failure(let error) = Self.result(200, body) else { return #expect(Bool(false)) }
        #expect(error.code == "invalid_response")
    }

    @Test(
        arguments: [
            (502, #"{"error":{"code":"X","message":"m"}}"#, "", "X", "m"),
            (500, #"{"error":{"code":1}}"#, "", "http_error", "HTTP request failed"),
            (500, #"{"error":"boom"}"#, "", "http_error", "HTTP request failed"),
            (500, #"{"error":{"message":"only"}}"#, "", "http_error", "only"),
            (400, "oops", "", "http_error", "HTTP 400 Bad Request"), (400, "", "Very Bad", "http_error", "HTTP 400 Very Bad"),
            (422, #"{"detail":1}"#, "", "http_error", "HTTP 422 Unprocessable Entity"), (599, "", "", "http_error", "HTTP 599"),
            (302, "", "Found", "http_error", "HTTP 302 Found"), (301, "<a>", "", "http_error", "HTTP 301 Moved Permanently"),
            (302, #"{"error":{"code":"X","message":"m"}}"#, "", "X", "m"),
        ] as [(Int, String, String, String, String)])
    func errors(_ status: Int, _ body: String, _ reason: String, _ code: String, _ message: String) {
        #expect(Self.result(status, body, reason: reason) == Self.failure(code, message))
    }

    /// Taken over from 0.23.
    @Test func threeHundredsWithJSONAreValues() {
        #expect(Self.result(300, #"{"choices":[]}"#) == .value(Array(#"{"choices":[]}"#.utf8)))
    }

    @Test func transportFailures() {
        #expect(RemoteResult(.failed(.init(.request, "cannot connect"))) == Self.failure("http_request_failed", "cannot connect"))
        #expect(RemoteResult(.failed(.init(.response, "cut"))) == Self.failure("http_response_failed", "cut"))
        #expect(RemoteResult(.failed(.init(.address, ""))) == .failure(URLPolicy.privateAddress))
    }

    @Test func resultsFitTheMessage() {
        let value = Self.result(200, #""0123456789""#)
        #expect(value.fitting(12) == value && value.fitting(nil) == value)
        guard case .failure(let error) = value.fitting(11) else { return #expect(Bool(false)) }
        #expect(error.code == "payload_too_large")
    }
}

@Suite struct EndpointTableTests {
    private let key = EndpointTable.Key(namespace: "default", functionID: "f")

    private func endpoint(_ url: String) throws -> RemoteEndpoint {
        try RemoteEndpoint(functionID: "f", invocation: ["url": .string(url)], environment: { _ in nil })
    }

    @Test func theNewestMessageDecides() throws {
        var table = EndpointTable()
        let first = table.begin(key)
        let second = table.begin(key)
        #expect(table.accept(key, try endpoint("b"), ticket: second))
        #expect(try !table.accept(key, endpoint("a"), ticket: first), "an overtaken check changes nothing")
        #expect(table[key]?.url == "b")
        let third = table.begin(key)
        table.remove(key)
        #expect(try !table.accept(key, endpoint("c"), ticket: third) && table[key] == nil, "unregistering wins")
    }

    @Test func aRefusalKeepsWhatWasAccepted() throws {
        var table = EndpointTable()
        let first = table.begin(key)
        #expect(try table.accept(key, endpoint("a"), ticket: first))
        let second = table.begin(key)
        table.refuse(key, ticket: second)
        #expect(table[key]?.url == "a" && table.count == 1)
        table.removeAll()
        #expect(table.count == 0)
    }
}
