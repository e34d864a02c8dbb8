/// A schedule as it was written, read: which local times match.
public struct CronExpression: Sendable, Equatable {
    public enum Form: Sendable, Equatable {
        /// Seconds first, days of the week 1 (Sunday) to 7, day of month **and** day of week must match.
        case sixFields
        /// Classic cron: minutes first, days of the week 0 to 7; where both day fields are restricted **either** may match.
        case fiveFields
        /// `@every`: a number of seconds, counted from the epoch, so that every instance comes to the same times.
        case interval
    }

    /// As it was written.
    public let text: String
    public let form: Form
    /// Of `@every`, in seconds.
    public internal(set) var interval: Int?

    var seconds = SmallSet()
    var minutes = SmallSet()
    var hours = SmallSet()
    var months = SmallSet()
    var days = DayRule()
    var weekdays = WeekdayRule()
    /// Nil: every year.
    var years: Set<Int>?
    /// The hour field is `*` or has a step: such a schedule runs by elapsed time across changes of the clock.
    var runsByElapsedTime = false

    /// Weekdays that were written as numbers in the six-field form: worth a warning, since other systems count from Monday or
    /// from 0.
    public internal(set) var numericWeekdays: [Int] = []

    init(text: String, form: Form) {
        self.text = text
        self.form = form
    }

    /// Which days of the month match.
    struct DayRule: Equatable, Sendable {
        var isAny = false
        var days = SmallSet()
        /// `L`, `L-3`: days before the last one.
        var fromLast = SmallSet()
        /// `15W`: the weekday nearest to that day, within the month.
        var nearest = SmallSet()
        /// `LW`: the last weekday (Monday to Friday).
        var lastWeekday = false

        func matches(_ date: CivilDate, weekday: Int) -> Bool {
            if days.contains(date.day) { return true }
            guard lastWeekday || !fromLast.isEmpty || !nearest.isEmpty else { return false }
            let last = CivilDate.daysInMonth(date.month, of: date.year)
            if fromLast.contains(last - date.day) { return true }
            guard (1...5).contains(weekday) else { return false }
            if lastWeekday, date.day == last || weekday == 5 && last - date.day <= 2 { return true }
            if nearest.contains(date.day) { return true }
            // Friday stands for a Saturday, Monday for a Sunday; the 1st and the last day move inwards.
            if weekday == 5, date.day + 1 <= last, nearest.contains(date.day + 1) { return true }
            if weekday == 5, date.day + 2 == last, nearest.contains(last) { return true }
            if weekday == 1, date.day > 1, nearest.contains(date.day - 1), date.day - 1 != last { return true }
            return weekday == 1 && date.day == 3 && nearest.contains(1)
        }
    }

    /// Which days of the week match; 0 is Sunday.
    struct WeekdayRule: Equatable, Sendable {
        var isAny = false
        var days = SmallSet()
        /// `FriL`: the last one of the month.
        var last = SmallSet()
        /// `Fri#3`: by weekday, the occurrences in the month (1 to 5).
        var nth: [Int: SmallSet] = [:]

        func matches(_ date: CivilDate, weekday: Int) -> Bool {
            if days.contains(weekday) { return true }
            if last.contains(weekday), date.day + 7 > CivilDate.daysInMonth(date.month, of: date.year) { return true }
            return nth[weekday]?.contains((date.day - 1) / 7 + 1) ?? false
        }
    }

    func matchesDay(_ date: CivilDate, weekday: Int) -> Bool {
        if form == .fiveFields, !days.isAny, !weekdays.isAny {
            return days.matches(date, weekday: weekday) || weekdays.matches(date, weekday: weekday)
        }
        return days.matches(date, weekday: weekday) && weekdays.matches(date, weekday: weekday)
    }

    /// The same text for every spelling of the same schedule: what its identity across replicas rests on.
    public var normalized: String {
        if let interval { return "@every \(interval)s" }
        func list(_ set: SmallSet) -> String { set.members.map(String.init).joined(separator: ",") }
        let nth = weekdays.nth.sorted { $0.key < $1.key }.map { "\($0.key)#\(list($0.value))" }.joined(separator: ";")
        let either = form == .fiveFields && !days.isAny && !weekdays.isAny
        let years = years.map { $0.sorted().map(String.init).joined(separator: ",") } ?? "*"
        return [
            list(seconds), list(minutes), list(hours) + (runsByElapsedTime ? "e" : ""), list(days.days), list(days.fromLast),
            list(days.nearest), days.lastWeekday ? "LW" : "", list(months), list(weekdays.days), list(weekdays.last), nth,
            either ? "or" : "and", years,
        ].joined(separator: "|")
    }
}
