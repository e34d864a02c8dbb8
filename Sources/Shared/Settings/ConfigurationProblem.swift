/// One thing that is wrong with a configuration, or worth knowing, and where.
public struct ConfigurationProblem: Error, Sendable, Hashable, CustomStringConvertible {
    /// 1-based line of the file; nil when the problem belongs to no line.
    public var line: Int?
    /// What is wrong, naming the key, and the cure.
    public var message: String

    /// `line` counts from 1.
    public init(line: Int? = nil, message: String) {
        self.line = line
        self.message = VisibleText.escaped(message)
    }

    public var description: String { line.map { "line \($0): \(message)" } ?? message }
}

/// A configuration that its declaration refuses: everything that is wrong with it, each with key and cure.
public struct InvalidSettings: Error, Sendable, Hashable, CustomStringConvertible {
    /// In the order of the file; at least one.
    public let problems: [ConfigurationProblem]

    public var description: String { problems.map(\.message).joined(separator: "; ") }
}
