import IIISettings

/// Replaces `${NAME}` and `${NAME:default}` in the text of a configuration file, before YAML sees it (docs/configuration.md).
///
/// One pass, never recursive. NAME is everything up to the first `:` or `}`; DEFAULT is everything up to the first `}` and
/// may be empty. A variable that is set to the empty string counts as set. `${}` and `${:x}` stay as they are, so does
/// `$NAME`. `$${` is written as `${` and expands nothing. Lines whose first character is `#` are not touched. The default
/// `__III_ENGINE_VERSION__` stands for the version of the engine. All missing variables are reported at once.
package struct VariableExpansion: Sendable {
    package var environment: [String: String]
    package var engineVersion: String

    package init(environment: [String: String], engineVersion: String) {
        self.environment = environment
        self.engineVersion = engineVersion
    }

    /// The expanded text, or one problem per missing variable and line.
    package func expand(_ text: String) throws(ConfigurationErrors) -> String {
        var problems: [ConfigurationProblem] = []
        var output: [UInt8] = []
        let bytes = Array(text.utf8)
        output.reserveCapacity(bytes.count)
        var lineNumber = 1
        var start = 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            let line = bytes[start..<end]
            if line.first(where: { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }) == UInt8(ascii: "#") {
                output += line
            } else {
                expandLine(line, number: lineNumber, into: &output, problems: &problems)
            }
            if end < bytes.count { output.append(UInt8(ascii: "\n")) }
            start = end + 1
            lineNumber += 1
        }
        guard problems.isEmpty else { throw ConfigurationErrors(problems: problems) }
        return String(decoding: output, as: UTF8.self)
    }

    private func expandLine(_ line: ArraySlice<UInt8>, number: Int, into output: inout [UInt8], problems: inout [ConfigurationProblem]) {
        var index = line.startIndex
        while index < line.endIndex {
            guard line[index] == UInt8(ascii: "$") else {
                output.append(line[index])
                index += 1
                continue
            }
            if Self.starts(line, at: index, with: "$${") {
                output += Array("${".utf8)
                index += 3
            } else if Self.starts(line, at: index, with: "${"), let close = line[index...].firstIndex(of: UInt8(ascii: "}")) {
                let inner = line[(index + 2)..<close]
                expandReference(inner, number: number, into: &output, problems: &problems)
                index = close + 1
            } else {
                output.append(line[index])
                index += 1
            }
        }
    }

    private func expandReference(
        _ inner: ArraySlice<UInt8>, number: Int, into output: inout [UInt8], problems: inout [ConfigurationProblem]
    ) {
        let colon = inner.firstIndex(of: UInt8(ascii: ":"))
        let name = String(decoding: inner[..<(colon ?? inner.endIndex)], as: UTF8.self)
        if name.isEmpty {
            output += Array("${".utf8) + inner + [UInt8(ascii: "}")]
        } else if let value = environment[name] {
            output += Array(value.utf8)
        } else if let colon {
            let fallback = String(decoding: inner[(colon + 1)...], as: UTF8.self)
            output += Array((fallback == "__III_ENGINE_VERSION__" ? engineVersion : fallback).utf8)
        } else {
            let message = "Environment variable '\(name)' not set and no default provided (set it, or write ${\(name):default})"
            problems.append(ConfigurationProblem(line: number, message: message))
        }
    }

    private static func starts(_ line: ArraySlice<UInt8>, at index: Int, with text: StaticString) -> Bool {
        guard index + text.utf8CodeUnitCount <= line.endIndex else { return false }
        return (0..<text.utf8CodeUnitCount).allSatisfy { line[index + $0] == text.utf8Start[$0] }
    }
}
