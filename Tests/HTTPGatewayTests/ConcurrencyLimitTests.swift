import Testing

@testable import IIIHTTPGateway

@Suite struct ConcurrencyLimitTests {
    private final class Ticket {}

    @Test func admitsQueuesThenRejects() {
        var limit = ConcurrencyLimit<Ticket>(limit: 2, queueLimit: 1)
        let tickets = (0..<4).map { _ in Ticket() }
        let admissions = tickets.map { limit.acquire($0) }
        #expect(admissions == [.admitted, .admitted, .queued, .rejected])
        #expect(limit.inFlight == 2)
        #expect(limit.waitingCount == 1)
    }

    @Test func placesPassOnInOrderOfArrival() {
        var limit = ConcurrencyLimit<Ticket>(limit: 1, queueLimit: 3)
        let tickets = (0..<3).map { _ in Ticket() }
        for ticket in tickets { _ = limit.acquire(ticket) }
        let outcome1 = limit.release()
        #expect(outcome1 === tickets[1])
        let outcome2 = limit.release()
        #expect(outcome2 === tickets[2])
        #expect(limit.inFlight == 1)
        let outcome3 = limit.release()
        #expect(outcome3 == nil)
        #expect(limit.inFlight == 0)
    }

    @Test func withdrawnTicketIsNotServed() {
        var limit = ConcurrencyLimit<Ticket>(limit: 1, queueLimit: 3)
        let tickets = (0..<3).map { _ in Ticket() }
        for ticket in tickets { _ = limit.acquire(ticket) }
        let outcome4 = limit.withdraw(tickets[1])
        #expect(outcome4)
        let outcome5 = limit.withdraw(tickets[1])
        #expect(!outcome5)
        let outcome6 = limit.withdraw(tickets[0])
        #expect(!outcome6)
        let outcome7 = limit.release()
        #expect(outcome7 === tickets[2])
    }

    @Test func zeroServesOneAtATime() {
        var limit = ConcurrencyLimit<Ticket>(limit: 0, queueLimit: 0)
        let outcome8 = limit.acquire(Ticket())
        #expect(outcome8 == .admitted)
        let outcome9 = limit.acquire(Ticket())
        #expect(outcome9 == .rejected)
    }
}
