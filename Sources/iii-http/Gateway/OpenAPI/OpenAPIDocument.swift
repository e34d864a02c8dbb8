import IIIProtocol
import IIIWorker

/// Where a function is registered.
struct FunctionReference: Hashable {
    let namespace: String
    let id: String

    init(_ route: Route) {
        namespace = route.namespace ?? "default"
        id = route.functionID.text
    }

    init(namespace: String, id: String) {
        self.namespace = namespace
        self.id = id
    }
}

/// What the core tells about a function, as far as the document shows it.
struct FunctionDescription: Equatable {
    var description: String?
    var requestFormat: JSONValue?
    var responseFormat: JSONValue?
    var metadata: JSONValue?
}

/// An OpenAPI 3.1 document over live routes: one operation per route (docs/reference/http.md#paths-of-the-gateways-own). Pure.
///
/// Parameters come from the pattern, summary and schemas from the function, tags from the trigger's metadata, else the
/// function's. Schemas stand under `components`. At most `maximumOperations`; what is left out is counted in `x-iii-omitted`.
struct OpenAPIDocument {
    static let maximumOperations = 2000

    private var paths: [String: [String: JSONValue]] = [:]
    private var schemas: [String: JSONValue] = [:]
    private var operationIDs: Set<String> = []
    /// The template of every shape: paths that differ in parameter names only are one path here.
    private var templates: [String: PathTemplate] = [:]
    private let functions: [FunctionReference: FunctionDescription]

    private struct PathTemplate {
        let text: String
        let names: [String]
    }

    /// The document's JSON text.
    static func make(routes: [Route], functions: [FunctionReference: FunctionDescription], version: String) -> [UInt8] {
        var document = OpenAPIDocument(functions: functions)
        let sorted = routes.sorted { ($0.pattern.key, $0.method.rawValue) < ($1.pattern.key, $1.method.rawValue) }
        for route in sorted.prefix(maximumOperations) { document.add(route) }
        var result: [String: JSONValue] = [
            "openapi": "3.1.0", "info": ["title": "iii", "version": .string(version)],
            "paths": .object(document.paths.mapValues(JSONValue.object)),
        ]
        if !document.schemas.isEmpty { result["components"] = ["schemas": .object(document.schemas)] }
        if sorted.count > maximumOperations { result["x-iii-omitted"] = JSONValue(sorted.count - maximumOperations) }
        return JSONValue.object(result).bytes
    }

    private init(functions: [FunctionReference: FunctionDescription]) { self.functions = functions }

    private mutating func add(_ route: Route) {
        let template = template(of: route.pattern)
        let function = functions[FunctionReference(route)]
        let name = Self.componentName(route.functionID.text)
        var operation: [String: JSONValue] = [
            "operationId": .string(operationID(route, name)), "x-iii-function": .string(route.functionID.text),
            "responses": responses(function, name),
        ]
        if let description = function?.description, !description.isEmpty { operation["summary"] = .string(description) }
        if !template.names.isEmpty {
            operation["parameters"] = .array(
                template.names.map { ["name": .string($0), "in": "path", "required": true, "schema": ["type": "string"]] })
        }
        if let body = requestBody(route, function, name) { operation["requestBody"] = body }
        let tags = Self.tags(route.metadata.flatMap { try? JSONValue(parsing: $0) }) ?? Self.tags(function?.metadata)
        if let tags { operation["tags"] = .array(tags.map(JSONValue.string)) }
        paths[template.text, default: [:]][route.method.name.lowercased()] = .object(operation)
    }

    // MARK: Paths

    private mutating func template(of pattern: RoutePattern) -> PathTemplate {
        var shape = ""
        var text = ""
        var names = pattern.parameterNames[...]
        var used: [String] = []
        for segment in pattern.segments {
            shape += "/"
            text += "/"
            switch segment {
            case .literal(let bytes):
                let literal = Self.escaped(bytes)
                shape += literal
                text += literal
            case .parameter, .catchAll:
                let name = Self.parameterName(names.popFirst() ?? "", used)
                used.append(name)
                shape += "{}"
                text += "{\(name)}"
            }
        }
        if let known = templates[shape] { return known }
        let template = PathTemplate(text: text, names: used)
        templates[shape] = template
        return template
    }

    /// Literal braces would read as parameters.
    private static func escaped(_ bytes: [UInt8]) -> String {
        String(decoding: bytes, as: UTF8.self).split(separator: "{", omittingEmptySubsequences: false).joined(separator: "%7B")
            .split(separator: "}", omittingEmptySubsequences: false).joined(separator: "%7D")
    }

    private static func parameterName(_ name: String, _ used: [String]) -> String {
        let plain = String(name.map { "{}/?#".contains($0) ? "_" : $0 })
        return used.contains(plain) ? "\(plain)_\(used.count + 1)" : plain
    }

    // MARK: Operations

    private mutating func operationID(_ route: Route, _ name: String) -> String {
        var id = name
        var count = 1
        while !operationIDs.insert(id).inserted {
            count += 1
            id = "\(name)_\(count)"
        }
        return id
    }

    /// The format of a request describes the whole payload (docs/reference/http.md#what-a-function-gets), or the body alone.
    private mutating func requestBody(_ route: Route, _ function: FunctionDescription?, _ name: String) -> JSONValue? {
        guard [.post, .put, .patch, .delete].contains(route.method) else { return nil }
        guard let reference = add(function?.requestFormat, "\(name).request", part: "body") else { return nil }
        return ["content": ["application/json": ["schema": reference]]]
    }

    private mutating func responses(_ function: FunctionDescription?, _ name: String) -> JSONValue {
        var answer: [String: JSONValue] = ["description": "What the function returns"]
        if let reference = add(function?.responseFormat, "\(name).response", part: "body") {
            answer["content"] = ["application/json": ["schema": reference]]
        }
        return ["default": .object(answer)]
    }

    /// Puts a schema among the components and returns a reference to it, or to its property `part` if it has that.
    private mutating func add(_ format: JSONValue?, _ name: String, part: String) -> JSONValue? {
        let pointer = "#/components/schemas/\(name)"
        if schemas[name] == nil { schemas[name] = OpenAPISchema.schema(format, at: pointer) }
        guard let schema = schemas[name] else { return nil }
        let hasPart = schema["properties"]?[part] != nil
        return ["$ref": .string(hasPart ? "\(pointer)/properties/\(part)" : pointer)]
    }

    /// `users::get` as `users.get`: components have letters, digits, dots, hyphens and underscores only.
    private static func componentName(_ id: String) -> String {
        let parts = id.split(separator: ":").joined(separator: ".")
        return String(parts.map { $0.isASCII && ($0.isLetter || $0.isNumber || ".-_".contains($0)) ? $0 : "_" })
    }

    /// The list `tags`, else every text member as `key:value`.
    private static func tags(_ metadata: JSONValue?) -> [String]? {
        guard let members = metadata?.object else { return nil }
        let tags =
            members["tags"]?.array?.compactMap(\.string)
            ?? members.keys.sorted().compactMap { key in members[key]?.string.map { "\(key):\($0)" } }
        return tags.isEmpty ? nil : tags
    }
}
