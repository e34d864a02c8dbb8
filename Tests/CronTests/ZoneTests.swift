import IIIProtocol
import Testing

@testable import IIICron

/// What others got wrong around changes of the clock, with the right answers.
@Suite struct ZoneTests {
    @Test(arguments: [
        ("0 30 2 * * *", "America/New_York", "2026-03-08T06:30:00", ["2026-03-08T07:00:00", "2026-03-09T06:30:00"]),
        ("0 30 2 * * Sun", "Europe/Amsterdam", "2023-03-20T00:00:00", ["2023-03-26T01:00:00", "2023-04-02T00:30:00"]),
        ("0 30 1 * * *", "America/New_York", "2026-11-01T04:00:00", ["2026-11-01T05:30:00", "2026-11-02T06:30:00"]),
        (
            "0 */15 * * * *", "America/New_York", "2026-11-01T05:29:00",
            ["05:30", "05:45", "06:00", "06:15", "06:30", "06:45", "07:00", "07:15"].map { "2026-11-01T\($0):00" }
        ),
        ("0 * * * * *", "Europe/London", "2016-10-30T00:59:00", ["2016-10-30T01:00:00", "2016-10-30T01:01:00"]),
        ("0 0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00", ["2018-11-04T03:00:00", "2018-11-05T02:00:00"]),
        ("0 0 12 11,26 * *", "America/Sao_Paulo", "2014-10-12T00:00:00", ["2014-10-26T14:00:00", "2014-11-11T14:00:00"]),
        ("0 0 0 6 9 *", "America/Santiago", "2026-09-01T00:00:00", ["2026-09-06T04:00:00"]),
        ("0 30 2 * * *", "America/New_York", "2027-03-14T06:59:30", ["2027-03-14T07:00:00"]),
        ("0 30 2 * * *", "America/New_York", "2027-03-14T06:59:59", ["2027-03-14T07:00:00"]),
        ("0 30 2 * * *", "America/New_York", "2027-03-14T07:00:00", ["2027-03-15T06:30:00"]),
        (
            "0 0 1,2 * * *", "Antarctica/Troll", "2026-03-28T12:00:00",
            ["2026-03-29T01:00:00", "2026-03-29T23:00:00", "2026-03-30T00:00:00"]
        ),
        ("*/10 30 2 * * *", "America/New_York", "2026-03-08T05:00:00", ["2026-03-08T07:00:00", "2026-03-09T06:30:00"]),
        (
            "0 0 2,3 * * *", "America/New_York", "2026-03-08T05:00:00",
            ["2026-03-08T07:00:00", "2026-03-09T06:00:00", "2026-03-09T07:00:00"]
        ),
        ("0 0 * * * *", "Asia/Tokyo", "2022-09-20T09:00:00", ["2022-09-20T10:00:00"]),
        ("0 0 */1 * * *", "Asia/Tokyo", "2022-09-20T09:00:00", ["2022-09-20T10:00:00"]),
        ("0 0 0/1 * * *", "Asia/Tokyo", "2022-09-20T09:00:00", ["2022-09-20T10:00:00"]),
        ("0 0 * * * *", "Asia/Kathmandu", "2022-09-20T09:00:00", ["2022-09-20T09:15:00"]),
        ("0 0 0 31 4,5 *", "UTC", "2029-03-26T09:22:30", ["2029-05-31T00:00:00"]),
        ("0 0 8 1-7 * Mon", "UTC", "2023-12-04T00:00:00", ["2023-12-04T08:00:00", "2024-01-01T08:00:00", "2024-02-05T08:00:00"]),
        ("0 0 0 1-7 * Mon", "UTC", "2021-08-25T00:00:00", ["2021-09-06T00:00:00", "2021-10-04T00:00:00", "2021-11-01T00:00:00"]),
        ("* * * * * *", "UTC", "2026-09-08T16:14:09.001042", ["2026-09-08T16:14:10", "2026-09-08T16:14:11"]),
        ("0 0 9 * * Mon", "US/Pacific", "2026-06-01T00:00:00", ["2026-06-01T16:00:00"]),
        (
            "0 5 2 * * Thu", "America/New_York", "2020-10-28T00:00:00",
            ["2020-10-29T06:05:00", "2020-11-05T07:05:00", "2020-11-12T07:05:00"]
        ),
        ("0 5 2 * * Thu", "America/New_York", "2020-03-01T00:00:00", ["2020-03-05T07:05:00", "2020-03-12T06:05:00"]),
        (
            "0 */15 1 * * *", "America/New_York", "2026-11-01T04:00:00",
            ["2026-11-01T05:00:00", "2026-11-01T05:15:00", "2026-11-01T05:30:00", "2026-11-01T05:45:00", "2026-11-02T06:00:00"]
        ),
        ("0 */15 2 * * *", "America/New_York", "2026-03-08T05:00:00", ["2026-03-08T07:00:00", "2026-03-09T06:00:00"]),
        // A day that was skipped as a whole, and the far end of the rules.
        ("0 0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00:00", ["2012-12-29T22:00:00"]),
        ("0 30 2 * * Sun", "Europe/Berlin", "2099-03-28T00:00:00", ["2099-03-29T01:00:00"]),
    ])
    func firesWhereOthersFailed(expression: String, zone: String, after: String, expected: [String]) throws {
        #expect(try ExpressionTests.fires(expression, zone, after: after, count: expected.count) == expected)
    }

    @Test(arguments: [
        "Mars/Phobos", "", "europe/berlin", "../../etc/passwd", "EST5EDT ", "local", "Europe/", "/etc/passwd", "tzdata.zi", "posix/UTC",
        "Europe",
    ])
    func refusesWhatIsNoZone(name: String) {
        #expect(throws: ZoneFiles.Failure.unknown(name)) { try ZoneFiles().rules(named: name) }
    }

    @Test func aHostWithoutZoneDataSaysSo() throws {
        #expect(throws: ZoneFiles.Failure.noZoneData("Europe/Berlin")) {
            try ZoneFiles(directory: "/nonexistent").rules(named: "Europe/Berlin")
        }
        #expect(try ZoneFiles(directory: "/nonexistent").rules(named: "UTC") == .utc)
    }

    /// Strictly increasing, each fire a match or the end of a gap, for many zones and expressions.
    @Test(arguments: [
        "America/New_York", "Australia/Lord_Howe", "Antarctica/Troll", "Asia/Kathmandu", "America/St_Johns", "Africa/Casablanca",
        "Pacific/Chatham",
    ])
    func fireSequencesOnlyGoForward(zone: String) throws {
        let rules = try ExpressionTests.zones.rules(named: zone)
        var generator = SeededGenerator(seed: 42)
        for _ in 0..<40 {
            func pick(_ range: ClosedRange<Int>) -> String {
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: "*"
                case 1: "*/\(Int.random(in: 2...7, using: &generator))"
                default: "\(Int.random(in: range, using: &generator))"
                }
            }
            let text = "\(pick(0...59)) \(pick(0...59)) \(pick(0...23)) * * \(Int.random(in: 0...1, using: &generator) == 0 ? "*" : "Sun")"
            let expression = try CronParser.parse(text)
            var time = ExpressionTests.epoch("2026-03-01T00:00:00") + Int.random(in: 0...30_000_000, using: &generator)
            for _ in 0..<300 {
                guard let next = expression.next(after: time, in: rules) else { break }
                #expect(next > time)
                #expect(expression.previous(atOrBefore: next, after: time, in: rules) == next, "\(text) in \(zone) after \(time)")
                let stretch = rules.stretch(at: next)
                let local = next + stretch.offset
                let matches =
                    expression.hours.contains(local % 86_400 / 3_600) && expression.minutes.contains(local / 60 % 60)
                    && expression.seconds.contains(local % 60)
                #expect(matches || next == stretch.start && stretch.offset > stretch.offsetBefore, "\(text) in \(zone) at \(next)")
                time = next
            }
        }
    }

    @Test func theLatestFireOfALongTimeIsFoundInFewSteps() throws {
        let expression = try CronParser.parse("0 * * * * *")
        let start = ExpressionTests.epoch("2000-01-01T00:00:00")
        let end = ExpressionTests.epoch("2026-01-01T00:00:59")
        #expect(expression.previous(atOrBefore: end, after: start, in: .utc).map(ExpressionTests.text) == "2026-01-01T00:00:00")
        #expect(expression.previous(atOrBefore: start, after: start, in: .utc) == nil)
    }
}
