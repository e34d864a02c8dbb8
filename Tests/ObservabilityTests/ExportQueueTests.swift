import IIISignals
import Testing

@testable import IIIObservability

@Suite struct ExportQueueTests {
    private static func record(_ size: Int = 0) -> LogRecord {
        LogRecord(
            nanoseconds: 1, observedNanoseconds: 1, severityNumber: 9, severityText: "INFO",
            body: .string(String(repeating: "x", count: size)), resource: Resource())
    }

    private static func queue(_ change: (inout ExportLimits) -> Void = { _ in }) -> ExportQueue<LogRecord> {
        var limits = ExportLimits()
        limits.maximumBatch = 10
        change(&limits)
        return ExportQueue(limits: limits)
    }

    @Test func aFewWaitForCompanyAndAFullBatchDoesNot() {
        var queue = Self.queue()
        #expect(queue.append([Self.record()], now: .seconds(1)) == 0)
        #expect(queue.next(now: .seconds(1)) == .wait(until: .seconds(6)))
        #expect(queue.next(now: .seconds(6)) == .send)
        _ = queue.append((0..<9).map { _ in Self.record() }, now: .seconds(2))
        #expect(queue.next(now: .seconds(2)) == .send)
        #expect(queue.take(now: .seconds(2)).count == 10)
        #expect(queue.next(now: .seconds(2)) == .wait(until: nil), "one batch at a time")
        #expect(queue.finished(.delivered(), now: .seconds(3), jitter: 0.5) == .init(exported: 10))
        #expect(queue.next(now: .seconds(3)) == .wait(until: nil))
    }

    @Test func whatCannotBeDeliveredComesAgainWithGrowingPauses() {
        var queue = Self.queue()
        _ = queue.append([Self.record()], now: .zero)
        var (now, pauses) = (Duration.seconds(5), [Duration]())
        for _ in 0..<8 {
            #expect(queue.next(now: now) == .send)
            #expect(queue.take(now: now).count == 1)
            _ = queue.finished(.unavailable(reason: "HTTP 503"), now: now, jitter: 0.5)
            guard case .wait(let until?) = queue.next(now: now) else { return #expect(Bool(false)) }
            pauses.append(until - now)
            now = until
        }
        #expect(pauses == [1, 2, 4, 8, 16, 30, 30, 30].map { Duration.seconds($0) })
    }

    @Test(arguments: [(3, 3), (0, 1), (86_400, 300)])
    func theReceiverSaysHowLongToWaitWithinReason(_ asked: Int, _ waited: Int) {
        var queue = Self.queue()
        _ = queue.append([Self.record()], now: .zero)
        _ = queue.take(now: .zero)
        _ = queue.finished(.unavailable(retryAfter: .seconds(asked), reason: ""), now: .zero, jitter: 0.5)
        #expect(queue.next(now: .zero) == .wait(until: .seconds(waited)))
    }

    @Test func noMoreIsHeldThanTheLimitAndTheOldestGoFirst() {
        var queue = Self.queue { $0.maximumBytes = 100_000 }
        var dropped = 0
        for _ in 0..<1_000 { dropped += queue.append([Self.record(1_000)], now: .zero) }
        #expect(queue.heldBytes <= 100_000 && queue.heldCount + dropped == 1_000)
        let batch = queue.take(now: .zero)
        dropped += queue.append((0..<200).map { _ in Self.record(1_000) }, now: .zero)
        dropped += queue.finished(.unavailable(reason: ""), now: .zero, jitter: 0).dropped
        #expect(queue.heldBytes <= 100_000 && queue.heldCount + dropped == 1_200 && !batch.isEmpty)
    }

    @Test func aBatchThatIsTooLargeIsHalvedAndOneRecordDropped() {
        var queue = Self.queue { $0.maximumBatch = 100 }
        _ = queue.append((0..<50).map { _ in Self.record(2_000) } + [Self.record(50_000)], now: .zero)
        var (sizes, dropped, exported) = ([Int](), 0, 0)
        while queue.count > 0 {
            let batch = queue.take(now: .seconds(10))
            let bytes = batch.reduce(0) { $0 + $1.cost }
            let outcome = bytes > 20_000 ? ExportOutcome.tooLarge(reason: "413") : .delivered()
            if bytes > 20_000 { sizes.append(bytes) }
            let verdict = queue.finished(outcome, now: .seconds(10), jitter: 0)
            (dropped, exported) = (dropped + verdict.dropped, exported + verdict.exported)
        }
        #expect(dropped == 1 && exported == 50)
        #expect(Set(sizes).count == sizes.count, "never the same twice")
    }

    @Test func atTheEndEverythingLeavesAtOnce() {
        var queue = Self.queue()
        _ = queue.append([Self.record()], now: .zero)
        _ = queue.take(now: .zero)
        _ = queue.finished(.unavailable(retryAfter: .seconds(200), reason: ""), now: .zero, jitter: 0.5)
        queue.end()
        #expect(queue.next(now: .seconds(1)) == .send)
        _ = queue.take(now: .seconds(1))
        _ = queue.finished(.delivered(rejected: 1, message: "no"), now: .seconds(1), jitter: 0.5)
        #expect(queue.next(now: .seconds(1)) == .ended)
    }
}

@Suite struct OTLPEndpointTests {
    @Test(arguments: [
        ("http://h:4318", "http://h:4318/v1/traces"), ("http://h:4318/", "http://h:4318/v1/traces"),
        ("http://h/otlp", "http://h/otlp/v1/traces"),
        ("http://h/otlp//", "http://h/otlp/v1/traces"), ("http://h/x?token=1", "http://h/x/v1/traces?token=1"),
    ])
    func theSignalsPathComesBehindTheEndpoints(_ base: String, _ expected: String) throws {
        #expect(try OTLPEndpoints.url(base, for: .traces).description == expected)
    }

    @Test func headersAreSplitAtTheFirstEqualsSign() {
        let headers = OTLPEndpoints.headers(
            "Authorization=Basic%20dXNlcjpwYXNz==, x-scope = a=b ,broken,=x,plus=1+1,bad=%0d%0a,n\u{e4}me=1")
        #expect(headers.map { "\($0.name): \($0.value)" } == ["Authorization: Basic dXNlcjpwYXNz==", "x-scope: a=b", "plus: 1+1"])
    }

    @Test(
        arguments: [
            ("3", 3), ("0", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 10), ("Sun, 06 Nov 1994 08:49:07 GMT", 0), ("banana", nil), ("-1", nil),
            ("", nil),
        ] as [(String, Int?)])
    func retryAfterIsSecondsOrADate(_ text: String, _ expected: Int?) {
        #expect(OTLPEndpoints.retryAfter(text, now: 784_111_767) == expected.map { Duration.seconds($0) })
    }
}
