/// The id of a function that may be called, together with its JSON form, so that a call writes it without escaping it again.
///
/// The core and its built-ins call functions because somebody else named them: the target, the condition and the middleware of a
/// trigger, the target of a queued message, the function that is told of a channel. Such a call carries *their* privileges, so
/// `init(_:)`, the only way from a text to an id, refuses what must not be reached by that detour. Ids that stand in a program's
/// own source are literals.
public struct FunctionID: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// The id as it goes over the wire.
    public let text: String
    /// The quoted JSON literal.
    public let json: [UInt8]

    /// From a text that somebody else may have chosen. Throws `function_not_found`, naming the id and the reason, for ids of the
    /// private contract and for functions whose result would belong to nobody.
    public init(_ text: String) throws(InvocationError) {
        if let objection = Self.objection(to: text) { throw InvocationError(.functionNotFound, objection) }
        self.init(own: text)
    }

    /// From an id that this program has made itself, or that it calls with no privileges but its user's.
    package init(own text: String) {
        self.text = text
        json = JSONText.string(text)
    }

    public init(stringLiteral value: String) { self.init(own: value) }

    public static func == (left: FunctionID, right: FunctionID) -> Bool { left.text == right.text }
    public func hash(into hasher: inout Hasher) { hasher.combine(text) }
    public var description: String { text }
}

// MARK: What must not be named

extension FunctionID {
    private static let privatePrefixes = ["core::", "builtin::"]
    /// A channel belongs to whoever asks for it, and counts against that worker's limit; a trigger's call has no such worker.
    private static let createChannel = "engine::channels::create"

    /// Whether `id` belongs to the contract between the core and its built-ins (docs/reference/core-workers.md).
    package static func isPrivate(_ id: String) -> Bool {
        privatePrefixes.contains { id.utf8.starts(with: $0.utf8) }
    }

    /// Why nobody may have `id` called on their behalf; nil when they may.
    package static func objection(to id: String) -> String? {
        if isPrivate(id) { return "Function \(id) is for the core and its built-ins only" }
        if id == createChannel {
            return "Function \(id) cannot be called on somebody's behalf, because the channel would belong to nobody: "
                + "name a function of your own that calls it"
        }
        return nil
    }

    /// The same for every id inside a trigger's config or metadata (JSON text): members of any depth whose name ends in
    /// `function_id` or `function_ids`, such as conditions and middleware. Providers call those with their own privileges.
    package static func objection(inside json: [UInt8]) -> String? {
        guard mayName(json) else { return nil }
        return named(inside: json).lazy.compactMap(objection(to:)).first
    }

    /// Every function id that a trigger's config or metadata (JSON text) names.
    package static func named(inside json: [UInt8]) -> [String] {
        guard let value = try? JSONValue(parsing: json) else { return [] }
        var ids: [String] = []
        collect(value, &ids)
        return ids
    }

    private static func collect(_ value: JSONValue, _ ids: inout [String]) {
        switch value {
        case .array(let elements):
            for element in elements { collect(element, &ids) }
        case .object(let members):
            for (name, member) in members {
                if name.hasSuffix("function_id") || name.hasSuffix("function_ids") {
                    ids += (member.array ?? [member]).compactMap(\.string)
                }
                collect(member, &ids)
            }
        default: break
        }
    }

    /// Whether the text can hold an id of the private contract at all; almost none does, and then it is not decoded.
    private static func mayName(_ json: [UInt8]) -> Bool {
        var previous: UInt8 = 0
        for byte in json {
            if byte == UInt8(ascii: "\\") || (byte == UInt8(ascii: ":") && previous == byte) { return true }
            previous = byte
        }
        return false
    }
}
