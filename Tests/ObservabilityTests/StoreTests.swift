import IIIProtocol
import IIISignals
import Testing

@testable import IIIObservability

@Suite struct StoreTests {
    static func span(_ trace: Int, _ id: UInt64, parent: UInt64? = nil, start: UInt64 = 1_000, end: UInt64 = 2_000, name: String = "n")
        -> Span
    {
        Span(
            traceID: TraceID(high: 1, low: UInt64(trace))!, spanID: SpanID(id)!, parentID: parent.flatMap { SpanID($0) }, name: name,
            startNanoseconds: start, endNanoseconds: end, resource: Resource([Attribute("service.name", .string("s"))]))
    }

    private func list(_ table: inout TraceTable, _ change: (inout TraceQuery) -> Void = { _ in }) -> [String] {
        var query = TraceQuery()
        change(&query)
        return query.run(on: &table, now: 10_000_000_000).rows.map(\.root.name)
    }

    // MARK: Traces

    @Test func theOldestTracesGoWhole() {
        var table = TraceTable(limits: .init(maximumSpans: 3))
        for trace in 1...5 { _ = table.add([Self.span(trace, 1, start: UInt64(trace), name: "t\(trace)")], now: 1) }
        #expect(list(&table) == ["t3", "t4", "t5"])
        // One that is added to is no longer the oldest.
        _ = table.add([Self.span(3, 2, parent: 1)], now: 1)
        _ = table.add([Self.span(6, 1, start: 6, name: "t6")], now: 1)
        #expect(list(&table) == ["t3", "t6"])
        #expect(table.spanCount == 3)
        #expect(table.evictedSpans == 4)
    }

    @Test(arguments: 0..<50) func countsAndBytesAreThoseOfWhatIsKept(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        var table = TraceTable(limits: .init(maximumSpans: 40, maximumBytes: 20_000))
        for step in 0..<400 {
            let trace = Int.random(in: 1...20, using: &chance)
            let id = UInt64.random(in: 1...8, using: &chance)
            _ = table.add([Self.span(trace, id, end: Bool.random(using: &chance) ? 0 : 2_000)], now: UInt64(step))
            var (spans, bytes) = (0, 0)
            table.forEach { _, trace in
                spans += trace.spans.count
                bytes += trace.bytes
            }
            #expect(spans == table.spanCount && bytes == table.bytes)
            #expect(spans <= 40 && bytes <= 20_000)
        }
    }

    @Test func aTraceThatGrowsWithoutEndGoesLikeAnyOther() {
        var table = TraceTable(limits: .init(maximumSpans: 2_000))
        _ = table.add([Self.span(1, 1, name: "small")], now: 1)
        for id in 1...5_000 { _ = table.add([Self.span(2, UInt64(id))], now: 1) }
        #expect(list(&table).contains("small"))
        #expect(table.spanCount <= 2_000)
    }

    @Test func aResentFrameChangesNothing() {
        var table = TraceTable(limits: .init())
        let frame = [Self.span(1, 2, parent: 1), Self.span(1, 3, parent: 2), Self.span(1, 1)]
        let news = table.add(frame, now: 1)
        #expect(news.count == 3)
        let bytes = table.bytes
        for _ in 0..<4 {
            let news = table.add(frame.reversed(), now: 2)
            #expect(news.isEmpty)
        }
        #expect(table.spanCount == 3 && table.bytes == bytes)
    }

    @Test func aRecordFromTheFutureAgesByItsArrival() {
        var table = TraceTable(limits: .init(maximumAge: 1_000))
        _ = table.add([Self.span(1, 1, start: 1 << 62, end: 1 << 62)], now: 10_000)
        table.expire(now: 10_500)
        #expect(table.spanCount == 1)
        table.expire(now: 12_000)
        #expect(table.spanCount == 0)
    }

    @Test func aTraceWithoutItsRootIsShownByItsEarliestDanglingSpan() {
        var table = TraceTable(limits: .init())
        _ = table.add([Self.span(1, 2, parent: 9, start: 20, name: "late"), Self.span(1, 3, parent: 8, start: 10, name: "early")], now: 1)
        #expect(list(&table) == ["early"])
    }

    @Test func filtersLookAtTheRootAndIfAskedAtAllSpans() {
        var table = TraceTable(limits: .init())
        var child = Self.span(1, 2, parent: 1, name: "Inner Step")
        child.attributes = [Attribute("k", .integer(7))]
        _ = table.add([Self.span(1, 1, start: 1_000_000, end: 1_600_000, name: "outer"), child], now: 1)
        var hidden = Self.span(2, 1, name: "hidden")
        hidden.attributes = [Attribute("function_id", .string("engine::x"))]
        _ = table.add([hidden], now: 1)
        #expect(list(&table) == ["outer"])
        #expect(list(&table) { $0.includesInternal = true }.count == 2)
        #expect(list(&table) { $0.name = "inner" }.isEmpty)
        #expect(list(&table) { ($0.name, $0.searchesAllSpans) = ("inner", true) } == ["outer"])
        #expect(list(&table) { ($0.attributes, $0.searchesAllSpans) = ([("k", "7")], true) } == ["outer"])
        #expect(list(&table) { $0.minimumMilliseconds = 0.5 } == ["outer"])
        #expect(list(&table) { $0.minimumMilliseconds = 0.7 }.isEmpty)
        #expect(list(&table) { ($0.start, $0.end) = (1, 1) } == ["outer"])
        #expect(list(&table) { $0.end = 0 }.isEmpty)
        #expect(list(&table) { $0.start = .max }.isEmpty)
    }

    // MARK: Trees

    private func shape(_ spans: [Span]) -> String {
        let tree = TraceTree(spans)
        func text(_ index: Int) -> String {
            let children = tree.nodes[index].children.map(text).joined(separator: " ")
            return tree.nodes[index].span.name + (children.isEmpty ? "" : "(\(children))")
        }
        return tree.roots.map(text).joined(separator: " ")
    }

    @Test func treesAreInTheOrderOfStartsAndOrphansAreRoots() {
        let spans = [
            Self.span(1, 3, parent: 1, start: 3, name: "b"), Self.span(1, 1, start: 1, name: "r"),
            Self.span(1, 2, parent: 1, start: 2, name: "a"),
            Self.span(1, 4, parent: 99, start: 4, name: "orphan"),
        ]
        #expect(shape(spans) == "r(a b) orphan")
    }

    @Test func aSpanThatIsItsOwnParentIsARoot() { #expect(shape([Self.span(1, 1, parent: 1, name: "a")]) == "a") }

    @Test func aCircleIsCutAtItsEarliestMember() {
        let circle = [
            Self.span(1, 1, parent: 2, start: 2, name: "a"), Self.span(1, 2, parent: 1, start: 1, name: "b"),
            Self.span(1, 3, parent: 2, start: 3, name: "c"),
        ]
        #expect(shape(circle) == "b(a c)")
        #expect(shape(circle + [Self.span(1, 9, start: 0, name: "r")]) == "r b(a c)")
    }

    @Test(arguments: 0..<100) func everySpanAppearsExactlyOnce(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...300, using: &chance)
        let spans = (1...count).map { id in
            Self.span(
                1, UInt64(id), parent: UInt64.random(in: 1...UInt64(count + 3), using: &chance),
                start: UInt64.random(in: 1...50, using: &chance),
                name: "\(id)")
        }
        let tree = TraceTree(spans)
        var seen: [Int] = []
        func visit(_ index: Int, _ depth: Int) {
            #expect(depth <= TraceTree.maximumDepth)
            seen.append(index)
            for child in tree.nodes[index].children { visit(child, depth + 1) }
        }
        for root in tree.roots { visit(root, 0) }
        #expect(seen.sorted() == Array(spans.indices))
        #expect(!tree.roots.isEmpty)
    }

    @Test func aVeryDeepTraceIsAnAnswerOfBoundedDepth() {
        let spans = (1...10_000).map { Self.span(1, UInt64($0), parent: UInt64($0 - 1), start: UInt64($0), name: "\($0)") }
        let tree = TraceTree(spans)
        func depth(_ index: Int) -> Int { 1 + (tree.nodes[index].children.map(depth).max() ?? 0) }
        #expect(tree.roots.map(depth).max() == TraceTree.maximumDepth + 1)
    }

    // MARK: Logs

    static func record(_ time: UInt64, observed: UInt64 = 0, _ text: String = "m", severity: Int = 9) -> LogRecord {
        LogRecord(
            nanoseconds: time, observedNanoseconds: observed, severityNumber: severity,
            severityText: Severity(number: severity)?.text ?? "",
            body: .string(text), resource: Resource())
    }

    private func bodies(_ table: LogTable, _ input: JSONValue = [:]) throws -> [String] {
        try LogQuery(FunctionInput(input, of: "f")).run(on: table).page.map(\.record.body.text)
    }

    @Test func anUnknownTimeIsThatOfTheObservation() throws {
        var table = LogTable(limits: .init())
        table.add([Self.record(5_000_000, "known"), Self.record(0, observed: 9_000_000, "unknown")], now: 20_000_000)
        #expect(try bodies(table) == ["unknown", "known"])
        #expect(try bodies(table, ["start_time": 6, "end_time": 9]) == ["unknown"])
        #expect(try bodies(table, ["start_time": .double(0x1p64)]).isEmpty)
    }

    @Test func aRecordFromTheFutureIsNoReasonToLoseOthers() throws {
        var table = LogTable(limits: .init(maximumRecords: 3, maximumAge: 1_000))
        table.add([Self.record(1 << 62, "future")], now: 10_000)
        table.add([Self.record(10_000, "a"), Self.record(10_001, "b"), Self.record(10_002, "c")], now: 10_002)
        #expect(try bodies(table) == ["c", "b", "a"])
        table.add([Self.record(1 << 62, "future")], now: 10_003)
        table.expire(now: 12_000)
        #expect(table.count == 0 && table.bytes == 0)
    }

    @Test func limitsOfALogPage() throws {
        var table = LogTable(limits: .init())
        table.add((1...5).map { Self.record(UInt64($0), "\($0)", severity: $0 > 3 ? 17 : 9) }, now: 1)
        #expect(try bodies(table, ["limit": 0]).isEmpty)
        #expect(try bodies(table, ["offset": 1, "limit": 2]) == ["4", "3"])
        #expect(try bodies(table, ["severity_min": 17]) == ["5", "4"])
        #expect(try bodies(table, ["severity_text": "info"]).count == 3)
    }

    // MARK: Metrics

    static func counter(_ value: Int64, start: UInt64, time: UInt64, name: String = "c") -> Metric {
        Metric(
            name: name, kind: .counter,
            points: [MetricPoint(attributes: [], startNanoseconds: start, nanoseconds: time, value: .integer(value))], resource: Resource())
    }

    private func sums(_ table: RollupTable) -> [Double] { table.series.values.flatMap { $0.buckets[0].map(\.sum) }.sorted() }

    @Test func aCounterThatBeganBeforeAnybodyLookedAddsNothingAtFirst() {
        var table = RollupTable(now: 1_000)
        table.add([Self.counter(1_000_000, start: 10, time: 2_000)], now: 2_000)
        #expect(sums(table).isEmpty)
        table.add([Self.counter(1_000_005, start: 10, time: 3_000)], now: 3_000)
        #expect(sums(table) == [5])
        table.add([Self.counter(7, start: 3_500, time: 4_000)], now: 4_000)
        #expect(sums(table) == [12], "a process that started anew has counted from 0")
    }

    @Test func aYoungCounterAddsItsFirstPoint() {
        var table = RollupTable(now: 1_000)
        table.add([Self.counter(150, start: 1_500, time: 2_000)], now: 2_000)
        #expect(sums(table) == [150])
    }

    @Test func metricsAreBoundedInNumberAndNames() {
        var table = MetricTable(limits: .init(maximumRecords: 10, maximumNames: 3))
        for index in 0..<5 { table.add([Self.counter(1, start: 1, time: 1, name: "m\(index)")], now: 1) }
        #expect(table.count == 3 && table.refused == 2)
        for _ in 0..<20 { table.add([Self.counter(1, start: 1, time: 1, name: "m0")], now: 1) }
        #expect(table.count == 10)
        table.add([Self.counter(1, start: 1, time: 1, name: "new")], now: 1)
        #expect(table.all.last?.metric.name == "new", "names that are gone make room")
    }

    // MARK: Redaction

    @Test func wholeKeysAreRedactedAtAnyDepthAndPartsOfKeysAreNot() {
        var attributes = ["Authorization", "X-API-KEY", "password", "author", "auth.method", "tokens.used", "secretary", "cookie_count"].map
        {
            Attribute($0, .string("v"))
        }
        attributes.append(Attribute("http.request.header.set_cookie", .string("v")))
        attributes.append(Attribute("data", .map([Attribute("list", .array([.map([Attribute("secret", .string("v"))])]))])))
        Redaction.clean(&attributes)
        let marks = attributes.map { $0.value == Redaction.mark }
        #expect(marks == [true, true, true, false, false, false, false, false, true, false])
        #expect(attributes.last?.value.text == #"{"list":[{"secret":"[REDACTED]"}]}"#)
    }

    @Test(arguments: [
        ("\u{1B}[31mred\u{1B}[0m", "red"), ("a\u{1B}]0;x\u{07}b", "ab"), ("a\u{1B}]0;x\u{1B}\\b", "ab"), ("line\nfeed", "line\nfeed"),
        ("end\u{1B}", "end"), ("\u{1B}Mx", "x"),
    ])
    func escapesAreStripped(text: String, expected: String) { #expect(Redaction.withoutEscapes(text) == expected) }

    // MARK: Queues of frames

    @Test func noSignalStarvesAnother() {
        var queues = FrameQueues(limits: .init(maximumBytes: 10, maximumFrames: 5))
        for _ in 0..<20 { _ = queues.append([1, 2, 3], .traces) }
        let isTaken = queues.append([9], .logs)
        #expect(isTaken)
        let (one, other) = (queues.next(), queues.next())
        let first = [one, other].compactMap { $0?.signal }
        #expect(Set(first) == [.traces, .logs])
        var left = 0
        while queues.next() != nil { left += 1 }
        #expect(left == 2, "what found no room was not taken")
        let isBigOneTaken = queues.append([UInt8](repeating: 0, count: 1_000), .metrics)
        #expect(isBigOneTaken, "one frame alone is always taken")
    }
}
