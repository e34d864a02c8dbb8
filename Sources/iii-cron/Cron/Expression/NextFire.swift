extension CronExpression {
    /// Nothing fires later: 2100-12-31T23:59:59 local time.
    private static let lastYear = 2100
    /// A gap that is longer is a skipped day, in which nothing was scheduled.
    private static let longestGap = 3 * 3_600

    /// The first fire strictly after `after`, both in epoch seconds; nil when there is none up to the end of 2100.
    ///
    /// Across changes of the clock: a schedule whose hours are fixed fires once at the end of a
    /// gap that holds its time, and at the first of two equal local times; one whose hour field is `*` or steps fires at every
    /// real occurrence of a matching time.
    public func next(after: Int, in zone: ZoneRules) -> Int? {
        if let interval {
            let next = (Self.floorDivision(after, interval) + 1) * interval
            return CivilDate(daysSinceEpoch: Self.floorDivision(next, 86_400)).year <= Self.lastYear ? next : nil
        }
        var time = after + 1
        while true {
            let stretch = zone.stretch(at: time)
            var local = time + stretch.offset
            if !runsByElapsedTime, stretch.start != .min {
                let shift = stretch.offset - stretch.offsetBefore
                if shift > 0, shift <= Self.longestGap, time == stretch.start {
                    // Whatever was due in the gap is due now, once.
                    let gap = (stretch.start + stretch.offsetBefore)..<(stretch.start + stretch.offset)
                    if let due = firstMatch(from: gap.lowerBound), due < gap.upperBound { return time }
                }
                // Local times of the first pass do not count again in the second.
                if shift < 0 { local = max(local, stretch.start + stretch.offsetBefore) }
            }
            guard let match = firstMatch(from: local) else { return nil }
            if stretch.end == .max || match < stretch.end + stretch.offset { return match - stretch.offset }
            time = stretch.end
        }
    }

    /// The latest fire at or before `time` and after `earliest`; nil when there is none. Costs a bounded number of steps.
    public func previous(atOrBefore time: Int, after earliest: Int, in zone: ZoneRules) -> Int? {
        // Halves the range until it holds one fire: the last one.
        guard var found = next(after: earliest, in: zone), found <= time else { return nil }
        var low = found
        var high = time
        while low < high {
            let middle = low + (high - low) / 2
            if let later = next(after: middle, in: zone), later <= time {
                found = later
                low = later
            } else if let later = next(after: low, in: zone), later <= middle {
                found = later
                low = later
                high = middle
            } else {
                break
            }
        }
        return found
    }

    /// The first matching local time at or after `local`, both in seconds since the epoch as the wall clock counts them.
    private func firstMatch(from local: Int) -> Int? {
        var day = Self.floorDivision(local, 86_400)
        var second = local - day * 86_400
        var date = CivilDate(daysSinceEpoch: day)
        while date.year <= Self.lastYear {
            if let years, !years.contains(date.year) {
                date = CivilDate(year: date.year + 1, month: 1, day: 1)
                (day, second) = (date.daysSinceEpoch, 0)
                continue
            }
            guard months.contains(date.month) else {
                date =
                    date.month == 12
                    ? CivilDate(year: date.year + 1, month: 1, day: 1) : CivilDate(year: date.year, month: date.month + 1, day: 1)
                (day, second) = (date.daysSinceEpoch, 0)
                continue
            }
            if matchesDay(date, weekday: CivilDate.weekday(daysSinceEpoch: day)), let time = timeOfDay(from: second) {
                return day * 86_400 + time
            }
            day += 1
            second = 0
            date = CivilDate(daysSinceEpoch: day)
        }
        return nil
    }

    /// The first matching second of a day at or after `second`.
    private func timeOfDay(from second: Int) -> Int? {
        let (hour, minute) = (second / 3_600, second / 60 % 60)
        guard let foundHour = hours.first(from: hour), let firstMinute = minutes.first(from: 0), let firstSecond = seconds.first(from: 0)
        else {
            return nil
        }
        if foundHour > hour { return foundHour * 3_600 + firstMinute * 60 + firstSecond }
        if let foundMinute = minutes.first(from: minute) {
            if foundMinute > minute { return hour * 3_600 + foundMinute * 60 + firstSecond }
            if let found = seconds.first(from: second % 60) { return hour * 3_600 + minute * 60 + found }
            if let nextMinute = minutes.first(from: minute + 1) { return hour * 3_600 + nextMinute * 60 + firstSecond }
        }
        guard let nextHour = hours.first(from: hour + 1) else { return nil }
        return nextHour * 3_600 + firstMinute * 60 + firstSecond
    }

    private static func floorDivision(_ value: Int, _ divisor: Int) -> Int {
        let quotient = value / divisor
        return value % divisor < 0 ? quotient - 1 : quotient
    }
}
