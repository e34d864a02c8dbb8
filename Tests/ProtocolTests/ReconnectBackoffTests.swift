import IIIProtocol
import Testing

@Suite struct ReconnectBackoffTests {
    @Test func doublesToTheMaximumWithJitter() {
        var backoff = ReconnectBackoff(first: .seconds(1), maximum: .seconds(30))
        var generator = SystemRandomNumberGenerator()
        for expected in [1.0, 2, 4, 8, 16, 30, 30, 30] {
            let delay = backoff.next(using: &generator) / .seconds(1)
            #expect(delay >= expected * 0.7 - 0.001 && delay <= expected * 1.3 + 0.001)
        }
        for _ in 0..<200 { _ = backoff.next(using: &generator) }
        backoff.reset()
        #expect(backoff.next(using: &generator) <= .milliseconds(1300))
    }
}
