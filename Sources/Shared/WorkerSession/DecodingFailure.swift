import IIIProtocol

/// What is wrong with an input, in the words of whoever sent it: the member, and what it should be.
struct DecodingFailure: CustomStringConvertible {
    private let error: any Error

    init(_ error: any Error) { self.error = error }

    var description: String {
        switch error as? DecodingError {
        case .keyNotFound(let key, let context): "'\(Self.path(context.codingPath + [key]))' is missing"
        case .valueNotFound(let type, let context): "'\(Self.path(context.codingPath))' is null; \(Self.name(of: type)) is expected"
        case .typeMismatch(let type, let context): "'\(Self.path(context.codingPath))' must be \(Self.name(of: type))"
        case .dataCorrupted(let context) where context.codingPath.isEmpty: "it is not valid JSON"
        case .dataCorrupted(let context): "'\(Self.path(context.codingPath))' cannot be read"
        default: "it cannot be read"
        }
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        guard !keys.isEmpty else { return "input" }
        return keys.reduce(into: "") { text, key in
            if let index = key.intValue { text += "[\(index)]" } else { text += text.isEmpty ? key.stringValue : ".\(key.stringValue)" }
        }
    }

    private static func name(of type: any Any.Type) -> String {
        switch type {
        case is String.Type: "a string"
        case is Bool.Type: "true or false"
        case is any FixedWidthInteger.Type: "an integer"
        case is any BinaryFloatingPoint.Type: "a number"
        default: "\(type)".hasPrefix("Array<") ? "an array" : "an object"
        }
    }
}
