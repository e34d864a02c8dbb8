import IIIProtocol

/// Who sent something: the attributes of a process. One object is shared by all its records.
public final class Resource: Sendable, Hashable {
    /// As sent.
    public let attributes: [Attribute]
    /// `service.name`, else `unknown`.
    public let serviceName: String
    /// Whether this is the SDK that sends kinds one too low (`telemetry.sdk.name` is `iii-python-sdk`).
    public let countsKindsFromZero: Bool

    /// Reads what is needed of them once.
    public init(_ attributes: [Attribute] = []) {
        self.attributes = attributes
        let name = attributes["service.name"]?.text ?? ""
        serviceName = name.isEmpty ? "unknown" : name
        countsKindsFromZero = attributes["telemetry.sdk.name"]?.text == "iii-python-sdk"
    }

    /// The process among those of one service: `service.instance.id`, where it says one.
    public var instanceID: String? { attributes["service.instance.id"]?.text }
    /// The part of the engine that sent it, for what the engine's own processes send.
    public var component: String? { attributes["iii.component"]?.text }
    /// An object of texts.
    public var json: JSONValue { .object(Dictionary(attributes.map { ($0.key, .string($0.value.text)) }) { $1 }) }
    /// Roughly what it costs to keep, in bytes.
    public var cost: Int { 64 + attributes.cost }

    public static func == (left: Resource, right: Resource) -> Bool { left === right || left.attributes == right.attributes }
    public func hash(into hasher: inout Hasher) { hasher.combine(attributes) }
}

/// The library that made a record; empty texts where it does not say.
public struct InstrumentationScope: Sendable, Hashable {
    /// E.g. `iii.logger`.
    public var name: String
    /// Of that library.
    public var version: String

    /// Empty for what does not say.
    public init(name: String = "", version: String = "") {
        self.name = name
        self.version = version
    }
}
