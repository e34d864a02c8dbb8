/// Why a text is no expression: what is wrong, where, and what to write instead.
public struct CronError: Error, Sendable, Equatable, CustomStringConvertible {
    /// As it was given.
    public let expression: String
    /// Where reading stopped, in characters from 0.
    public let position: Int
    /// What is wrong with it, as one sentence.
    public let reason: String
    /// What to write instead, where that can be guessed.
    public let suggestion: String?

    /// The expression, a caret below the position, the reason.
    public var description: String {
        let caret = String(repeating: " ", count: position) + "^"
        return "\(expression)\n\(caret)\n\(reason)" + (suggestion.map { " \($0)" } ?? "")
    }
}
