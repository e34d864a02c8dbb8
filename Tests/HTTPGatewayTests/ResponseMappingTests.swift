import IIIProtocol
import Testing

@testable import IIIHTTPGateway

@Suite struct ResponseMappingTests {
    /// Status, content type and body of a handler's return value.
    struct Mapping: CustomTestStringConvertible {
        let result: String
        let status: Int
        let contentType: String?
        let body: String
        var testDescription: String { result }

        init(_ result: String, _ status: Int, _ contentType: String?, _ body: String) {
            self.result = result
            self.status = status
            self.contentType = contentType
            self.body = body
        }
    }

    static let json = "application/json"

    @Test(arguments: [
        Mapping("{}", 200, json, "{}"), Mapping(#""hi""#, 200, json, "{}"), Mapping("[1]", 200, json, "{}"), Mapping("7", 200, json, "{}"),
        Mapping("false", 200, json, "{}"), Mapping(#"{"hello":1}"#, 200, json, "{}"),
        Mapping(#"{"status_code":201,"body":{"a":[1,2]}}"#, 201, json, #"{"a":[1,2]}"#), Mapping(#"{"body":"hi"}"#, 200, json, #""hi""#),
        Mapping(#"{"body":null}"#, 200, json, "null"), Mapping(#"{"body":12}"#, 200, json, "12"),
        Mapping(#"{"status_code":404.0,"body":1}"#, 200, json, "1"), Mapping(#"{"status_code":"404","body":1}"#, 200, json, "1"),
        Mapping(#"{"status_code":205,"body":1}"#, 205, nil, ""), Mapping(#"{"status_code":"99","body":1}"#, 200, json, "1"),
        Mapping(#"{"status_code":true,"body":1}"#, 200, json, "1"), Mapping(#"{"status_code":204}"#, 204, nil, ""),
        Mapping(#"{"status_code":304,"body":{"a":1}}"#, 304, nil, ""), Mapping(#"{"status_code":599,"body":1}"#, 599, json, "1"),
        Mapping(#"{"headers":{"Content-Type":"text/xml"},"body":"<a x=\"1\"/>\n"}"#, 200, "text/xml", "<a x=\"1\"/>\n"),
        Mapping(#"{"headers":{"content-type":"application/json"},"body":"raw"}"#, 200, json, "raw"),
        Mapping(#"{"headers":{"content-type":"text/plain"},"body":null}"#, 200, "text/plain", ""),
        Mapping(#"{"headers":{"content-type":"text/plain"},"body":[1, 2]}"#, 200, "text/plain", "[1, 2]"),
        Mapping(#"{"headers":["Content-Type: text/css"],"body":"é\u00e9"}"#, 200, "text/css", "éé"),
        Mapping(#"{ "status_code" : 202 , "body" : true }"#, 202, json, "true"),
        Mapping(#"{"st\u0061tus_code":202,"body":1}"#, 202, json, "1"),
        Mapping(#"{"body":1,"body":2}"#, 200, json, "2"), Mapping(#"{"headers":7,"body":1}"#, 200, json, "1"),
    ])
    func mapsResults(_ mapping: Mapping) throws {
        let response = try respond(to: mapping.result)
        #expect(response.status == mapping.status)
        #expect(response.header("content-type") == mapping.contentType)
        #expect(response.body == mapping.body)
        #expect(response.header("content-length") == (mapping.status == 204 || mapping.status == 304 ? nil : "\(mapping.body.utf8.count)"))
        #expect(response.header("date") != nil)
    }

    private func respond(to result: String, _ change: (inout HTTPConfiguration) -> Void = { _ in }) throws -> GatewayHarness.Response {
        let harness = GatewayHarness(change)
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().answer(result)
        return client.response()
    }

    @Test func arrayHeadersKeepDuplicatesAndDropTheRest() throws {
        let response = try respond(to: #"{"headers":["Set-Cookie: a=1","Set-Cookie: b=2","bad",1,": x","x y: z"]}"#)
        #expect(response.all("set-cookie") == ["a=1", "b=2"])
        let own = [
            "content-type", "date", "x-request-id", "access-control-allow-origin", "access-control-expose-headers", "vary",
            "content-length",
        ]
        #expect(Set(response.headers.map(\.name)) == Set(own + ["set-cookie"]))
    }

    @Test func objectHeadersTakeScalarsAndLists() throws {
        let response = try respond(to: #"{"headers":{"X-A":"1","X-N":2,"X-B":true,"Set-Cookie":["a=1","b=2"],"X-O":{},"X-Z":null}}"#)
        #expect(response.header("x-a") == "1")
        #expect(response.header("x-n") == "2")
        #expect(response.header("x-b") == "true")
        #expect(response.all("set-cookie") == ["a=1", "b=2"])
        #expect(response.header("x-o") == nil)
        #expect(response.header("x-z") == nil)
    }

    @Test func whatBreaksFramingIsLeftOut() throws {
        let result =
            #"{"headers":{"content-length":"999","Transfer-Encoding":"chunked","Connection":"keep-alive","x":"a\r\nevil: 1","ok":"1"}}"#
        let response = try respond(to: result)
        #expect(response.all("content-length") == ["2"])
        #expect(response.header("transfer-encoding") == nil)
        #expect(response.header("connection") == nil)
        #expect(response.header("evil") == nil)
        #expect(response.header("x") == nil)
        #expect(response.header("ok") == "1")
    }

    @Test func informationalStatusIsAnError() throws {
        let response = try respond(to: #"{"status_code":101}"#)
        #expect(response.status == 500)
        #expect(response.body.hasPrefix(#"{"error":"internal server error","error_id":""#))
    }

    @Test func permissiveCORSHeaders() throws {
        let response = try respond(to: #"{"headers":{"Access-Control-Allow-Origin":"http://x","Vary":"accept"}}"#)
        #expect(response.all("access-control-allow-origin") == ["*"])
        #expect(response.header("access-control-expose-headers") == "*")
        #expect(response.all("vary") == ["accept", "origin, access-control-request-method, access-control-request-headers"])
    }

    @Test func dateFormat() {
        #expect(String(decoding: HTTPDate.line(at: 784_111_777), as: UTF8.self) == "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
    }

    @Test(arguments: [
        (GatewayError.notFound, "", #"{"error":{"code":"NOT_FOUND","message":"Not Found"}}"#),
        (.deadlineExceeded, "", ""),
        (
            .conditionNotMet, #"{"error":"Request condition not met","skipped":true}"#,
            #"{"error":{"code":"CONDITION_NOT_MET","message":"Request condition not met"},"skipped":true}"#
        ),
        (
            .functionFailed(code: "c", message: "boom", errorID: "1f"), #"{"error":"boom","error_id":"1f"}"#,
            #"{"error":{"code":"c","error_id":"1f","message":"boom"}}"#
        ),
        (
            .payloadTooLarge, #"{"error":"Request body too large"}"#,
            #"{"error":{"code":"PAYLOAD_TOO_LARGE","message":"Request body too large"}}"#
        ),
    ])
    func errorBodies(_ error: GatewayError, _ flat: String, _ envelope: String) {
        #expect(String(decoding: error.body(.flat), as: UTF8.self) == flat)
        #expect(String(decoding: error.body(.envelope), as: UTF8.self) == envelope)
    }
}
