import IIIProtocol
import IIIWorker
import Testing

@testable import IIIHTTPGateway

@Suite struct OpenAPITests {
    private func route(_ method: RouteMethod, _ path: String, _ function: String, metadata: String? = nil) throws -> Route {
        Route(
            triggerID: "\(method) \(path)", method: method, pattern: try RoutePattern(path), functionID: FunctionID(own: function),
            metadata: metadata.map { Array($0.utf8) })
    }

    private func document(_ routes: [Route], _ functions: [String: FunctionDescription] = [:]) throws -> JSONValue {
        let known = Dictionary(uniqueKeysWithValues: functions.map { (FunctionReference(namespace: "default", id: $0.key), $0.value) })
        return try JSONValue(parsing: OpenAPIDocument.make(routes: routes, functions: known, version: "1"))
    }

    @Test func pathsParametersAndTags() throws {
        let document = try document([
            try route(.get, "users/:id", "users::get", metadata: #"{"tags":["users"],"team":"core"}"#),
            try route(.post, "/users/:userId", "users::put", metadata: #"{"team":"core"}"#), try route(.get, "/files/{*rest}", "f"),
            try route(.get, "/", "root"), try route(.get, "/odd/{a", "users::get"),
        ])
        let paths = try unwrap(document["paths"]?.object)
        #expect(Set(paths.keys) == ["/users/{id}", "/files/{rest}", "/", "/odd/%7Ba"])
        let users = try unwrap(paths["/users/{id}"])
        #expect(users["get"]?["parameters"] == [["name": "id", "in": "path", "required": true, "schema": ["type": "string"]]])
        #expect(users["get"]?["tags"] == ["users"])
        #expect(users["post"]?["tags"] == ["team:core"])
        #expect(users["post"]?["parameters"] == users["get"]?["parameters"])
        #expect(paths["/odd/%7Ba"]?["get"]?["operationId"] == "users.get")
        #expect(users["get"]?["operationId"] == "users.get_2")
        #expect(document["openapi"] == "3.1.0")
    }

    @Test func schemasOfAFunction() throws {
        let request: JSONValue = [
            "type": "object", "properties": ["body": ["$ref": "#/$defs/User"], "headers": ["type": "object"]],
            "$defs": ["User": ["type": "object", "properties": ["name": ["type": "string"]]]],
        ]
        let document = try document(
            [try route(.post, "/users", "users::make")],
            ["users::make": FunctionDescription(description: "Makes a user", requestFormat: request, responseFormat: ["type": "string"])])
        let operation = try unwrap(document["paths"]?["/users"]?["post"])
        #expect(operation["summary"] == "Makes a user")
        let pointer = "#/components/schemas/users.make.request"
        #expect(operation["requestBody"]?["content"]?["application/json"]?["schema"] == ["$ref": .string("\(pointer)/properties/body")])
        let schema = document["components"]?["schemas"]?["users.make.request"]
        #expect(schema?["properties"]?["body"] == ["$ref": .string("\(pointer)/$defs/User")])
        #expect(
            operation["responses"]?["default"]?["content"]?["application/json"]?["schema"]
                == ["$ref": "#/components/schemas/users.make.response"])
    }

    @Test(
        arguments: [
            (["required": true, "type": "object"], ["type": "object"]),
            (["type": "text", "minLength": -1, "enum": 1, "title": 2, "$id": "x", "$ref": "http://x/", "unknown": 1], [:]),
            (["type": ["string", "null"], "maximum": 2.5, "x-a": 1], ["type": ["string", "null"], "maximum": 2.5, "x-a": 1]),
            (["anyOf": [["type": "string"], 5]], ["anyOf": [["type": "string"], [:]]]),
            (
                [
                    "name": "input", "type": "object",
                    "body": [["name": "a", "type": "string", "required": true], ["name": "b", "type": "odd"]],
                ],
                ["type": "object", "properties": ["a": ["type": "string"], "b": [:]], "required": ["a"]]
            ),
            (
                [["name": "a", "type": "array", "items": ["type": "integer"]]],
                [
                    "type": "object", "properties": ["a": ["type": "array", "items": ["type": "integer"]]],
                ]
            ),
        ] as [(JSONValue, JSONValue)])
    func formatsAreMadeValid(_ format: JSONValue, _ schema: JSONValue) {
        #expect(OpenAPISchema.schema(format, at: "#/x") == schema)
    }

    @Test(arguments: [nil, [:], [], 5, "text"] as [JSONValue]) func emptyFormatsSayNothing(_ format: JSONValue) {
        #expect(OpenAPISchema.schema(format, at: "#/x") == nil)
    }

    @Test func deepSchemasAreCut() {
        var schema: JSONValue = ["type": "string"]
        for _ in 0..<100 { schema = ["items": schema] }
        var depth = 0
        var rest = OpenAPISchema.schema(schema, at: "#/x")
        while let next = rest?["items"] {
            rest = next
            depth += 1
        }
        #expect(depth == OpenAPISchema.maximumDepth)
    }

    @Test func operationsAreLimited() throws {
        let routes = try (0..<(OpenAPIDocument.maximumOperations + 3)).map { try route(.get, "/p\($0)", "f") }
        let document = try document(routes)
        #expect(document["paths"]?.object?.count == OpenAPIDocument.maximumOperations)
        #expect(document["x-iii-omitted"] == 3)
    }
}
