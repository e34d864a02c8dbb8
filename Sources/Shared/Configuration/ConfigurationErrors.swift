import IIISettings

/// Everything that is wrong with a configuration, so that a user mends a file in one go.
package struct ConfigurationErrors: Error, Sendable, Hashable, CustomStringConvertible {
    /// The file, as the user wrote its path; nil when there is none.
    package var path: String?
    package var problems: [ConfigurationProblem]

    package init(path: String? = nil, problems: [ConfigurationProblem]) {
        self.path = path
        self.problems = problems
    }

    /// `Error: ` and one `path:line: message` line per problem, in order of lines.
    package var description: String {
        let ordered = problems.enumerated().sorted { ($0.element.line ?? 0, $0.offset) < ($1.element.line ?? 0, $1.offset) }
        let lines = ordered.map { problem in
            guard let path, let line = problem.element.line else { return problem.element.message }
            return "\(path):\(line): \(problem.element.message)"
        }
        return "Error: " + lines.joined(separator: "\n       ")
    }

    // Never reworded: tools match on them.

    package static func notFound(path: String) -> ConfigurationErrors {
        let message =
            "Config file not found: '\(path)'.\nHint: create a config.yaml or pass --use-default-config to run with defaults."
        return ConfigurationErrors(path: path, problems: [ConfigurationProblem(message: message)])
    }

    package static func unreadable(path: String, cause: String) -> ConfigurationErrors {
        ConfigurationErrors(path: path, problems: [ConfigurationProblem(message: "Failed to read config file '\(path)': \(cause)")])
    }

    package static func unparsable(path: String, line: Int?, cause: String) -> ConfigurationErrors {
        let problem = ConfigurationProblem(line: line, message: "Failed to parse config file '\(path)': \(cause)")
        return ConfigurationErrors(path: path, problems: [problem])
    }
}
