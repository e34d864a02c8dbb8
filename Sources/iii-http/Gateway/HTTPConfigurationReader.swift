import IIIProtocol
import NIOCore

/// Why the configuration was refused: names the key and the cure.
package struct HTTPConfigurationError: Error, Equatable, Sendable {
    package let message: String

    package init(_ message: String) { self.message = message }
}

/// Reads members of one configuration object and, at the end, refuses those that nobody asked for. `null` means absent.
struct HTTPConfigurationReader {
    private var members: [String: JSONValue]
    private let path: String

    init(_ value: JSONValue, path: String) throws(HTTPConfigurationError) {
        switch value {
        case .null: members = [:]
        case .object(let object): members = object
        default: throw HTTPConfigurationError("\(path.isEmpty ? "config" : String(path.dropLast())) must be a map")
        }
        self.path = path
    }

    /// Takes a member out; nil when it is absent or null.
    mutating func take(_ key: String) -> JSONValue? {
        guard let value = members.removeValue(forKey: key), value != .null else { return nil }
        return value
    }

    /// Takes a member out, telling an explicit null from an absent one.
    mutating func takeNullable(_ key: String) -> JSONValue? { members.removeValue(forKey: key) }

    mutating func string(_ key: String) throws(HTTPConfigurationError) -> String? {
        guard let value = take(key) else { return nil }
        guard let text = value.string, !text.isEmpty else { throw wrong(key, "a text") }
        return text
    }

    /// The id of a function that may be called for a client's sake.
    mutating func function(_ key: String) throws(HTTPConfigurationError) -> FunctionID? {
        guard let text = try string(key) else { return nil }
        do throws(InvocationError) { return try FunctionID(text) } catch { throw HTTPConfigurationError("\(path)\(key): \(error.message)") }
    }

    mutating func boolean(_ key: String) throws(HTTPConfigurationError) -> Bool? {
        guard let value = take(key) else { return nil }
        guard let flag = value.bool else { throw wrong(key, "true or false") }
        return flag
    }

    mutating func integer(_ key: String, _ range: ClosedRange<Int>) throws(HTTPConfigurationError) -> Int? {
        guard let value = take(key) else { return nil }
        guard let number = value.integer.flatMap({ Int(exactly: $0) }), range.contains(number) else {
            throw wrong(key, "an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Up to 24 days, so that no sum of times overflows.
    mutating func milliseconds(_ key: String) throws(HTTPConfigurationError) -> TimeAmount? {
        try integer(key, 0...Int(Int32.max)).map { .milliseconds(Int64($0)) }
    }

    mutating func choice(_ key: String, _ choices: [String]) throws(HTTPConfigurationError) -> String? {
        guard let value = take(key) else { return nil }
        guard let text = value.string, choices.contains(text) else { throw wrong(key, choices.joined(separator: " or ")) }
        return text
    }

    mutating func ratio(_ key: String) throws(HTTPConfigurationError) -> Double? {
        guard let value = take(key) else { return nil }
        guard let number = value.number, (0...1).contains(number) else { throw wrong(key, "a number from 0 to 1") }
        return number
    }

    mutating func strings(_ key: String) throws(HTTPConfigurationError) -> [String] {
        guard let value = take(key) else { return [] }
        guard let array = value.array, array.allSatisfy({ $0.string != nil }) else { throw wrong(key, "a list of texts") }
        return array.compactMap(\.string)
    }

    /// Refuses what is left over.
    func finish() throws(HTTPConfigurationError) {
        guard let key = members.keys.min() else { return }
        throw HTTPConfigurationError("unknown key '\(path)\(key)'; remove it or correct its spelling")
    }

    func wrong(_ key: String, _ expected: String) -> HTTPConfigurationError {
        HTTPConfigurationError("\(path)\(key) must be \(expected)")
    }
}
