/// A statement that is prepared once per connection and then used again.
///
/// Keep it in a `static let`: a connection remembers statements by the object, not by the text.
public final class SQL: Sendable, ExpressibleByStringLiteral {
    /// One statement, values as `?`.
    public let text: String

    /// Nothing is checked here; a wrong statement fails its first use with `badStatement`.
    public init(_ text: String) { self.text = text }
    public convenience init(stringLiteral text: String) { self.init(text) }
}
