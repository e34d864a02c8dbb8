import IIIProtocol
import Testing

@testable import IIICron

@Suite struct ExpressionTests {
    static let zones = ZoneFiles()

    /// Epoch seconds of `2026-01-04T09:00:00Z`, fractions of a second cut off.
    static func epoch(_ text: String) -> Int {
        let numbers = text.split { !$0.isNumber }.prefix(6).compactMap { Int($0) }
        let days = CivilDate(year: numbers[0], month: numbers[1], day: numbers[2]).daysSinceEpoch
        let time = numbers.count > 3 ? numbers[3] * 3_600 + numbers[4] * 60 + (numbers.count > 5 ? numbers[5] : 0) : 0
        return days * 86_400 + time
    }

    static func text(_ epoch: Int) -> String {
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let date = CivilDate(daysSinceEpoch: epoch / 86_400)
        let second = epoch % 86_400
        let time = "\(two(second / 3_600)):\(two(second / 60 % 60)):\(two(second % 60))"
        return "\(date.year)-\(two(date.month))-\(two(date.day))T\(time)"
    }

    static func fires(_ expression: String, _ zone: String = "UTC", after: String, count: Int) throws -> [String] {
        let expression = try CronParser.parse(expression)
        let rules = try zones.rules(named: zone)
        var fires: [String] = []
        var time = epoch(after)
        while fires.count < count, let next = expression.next(after: time, in: rules) {
            fires.append(text(next))
            time = next
        }
        return fires
    }

    @Test(arguments: [
        ("* * * * * *", ["2026-01-01T00:00:01", "2026-01-01T00:00:02"]),
        ("0 */5 * * * *", ["2026-01-01T00:05:00", "2026-01-01T00:10:00"]),
        ("10/20 * * * * *", ["2026-01-01T00:00:10", "2026-01-01T00:00:30", "2026-01-01T00:00:50", "2026-01-01T00:01:10"]),
        ("0 */21 * * * ?", ["2026-01-01T00:21:00", "2026-01-01T00:42:00", "2026-01-01T01:00:00", "2026-01-01T01:21:00"]),
        ("0 0 9 * * 1", ["2026-01-04T09:00:00"]), ("0 0 9 * * Mon", ["2026-01-05T09:00:00"]),
        ("0 0 0 31 * *", ["2026-01-31T00:00:00", "2026-03-31T00:00:00", "2026-05-31T00:00:00"]),
        ("0 0 0 29 2 ?", ["2028-02-29T00:00:00"]),
        ("0 0 0 1,15 * Fri", ["2026-05-01T00:00:00", "2026-05-15T00:00:00", "2027-01-01T00:00:00"]),
        ("0 0 0 13 * Fri", ["2026-02-13T00:00:00", "2026-03-13T00:00:00", "2026-11-13T00:00:00"]),
        ("0 0 0 1 1 ? 2020-2040/10", ["2030-01-01T00:00:00", "2040-01-01T00:00:00"]), ("@weekly", ["2026-01-04T00:00:00"]),
        ("@hourly", ["2026-01-01T01:00:00"]), ("@daily", ["2026-01-02T00:00:00"]), ("@monthly", ["2026-02-01T00:00:00"]),
        ("@yearly", ["2027-01-01T00:00:00"]), ("  0 0 0 1 1 *  ", ["2027-01-01T00:00:00"]),
        ("\r\n* * * * * *\r\n", ["2026-01-01T00:00:01", "2026-01-01T00:00:02"]),
        ("\t0\t0 0000000000009 * * *", ["2026-01-01T09:00:00"]),
        ("0 0 1 - 2 * * *", ["2026-01-01T01:00:00", "2026-01-01T02:00:00"]),
        ("0 0 1 , 2 * * *", ["2026-01-01T01:00:00", "2026-01-01T02:00:00"]),
        ("1,2,30/15 0 0 * * *", ["2026-01-01T00:00:01", "2026-01-01T00:00:02", "2026-01-01T00:00:30", "2026-01-01T00:00:45"]),
        // Additions, none of which the baseline accepts.
        ("*/5 * * * *", ["2026-01-01T00:05:00", "2026-01-01T00:10:00"]), ("0 9 * * 1", ["2026-01-05T09:00:00"]),
        ("0 9 * * 7", ["2026-01-04T09:00:00"]), ("0 9 * * 0", ["2026-01-04T09:00:00"]),
        ("0 9 * * 7/2", ["2026-01-01T09:00:00", "2026-01-03T09:00:00", "2026-01-04T09:00:00"]),
        ("0 9 * * 5-7", ["2026-01-02T09:00:00", "2026-01-03T09:00:00", "2026-01-04T09:00:00"]),
        ("0 0 13 * 5", ["2026-01-02T00:00:00", "2026-01-09T00:00:00", "2026-01-13T00:00:00"]), ("0 0 */10 * 5", ["2026-05-01T00:00:00"]),
        ("0 0 0 L * *", ["2026-01-31T00:00:00", "2026-02-28T00:00:00"]), ("0 0 0 L-1 2 *", ["2026-02-27T00:00:00"]),
        ("0 0 0 LW * *", ["2026-01-30T00:00:00", "2026-02-27T00:00:00", "2026-03-31T00:00:00"]),
        ("0 0 0 15W * *", ["2026-01-15T00:00:00", "2026-02-16T00:00:00", "2026-03-16T00:00:00"]),
        ("0 0 0 1W 8 *", ["2026-08-03T00:00:00", "2027-08-02T00:00:00"]),
        ("0 0 0 31W 1 *", ["2026-01-30T00:00:00", "2027-01-29T00:00:00"]),
        ("0 0 0 * * FriL", ["2026-01-30T00:00:00", "2026-02-27T00:00:00"]), ("0 0 0 * * 6L", ["2026-01-30T00:00:00"]),
        ("0 0 0 * * Fri#3", ["2026-01-16T00:00:00", "2026-02-20T00:00:00"]), ("0 0 0 ? * 6#3", ["2026-01-16T00:00:00"]),
        ("0 0 0 * * Mon#5", ["2026-03-30T00:00:00"]), ("@midnight", ["2026-01-02T00:00:00"]), ("@annually", ["2027-01-01T00:00:00"]),
        ("@every 90s", ["2026-01-01T00:01:30", "2026-01-01T00:03:00"]), ("@every 1h30m", ["2026-01-01T01:30:00"]),
    ])
    func firesAsTheTableSays(expression: String, expected: [String]) throws {
        #expect(try Self.fires(expression, after: "2026-01-01T00:00:00", count: expected.count) == expected)
    }

    @Test func workingHoursOfTheBaselinesNumbering() throws {
        let fires = try Self.fires("0 0 9-17 * * 1-5", after: "2026-01-01T00:00:00", count: 10)
        #expect(fires.first == "2026-01-01T09:00:00" && fires[8] == "2026-01-01T17:00:00" && fires[9] == "2026-01-04T09:00:00")
    }

    @Test(arguments: ["0 0 0 31 2 *", "0 0 0 31 4 *", "0 0 0 30 2 *", "0 0 0 31 2,4,6,9,11 *", "0 0 0 29 2 ? 2027", "0 0 0 29 2 ? 2100"])
    func aDateThatNeverComesEndsTheSearch(expression: String) throws {
        #expect(try Self.fires(expression, after: "2026-01-01T00:00:00", count: 1) == [])
    }

    @Test(arguments: [
        "", "   ", "* * * *", "* * * * * * * *", "60 * * * * *", "* * * * * 0", "* * * * * 8", "0 0 22-6 * * *", "? * * * * *",
        "0 0 0 * * FRI-MON", "*/60 * * * * *",
        "*/0 * * * * *", "0 0 0 * * Mon/2", "0 10-12/* * * * *", "0 0 0 * * 3-THU", "0 0 0 * * thur", "0 0 0 * sept *", "0 0 0 * * weds",
        "0 0 noon * * *", "@reboot", "@every", "@every x", "@every 0s", "@Daily", "H * * * * *", "0 0 0 1 1 * 1969", "0 0 0 1 1 * 2101",
        ", * * * * *", "1,,2 * * * * *",
        "- * * * * *", "1- * * * * *", "/5 * * * * *", "1//2 * * * * *", "-1 * * * * *", "99999999999999999999 * * * * *", "0 0 0 0 * *",
        "0 0 0 32 * *", "0 0 0 * 13 *",
        "0 0 0 * * Fri#6", "0 0 0 * * Fri#0", "0 0 0 32W * *", "0 0 0 L-31 * *", "é * * * * *", "0 0 0 C * *", "~ * * * * *",
        // Signs are no digits, marks on blanks no blanks, and a blank ends a number.
        "0 0 0 L-+3 * *", "0 0 0 +15W * *", "0 0 0 * * Fri#+3", " \u{301}* * * * * *", "@every 1 0s", "@every +5s",
        "@every 99999999999999999999d",
        "٣ * * * * *", "0\u{0}0 0 * * *", "*/18446744073709551616 * * * * *", "0-99999999999999999999 * * * * *", "0 0 0 * * 7#1#2",
        "0 0 0 LL * *",
        "0 0 0 * * #", "0 0 0 W * *", "0 0 0 L- * *", "@every 90", "@ daily", "@daily 1", "@every 1s 1h",
    ])
    func refuses(expression: String) {
        #expect(throws: CronError.self) { try CronParser.parse(expression) }
    }

    @Test(arguments: ["MON", "mon", "Monday", "Tues", "thurs", "SATURDAY"]) func acceptsNames(name: String) throws {
        _ = try CronParser.parse("0 0 0 * * \(name)")
    }

    @Test func errorsPointAtThePlaceAndSuggest() throws {
        func error(_ text: String) -> CronError? {
            do throws(CronError) { _ = try CronParser.parse(text) } catch { return error }
            return nil
        }
        #expect(error("60 * * * * *")?.reason == "Seconds must be less than 59. ('60' specified.)")
        #expect(error("0 0 0 * * thur")?.suggestion == "Did you mean 'thu'?" && error("0 0 0 * * thur")?.position == 10)
        #expect(error("0 0 0 * * 0")?.reason == "Days of Week must be greater than or equal to 1. ('0' specified.)")
        #expect(error("0 0 0 * * 0")?.suggestion?.contains("Sun") == true)
        #expect(
            error("0 0 22-6 * * *")?.reason == "Invalid range for Hours: 22-6"
                && error("0 0 22-6 * * *")?.suggestion?.contains("22-23,0-6") == true)
        #expect(error("@dayly")?.suggestion == "Did you mean '@daily'?")
        #expect(
            error("0 0 noon * * *")?.description
                == "0 0 noon * * *\n    ^\nThe 'Hours' field does not support using names. 'noon' specified.")
    }

    @Test func whatIsWrongIsShownInItsPlaceAndInBounds() throws {
        func error(_ text: String) -> CronError? {
            do throws(CronError) { _ = try CronParser.parse(text) } catch { return error }
            return nil
        }
        #expect(error("0 0 é * * *")?.position == 4)
        #expect(
            error("0\t0\n60 * * * *")?.description.hasPrefix("0 0 60 * * * *\n    ^\n") == true || error("0\t0\n60 * * * *")?.position == 4)
        for long in [
            String(repeating: "*,", count: 500_000), String(repeating: " ", count: 1 << 20) + "* * * * * *",
            String(repeating: "0", count: 1 << 20),
        ] {
            let error = try #require(error(long))
            #expect(error.sentence.utf8.count < 1_000 && error.reason.contains("2048"))
        }
        let nested = try #require(error(String(repeating: "1-", count: 1_000) + " * * * * *"))
        #expect(nested.sentence.utf8.count < 10_000)
    }

    @Test func everyListWithoutRepetitionsIsShortEnough() throws {
        func list(_ range: ClosedRange<Int>) -> String { range.map(String.init).joined(separator: ",") }
        let days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"].joined(separator: ",")
        let text = "\(list(0...59)) \(list(0...59)) \(list(0...23)) \(list(1...31)) \(list(1...12)) \(days) \(list(1970...2100))"
        #expect(try Self.fires(text, after: "2026-01-01T00:00:00", count: 1) == ["2026-01-01T00:00:01"])
    }

    @Test(arguments: ["0 0 22-6 * * *", "0 0 0 * * FRI-MON", "0 0 0 * nov-feb *", "50-10 * * * * *", "0 0 0 28-3 * *", "0 0 * * 5-2"])
    func whatIsSuggestedForARangeThatWrapsAroundIsAccepted(text: String) throws {
        do throws(CronError) { _ = try CronParser.parse(text) } catch {
            let suggestion = try #require(error.suggestion?.split(separator: "'").dropFirst().first)
            let range = try #require(text.split(separator: " ").first { $0.contains("-") })
            _ = try CronParser.parse(text.replacing(range, with: suggestion))
            return
        }
        Issue.record("\(text) was accepted")
    }

    /// Whatever the text, an answer and no trap; and what is accepted says when it fires.
    @Test func textsOfAllKindsAreReadOrRefused() {
        var generator = SeededGenerator(seed: 7)
        let pieces = [
            "*", "?", "L", "W", "LW", "#", "/", "-", ",", " ", "  ", "\t", "0", "1", "7", "59", "60", "2100", "Mon", "fri", "JAN", "@every",
            "@daily", "s", "h", "d", "é", "\u{301}", "\r\n", "99999999999",
            "0 0 ", "* * * ",
        ]
        var accepted = 0
        for _ in 0..<20_000 {
            let text = (0..<Int.random(in: 0...14, using: &generator)).map { _ in pieces.randomElement(using: &generator) ?? "" }.joined()
            guard let expression = try? CronParser.parse(text) else { continue }
            accepted += 1
            _ = expression.next(after: 1_767_225_600, in: .utc)
            #expect(text.utf8.allSatisfy { $0 < 0x80 })
        }
        #expect(accepted > 20)
    }

    @Test func equalSchedulesHaveOneIdentity() throws {
        func normal(_ text: String) throws -> String { try CronParser.parse(text).normalized }
        #expect(try normal("0 0 9 * * Mon") == normal("00 0 09 ? * 2 1970-2100"))
        #expect(try normal("0 0 9 * * Mon") != normal("0 0 9 * * Tue"))
        #expect(try normal("0 0 13 * 5") != normal("0 0 0 13 * Fri"))
        #expect(try normal("@every 60s") == normal("@every 1m"))
    }

    @Test func numericWeekdaysAreNoticed() throws {
        #expect(try CronParser.parse("0 0 9 * * 1-5").numericWeekdays == [1, 5])
        #expect(try CronParser.parse("0 0 9 * * Mon-Fri").numericWeekdays == [])
        #expect(try CronParser.parse("0 9 * * 1-5").numericWeekdays == [])
    }
}
