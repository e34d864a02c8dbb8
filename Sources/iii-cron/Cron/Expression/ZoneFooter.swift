/// The rule behind a TZif file's last transition, e.g. `CET-1CEST,M3.5.0,M10.5.0/3` (POSIX TZ with the extensions of RFC 8536).
struct ZoneFooter: Equatable, Sendable {
    /// A day of the year and the second of that day, in the local time that ends there.
    struct Change: Equatable, Sendable {
        enum Day: Equatable, Sendable {
            /// `Mm.w.d`: month, week 1 to 5 (5 = the last), weekday from 0 = Sunday.
            case weekday(month: Int, week: Int, weekday: Int)
            /// `Jn`: 1 to 365, the leap day is never counted.
            case julian(Int)
            /// `n`: 0 to 365.
            case ordinal(Int)
        }

        var day: Day
        /// Seconds after that day's midnight; may be negative or beyond the day.
        var time: Int

        /// Local seconds since the epoch in `year`.
        func local(in year: Int) -> Int {
            let newYear = CivilDate(year: year, month: 1, day: 1).daysSinceEpoch
            let days: Int
            switch day {
            case .julian(let number): days = newYear + number - 1 + (CivilDate.isLeap(year) && number >= 60 ? 1 : 0)
            case .ordinal(let number): days = newYear + number
            case .weekday(let month, let week, let weekday):
                let first = CivilDate(year: year, month: month, day: 1).daysSinceEpoch
                let ahead = (weekday - CivilDate.weekday(daysSinceEpoch: first) + 7) % 7
                var dayOfMonth = 1 + ahead + (week - 1) * 7
                while dayOfMonth > CivilDate.daysInMonth(month, of: year) { dayOfMonth -= 7 }
                days = first + dayOfMonth - 1
            }
            return days * 86_400 + time
        }
    }

    /// Local time minus UTC outside of the summer, in seconds.
    private let standard: Int
    private let summer: Int
    private let start: Change?
    private let end: Change?

    init?(_ text: String) {
        var scanner = Scanner(Array(text.utf8))
        guard scanner.name(), let west = scanner.time() else { return nil }
        standard = -west
        guard !scanner.isAtEnd else {
            (summer, start, end) = (standard, nil, nil)
            return
        }
        guard scanner.name() else { return nil }
        var summer = standard + 3_600
        if !scanner.isAtEnd, scanner.peek != UInt8(ascii: ",") {
            guard let west = scanner.time() else { return nil }
            summer = -west
        }
        guard scanner.consume(","), let first = scanner.change(), scanner.consume(","), let second = scanner.change(), scanner.isAtEnd
        else {
            return nil
        }
        (self.summer, start, end) = (summer, first, second)
    }

    /// The stretch that holds `time`, which lies at or after the last listed transition, `listedEnd`.
    func stretch(at time: Int, after listedEnd: Int, offset: Int, offsetBefore: Int) -> ZoneRules.Stretch {
        guard let start, let end else {
            return ZoneRules.Stretch(start: listedEnd, end: .max, offset: offset, offsetBefore: offsetBefore)
        }
        let year = CivilDate(daysSinceEpoch: Int((Double(time) / 86_400).rounded(.down))).year
        var changes: [(at: Int, offset: Int)] = []
        for year in (year - 1)...(year + 1) {
            changes.append((start.local(in: year) - standard, summer))
            changes.append((end.local(in: year) - summer, standard))
        }
        changes.sort { $0.at < $1.at }
        var current = ZoneRules.Stretch(start: listedEnd, end: .max, offset: offset, offsetBefore: offsetBefore)
        for change in changes where change.at > listedEnd {
            if change.at > time {
                current.end = change.at
                break
            }
            if change.offset == current.offset { continue }
            current = ZoneRules.Stretch(start: change.at, end: .max, offset: change.offset, offsetBefore: current.offset)
        }
        return current
    }

    private struct Scanner {
        private let bytes: [UInt8]
        private var position = 0

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        var isAtEnd: Bool { position >= bytes.count }
        var peek: UInt8? { isAtEnd ? nil : bytes[position] }

        mutating func consume(_ character: Unicode.Scalar) -> Bool {
            guard peek == UInt8(ascii: character) else { return false }
            position += 1
            return true
        }

        /// `CET` or `<+03>`.
        mutating func name() -> Bool {
            let begin = position
            if consume("<") {
                while let byte = peek, byte != UInt8(ascii: ">") { _ = byte; position += 1 }
                return consume(">")
            }
            while let byte = peek, (byte | 0x20) >= 0x61, (byte | 0x20) <= 0x7A { position += 1 }
            return position - begin >= 3
        }

        mutating func number() -> Int? {
            let begin = position
            var value = 0
            while let byte = peek, (0x30...0x39).contains(byte), position - begin < 4 {
                value = value * 10 + Int(byte - 0x30)
                position += 1
            }
            return position > begin ? value : nil
        }

        /// `[+-]hh[:mm[:ss]]` in seconds.
        mutating func time() -> Int? {
            let isNegative = consume("-")
            if !isNegative { _ = consume("+") }
            guard let hours = number() else { return nil }
            var seconds = hours * 3_600
            for unit in [60, 1] {
                guard consume(":") else { break }
                guard let value = number() else { return nil }
                seconds += value * unit
            }
            return isNegative ? -seconds : seconds
        }

        mutating func change() -> Change? {
            let day: Change.Day
            if consume("M") {
                guard let month = number(), (1...12).contains(month), consume("."), let week = number(), (1...5).contains(week),
                    consume("."),
                    let weekday = number(), (0...6).contains(weekday)
                else { return nil }
                day = .weekday(month: month, week: week, weekday: weekday)
            } else if consume("J") {
                guard let number = number(), (1...365).contains(number) else { return nil }
                day = .julian(number)
            } else {
                guard let number = number(), (0...365).contains(number) else { return nil }
                day = .ordinal(number)
            }
            guard consume("/") else { return Change(day: day, time: 7_200) }
            guard let time = time() else { return nil }
            return Change(day: day, time: time)
        }
    }
}
