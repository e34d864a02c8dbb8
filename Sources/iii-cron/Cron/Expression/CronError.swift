/// Why a text is no expression: what is wrong, where, and what to write instead.
public struct CronError: Error, Sendable, Equatable, CustomStringConvertible {
    /// As it was given; of one that is too long, its beginning.
    public let expression: String
    /// Where reading stopped, in characters from 0.
    public let position: Int
    /// What is wrong with it, as one sentence.
    public let reason: String
    /// What to write instead, where that can be guessed.
    public let suggestion: String?

    /// The expression, a caret below the position, the reason.
    public var description: String {
        // Tabs and line ends would move the caret away from its place.
        let shown = String(String.UnicodeScalarView(expression.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }))
        let caret = String(repeating: " ", count: position) + "^"
        return "\(shown)\n\(caret)\n\(reason)" + (suggestion.map { " \($0)" } ?? "")
    }

    /// As a registrant or a caller is told.
    var sentence: String { "Invalid cron expression '\(expression)': \(self)" }
}
