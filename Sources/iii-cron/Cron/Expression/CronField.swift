/// The fields of an expression, with what each may hold.
enum CronField: Int, Sendable, CaseIterable {
    case seconds, minutes, hours, dayOfMonth, month, dayOfWeek, year

    /// As error texts name it.
    var name: String {
        switch self {
        case .seconds: "Seconds"
        case .minutes: "Minutes"
        case .hours: "Hours"
        case .dayOfMonth: "Days of Month"
        case .month: "Months"
        case .dayOfWeek: "Days of Week"
        case .year: "Years"
        }
    }

    /// Values that may be written. In the five-field form the days of the week are 0 to 7, both ends Sunday.
    func range(_ form: CronExpression.Form) -> ClosedRange<Int> {
        switch self {
        case .seconds, .minutes: 0...59
        case .hours: 0...23
        case .dayOfMonth: 1...31
        case .month: 1...12
        case .dayOfWeek: form == .fiveFields ? 0...7 : 1...7
        case .year: 1970...2100
        }
    }

    /// Every value there is, as `*` means it.
    func all(_ form: CronExpression.Form) -> ClosedRange<Int> {
        self == .dayOfWeek && form == .fiveFields ? 0...6 : range(form)
    }

    var allowsAny: Bool { self == .dayOfMonth || self == .dayOfWeek }
    var hasNames: Bool { self == .month || self == .dayOfWeek }

    private static let months = [
        "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
    ]
    static let weekdays = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    private static let weekdayNames: [[String]] = [
        ["sun", "sunday"], ["mon", "monday"], ["tue", "tues", "tuesday"], ["wed", "wednesday"], ["thu", "thurs", "thursday"],
        ["fri", "friday"], ["sat", "saturday"],
    ]

    /// The value a name stands for: months 1 to 12, weekdays as the form counts them.
    func value(named name: String, _ form: CronExpression.Form) -> Int? {
        let name = name.lowercased()
        switch self {
        case .month: return Self.months.firstIndex { $0 == name || $0.prefix(3) == name }.map { $0 + 1 }
        case .dayOfWeek:
            return Self.weekdayNames.firstIndex { $0.contains(name) }.map { form == .fiveFields ? $0 : $0 + 1 }
        default: return nil
        }
    }

    /// The last and the first name in their short forms, for suggestions.
    var outermostNames: (last: String, first: String) { self == .month ? ("Dec", "Jan") : ("Sat", "Sun") }

    /// Every accepted name, for suggestions.
    var names: [String] {
        switch self {
        case .month: Self.months.flatMap { $0.count == 3 ? [$0] : [String($0.prefix(3)), $0] }
        case .dayOfWeek: Self.weekdayNames.flatMap { $0 }
        default: []
        }
    }
}

/// A set of small numbers from 0 to 63.
struct SmallSet: Equatable, Sendable {
    private(set) var bits: UInt64 = 0

    mutating func insert(_ value: Int) { bits |= 1 << UInt64(value) }
    func contains(_ value: Int) -> Bool { bits & (1 << UInt64(value)) != 0 }
    var isEmpty: Bool { bits == 0 }

    /// The smallest member that is `value` or more.
    func first(from value: Int) -> Int? {
        guard value < 64 else { return nil }
        let rest = bits & (UInt64.max << UInt64(value))
        return rest == 0 ? nil : rest.trailingZeroBitCount
    }

    var members: [Int] { (0..<64).filter(contains) }
}
