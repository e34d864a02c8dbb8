import IIIProtocol

/// Reads expressions: six or seven fields as the baseline has them, and what it refuses: five fields, `L`, `W`, `#`, `@every`.
///
/// Nothing that the baseline accepts is read differently.
struct CronParser {
    private struct Character {
        let byte: UInt8
        let position: Int
    }

    /// Every list without repetitions fits, years included.
    private static let maximumLength = 2_048

    private let text: String
    /// Without the blanks around it; an index is the place in `text`.
    private let body: ArraySlice<UInt8>

    init(_ text: String) {
        self.text = text
        let bytes = Array(text.utf8)
        let first = bytes.firstIndex { !Self.isBlank($0) } ?? bytes.endIndex
        let last = bytes.lastIndex { !Self.isBlank($0) } ?? first - 1
        body = bytes[first..<(last + 1)]
    }

    static func parse(_ text: String) throws(CronError) -> CronExpression { try CronParser(text).expression() }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private func failure(_ position: Int, _ reason: String, _ suggestion: String? = nil) -> CronError {
        let isTooLong = text.utf8.count > Self.maximumLength
        let shown = isTooLong ? String(text.unicodeScalars.prefix(64)) + "…" : text
        return CronError(expression: shown, position: isTooLong ? 0 : position, reason: reason, suggestion: suggestion)
    }

    // MARK: Whole expressions

    private func expression() throws(CronError) -> CronExpression {
        guard text.utf8.count <= Self.maximumLength else {
            throw failure(0, "an expression has at most \(Self.maximumLength) characters.")
        }
        if let place = body.firstIndex(where: { $0 >= 0x80 }) { throw failure(place, "an expression is written in ASCII.") }
        if body.first == UInt8(ascii: "@") { return try shorthand() }
        let fields = split()
        let form: CronExpression.Form
        var kinds = Array(CronField.allCases.prefix(max(fields.count, 1)))
        switch fields.count {
        case 6, 7: form = .sixFields
        case 5:
            form = .fiveFields
            kinds = [.minutes, .hours, .dayOfMonth, .month, .dayOfWeek]
        default:
            throw failure(
                fields.count > 7 ? fields[7].first?.position ?? 0 : body.endIndex,
                "\(fields.count) fields: six are needed (seconds minutes hours day-of-month month day-of-week), a seventh may name years.",
                "With five fields it is classic cron, minutes first.")
        }
        var expression = CronExpression(text: text, form: form)
        if form == .fiveFields { expression.seconds.insert(0) }
        for (kind, characters) in zip(kinds, fields) { try read(characters, kind, into: &expression) }
        return expression
    }

    /// The fields, split at blanks that are not beside `,`, `-` or `/`.
    private func split() -> [[Character]] {
        let operators: Set<UInt8> = [UInt8(ascii: ","), UInt8(ascii: "-"), UInt8(ascii: "/")]
        var fields: [[Character]] = [[]]
        var index = body.startIndex
        while index < body.endIndex {
            guard Self.isBlank(body[index]) else {
                fields[fields.count - 1].append(Character(byte: body[index], position: index))
                index += 1
                continue
            }
            let before = fields[fields.count - 1].last?.byte
            while index < body.endIndex, Self.isBlank(body[index]) { index += 1 }
            if let before, operators.contains(before) { continue }
            if index < body.endIndex, operators.contains(body[index]) { continue }
            fields.append([])
        }
        return fields.filter { !$0.isEmpty }
    }

    private static let shorthands = [
        "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *", "@monthly": "0 0 0 1 * *", "@weekly": "0 0 0 * * Sun",
        "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@hourly": "0 0 * * * *",
    ]

    private func shorthand() throws(CronError) -> CronExpression {
        let word = String(decoding: body, as: UTF8.self)
        let offset = body.startIndex
        if let long = Self.shorthands[word] {
            let meaning = try CronParser.parse(long)
            var expression = CronExpression(text: text, form: .sixFields)
            expression.seconds = meaning.seconds
            expression.minutes = meaning.minutes
            expression.hours = meaning.hours
            expression.months = meaning.months
            expression.days = meaning.days
            expression.weekdays = meaning.weekdays
            expression.runsByElapsedTime = meaning.runsByElapsedTime
            return expression
        }
        if word.hasPrefix("@every") {
            let rest = body.dropFirst(6)
            guard let first = rest.first, Self.isBlank(first), let seconds = Self.duration(rest) else {
                throw failure(
                    offset + 6, "'@every' wants a duration of whole seconds.", "Write '@every 90s', '@every 1h30m' or '@every 2d'.")
            }
            guard (1...31_536_000).contains(seconds) else {
                throw failure(offset + 6, "'@every' takes 1 second to 365 days.")
            }
            var expression = CronExpression(text: text, form: .interval)
            expression.interval = seconds
            return expression
        }
        let near = EditDistance.nearest(to: word, among: Self.shorthands.keys.sorted() + ["@every"])
        let suggestion = word == "@reboot" ? "Start work at the start of a worker, in the worker." : near.map { "Did you mean '\($0)'?" }
        throw failure(offset, "'\(word)' is not a shorthand.", suggestion)
    }

    /// `1d2h3m4s` in seconds, each unit at most once, in this order; blanks may stand between them and before units.
    private static func duration(_ bytes: ArraySlice<UInt8>) -> Int? {
        var total = 0
        var number: Int?
        var isAfterBlank = false
        var unitsLeft: [(UInt8, Int)] = [(0x64, 86_400), (0x68, 3_600), (0x6D, 60), (0x73, 1)]
        for byte in bytes {
            if isBlank(byte) {
                isAfterBlank = true
                continue
            }
            if (0x30...0x39).contains(byte) {
                guard number == nil || !isAfterBlank else { return nil }
                number = min((number ?? 0) * 10 + Int(byte - 0x30), 1_000_000_000)
            } else {
                guard let value = number, let index = unitsLeft.firstIndex(where: { $0.0 == byte }) else { return nil }
                total += value * unitsLeft[index].1
                unitsLeft.removeFirst(index + 1)
                number = nil
            }
            isAfterBlank = false
        }
        return number == nil && total > 0 ? total : nil
    }

    // MARK: Fields

    private func read(_ characters: [Character], _ field: CronField, into expression: inout CronExpression) throws(CronError) {
        var items: [[Character]] = [[]]
        for character in characters {
            if character.byte == UInt8(ascii: ",") { items.append([]) } else { items[items.count - 1].append(character) }
        }
        var values: Set<Int> = []
        for item in items {
            guard let first = item.first else {
                throw failure(characters[0].position, "an empty item in the list of \(field.name).")
            }
            if try special(item, field, into: &expression) { continue }
            values.formUnion(try self.values(of: item, at: first.position, field, &expression))
        }
        switch field {
        case .seconds: for value in values { expression.seconds.insert(value) }
        case .minutes: for value in values { expression.minutes.insert(value) }
        case .hours: for value in values { expression.hours.insert(value) }
        case .dayOfMonth:
            for value in values { expression.days.days.insert(value) }
            expression.days.isAny = Self.isAny(characters)
        case .month: for value in values { expression.months.insert(value) }
        case .dayOfWeek:
            for value in values { expression.weekdays.days.insert(Self.sundayIsZero(value, expression.form)) }
            expression.weekdays.isAny = Self.isAny(characters)
        case .year: expression.years = values == Set(1970...2100) ? nil : values
        }
    }

    /// Whether a day field restricts nothing: classic cron looks at its first character.
    private static func isAny(_ characters: [Character]) -> Bool {
        characters.first?.byte == UInt8(ascii: "*") || characters.first?.byte == UInt8(ascii: "?")
    }

    private static func sundayIsZero(_ value: Int, _ form: CronExpression.Form) -> Int { form == .fiveFields ? value % 7 : value - 1 }

    /// `L`, `W` and `#`, in the two day fields.
    private func special(_ item: [Character], _ field: CronField, into expression: inout CronExpression) throws(CronError) -> Bool {
        let text = Self.string(item).uppercased()
        let position = item[0].position
        switch field {
        case .dayOfMonth:
            if text == "L" {
                expression.days.fromLast.insert(0)
            } else if text == "LW" || text == "WL" {
                expression.days.lastWeekday = true
            } else if text.hasPrefix("L-"), let days = Self.number(text.dropFirst(2)) {
                guard (1...30).contains(days) else { throw failure(position, "'L-N' takes 1 to 30 days before the last one.") }
                expression.days.fromLast.insert(days)
            } else if text.hasSuffix("W"), let day = Self.number(text.dropLast()) {
                guard (1...31).contains(day) else { throw failure(position, "'NW' takes a day from 1 to 31.") }
                expression.days.nearest.insert(day)
            } else {
                return false
            }
            return true
        case .dayOfWeek:
            if let hash = text.firstIndex(of: "#") {
                let weekday = try weekday(text[..<hash], position, &expression)
                guard let nth = Self.number(text[text.index(after: hash)...]), (1...5).contains(nth) else {
                    throw failure(position, "'#' takes 1 to 5: which of the month's weekdays it is.")
                }
                expression.weekdays.nth[weekday, default: SmallSet()].insert(nth)
                return true
            }
            if text.count > 1, text.hasSuffix("L"), field.value(named: text, expression.form) == nil {
                expression.weekdays.last.insert(try weekday(text.dropLast(), position, &expression))
                return true
            }
            return false
        default: return false
        }
    }

    private func weekday(_ text: Substring, _ position: Int, _ expression: inout CronExpression) throws(CronError) -> Int {
        Self.sundayIsZero(try point(String(text), position, .dayOfWeek, &expression), expression.form)
    }

    /// The values of one item: `*`, `?`, a point, a range, each perhaps with a step.
    private func values(
        of item: [Character], at position: Int, _ field: CronField, _ expression: inout CronExpression
    ) throws(CronError) -> Set<Int> {
        let all = field.all(expression.form)
        var body = item
        var step: Int?
        if let slash = item.firstIndex(where: { $0.byte == UInt8(ascii: "/") }) {
            body = Array(item[..<slash])
            step = try self.step(Array(item[(slash + 1)...]), item[slash].position, field)
            if field == .hours { expression.runsByElapsedTime = true }
        }
        let text = Self.string(body)
        if text == "*" || text == "?" {
            guard text == "*" || field.allowsAny else {
                throw failure(position, "'?' is for the two day fields only, not for \(field.name).", "Write '*'.")
            }
            if field == .hours { expression.runsByElapsedTime = true }
            return Set(stride(from: all.lowerBound, through: all.upperBound, by: step ?? 1))
        }
        if let dash = body.firstIndex(where: { $0.byte == UInt8(ascii: "-") }) {
            let (low, high) = (Self.string(Array(body[..<dash])), Self.string(Array(body[(dash + 1)...])))
            let isNamed = Self.isName(low) && Self.isName(high)
            guard isNamed || !Self.isName(low) && !Self.isName(high) else {
                throw failure(position, "a range is between two numbers or between two names: '\(low)-\(high)' mixes them.")
            }
            let from = try point(low, position, field, &expression)
            let through = try point(high, body[dash].position + 1, field, &expression)
            guard from <= through else {
                let reason =
                    isNamed ? "Invalid named range for \(field.name): \(low)-\(high)" : "Invalid range for \(field.name): \(low)-\(high)"
                let (last, first) = isNamed ? field.outermostNames : ("\(all.upperBound)", "\(all.lowerBound)")
                throw failure(position, reason, "Ranges do not wrap around: write '\(low)-\(last),\(first)-\(high)'.")
            }
            return Set(stride(from: from, through: through, by: step ?? 1).map { Self.folded($0, field, expression.form) })
        }
        if let step, Self.isName(text) {
            throw failure(position, "a step starts at a number, not at a name: '\(text)/\(step)'.")
        }
        let value = try point(text, position, field, &expression)
        let start = Self.folded(value, field, expression.form)
        guard let step else { return [start] }
        return Set(stride(from: start, through: all.upperBound, by: step))
    }

    /// In the five-field form 7 is Sunday too.
    private static func folded(_ value: Int, _ field: CronField, _ form: CronExpression.Form) -> Int {
        field == .dayOfWeek && form == .fiveFields ? value % 7 : value
    }

    private func step(_ characters: [Character], _ position: Int, _ field: CronField) throws(CronError) -> Int {
        let text = Self.string(characters)
        guard let value = Self.number(text) else {
            throw failure(characters.first?.position ?? position, "a step is a number: '/\(text)'.")
        }
        guard value > 0 else { throw failure(position + 1, "range step cannot be zero") }
        let most = field.range(.sixFields).upperBound
        guard value <= most else {
            throw failure(position + 1, "\(field.name) must be between 1 and \(most). ('\(text)' specified.)")
        }
        return value
    }

    private func point(
        _ text: String, _ position: Int, _ field: CronField, _ expression: inout CronExpression
    ) throws(CronError) -> Int {
        let range = field.range(expression.form)
        if Self.isName(text) {
            guard field.hasNames else {
                throw failure(position, "The '\(field.name)' field does not support using names. '\(text)' specified.")
            }
            if let value = field.value(named: text, expression.form) { return value }
            let kind = field == .month ? "month name" : "day of the week"
            let near = EditDistance.nearest(to: text.lowercased(), among: field.names)
            throw failure(position, "'\(text)' is not a valid \(kind).", near.map { "Did you mean '\($0)'?" })
        }
        guard let value = Self.number(text) else { throw failure(position, "'\(text)' is not a value of \(field.name).") }
        if value < range.lowerBound {
            let hint = field == .dayOfWeek ? "Sunday is 1 here; better write 'Sun'." : nil
            throw failure(position, "\(field.name) must be greater than or equal to \(range.lowerBound). ('\(text)' specified.)", hint)
        }
        guard value <= range.upperBound else {
            throw failure(position, "\(field.name) must be less than \(range.upperBound). ('\(text)' specified.)")
        }
        if field == .dayOfWeek, expression.form == .sixFields, !expression.numericWeekdays.contains(value) {
            expression.numericWeekdays.append(value)
        }
        return value
    }

    /// Decimal digits, leading zeros allowed; nil for anything else. Numbers beyond every field's range are all the same.
    private static func number(_ text: some StringProtocol) -> Int? {
        guard !text.isEmpty else { return nil }
        var value = 0
        for byte in text.utf8 {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = min(value * 10 + Int(byte - 0x30), 1_000_000)
        }
        return value
    }

    private static func isName(_ text: String) -> Bool { text.utf8.first.map { ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7A } ?? false }
    private static func string(_ characters: [Character]) -> String { String(decoding: characters.map(\.byte), as: UTF8.self) }
}
