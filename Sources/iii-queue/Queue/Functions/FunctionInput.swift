import IIIProtocol
import IIIWorker

/// The input of a function of ours: members that are only passed on keep every byte, and what is missing or of the wrong type is an
/// error that names it (docs/reference/errors.md#deserialization_error).
struct FunctionInput {
    let function: String
    private let bytes: [UInt8]
    private let spans: [String: Range<Int>]

    init(_ payload: [UInt8], function: String) throws(InvocationError) {
        self.function = function
        bytes = payload
        // Nothing at all is an object without members.
        let spans = payload.elementsEqual("null".utf8) ? [:] : payload.withUnsafeBytes { JSONMembers($0)?.ranges }
        guard let spans else { throw Self.error(function, "invalid type: expected an object") }
        self.spans = spans
    }

    static func error(_ function: String, _ detail: String) -> InvocationError {
        InvocationError(.deserializationError, "Failed to deserialize input for \(function): \(detail)")
    }

    func invalid(_ detail: String) -> InvocationError { Self.error(function, detail) }

    /// The text of a member; `null` where it is written so, nil where it is absent.
    func raw(_ key: String) -> [UInt8]? { spans[key].map { Array(bytes[$0]) } }

    /// The decoded member; nil when it is absent or null.
    subscript(_ key: String) -> JSONValue? {
        guard let raw = raw(key), let value = try? JSONValue(parsing: raw), !value.isNull else { return nil }
        return value
    }

    /// The text of a member that has to be there; the first of `keys` that is counts.
    func text(_ keys: String...) throws(InvocationError) -> String {
        guard let key = keys.first(where: { spans[$0] != nil }) else { throw invalid("missing field `\(keys[0])`") }
        guard let text = self[key]?.string else { throw invalid("`\(key)` must be a string") }
        return text
    }

    /// The text of a member that may be absent or null; the first of `keys` that is there counts.
    func optionalText(_ keys: String...) throws(InvocationError) -> String? {
        guard let key = keys.first(where: { self[$0] != nil }), let value = self[key] else { return nil }
        guard let text = value.string else { throw invalid("`\(key)` must be a string") }
        return text
    }

    /// A whole number of `range`; nil when it is absent or null.
    func integer(_ key: String, in range: ClosedRange<Int64>) throws(InvocationError) -> Int? {
        guard let value = self[key] else { return nil }
        guard let number = value.integer, range.contains(number) else {
            throw invalid("`\(key)` must be a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return Int(number)
    }

    /// Refuses members other than `known`: a misspelt option must not look as if it acted.
    func allow(only known: Set<String>) throws(InvocationError) {
        if let unknown = spans.keys.filter({ !known.contains($0) }).min() {
            throw invalid("unknown field `\(unknown)`, expected one of \(known.sorted().map { "`\($0)`" }.joined(separator: ", "))")
        }
    }
}

/// `{topic, data}`: what `publish` and `iii::durable::publish` take.
struct Publication {
    let topic: String
    /// One JSON value, every byte as it came.
    let data: [UInt8]

    init(_ payload: [UInt8], function: String) throws(InvocationError) {
        let input = try FunctionInput(payload, function: function)
        topic = try input.text("topic")
        guard let data = input.raw("data") else { throw input.invalid("missing field `data`") }
        guard !topic.isEmpty else { throw InvocationError(.topicNotSet, "Topic is not set") }
        self.data = data
    }
}
