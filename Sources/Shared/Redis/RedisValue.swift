/// A reply of Redis (RESP2).
public enum RedisValue: Sendable, Equatable {
    case null
    /// `OK`, `PONG`, `QUEUED`.
    case status(String)
    case integer(Int)
    case bytes([UInt8])
    case array([RedisValue])
    /// Inside an array only (EXEC): elsewhere an error fails the command.
    case error(String)

    /// An integer, or bytes that are one in decimal; nil for anything else.
    public var int: Int? {
        switch self {
        case .integer(let value): value
        case .bytes(let bytes): Int(String(decoding: bytes, as: UTF8.self))
        default: nil
        }
    }

    /// A status, or bytes read as UTF-8; nil for anything else.
    public var text: String? {
        switch self {
        case .status(let text): text
        case .bytes(let bytes): String(decoding: bytes, as: UTF8.self)
        default: nil
        }
    }

    /// nil for anything but bytes.
    public var bytes: [UInt8]? { if case .bytes(let bytes) = self { bytes } else { nil } }
    /// nil for anything but an array.
    public var array: [RedisValue]? { if case .array(let values) = self { values } else { nil } }
    /// Whether there is no such key, member or element.
    public var isNull: Bool { self == .null }
}
