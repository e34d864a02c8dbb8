/// Text that somebody else wrote, on its way into a message for a person.
package enum VisibleText {
    /// Characters that nobody sees, or that drive a terminal, as `\u001b`. Line ends stay.
    package static func escaped(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 && $0 != 0x0A || $0 >= 0x7F }) else { return text }
        var output = ""
        for scalar in text.unicodeScalars {
            if scalar == "\n" || scalar == " " || !isInvisible(scalar) {
                output.unicodeScalars.append(scalar)
            } else {
                let digits = String(scalar.value, radix: 16)
                output += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
            }
        }
        return output
    }

    /// One line of at most `limit` characters, without secrets.
    package static func shown(_ text: String, limit: Int = 60) -> String {
        let masked = SecretMask.maskedText(text)
        let line = String(masked.prefix(limit)).replacing("\n", with: "\\n")
        return escaped(masked.count > limit ? "\(line)…" : line)
    }

    /// Whether a name can be read, typed and told from others.
    package static func isVisible(_ text: String) -> Bool { text.unicodeScalars.allSatisfy { $0 != " " && !isInvisible($0) } }

    private static func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: true
        case .spaceSeparator: scalar != " "
        default: false
        }
    }
}
