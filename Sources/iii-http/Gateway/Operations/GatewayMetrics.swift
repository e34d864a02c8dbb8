import IIIServer
import IIITelemetry
import NIOCore
import Synchronization

/// What the gateway counts (docs/reference/metrics.md#iii-http). Its numbers change on the gateway's loop only.
final class GatewayMetrics {
    /// Gauges and totals that stand elsewhere, taken over when metrics are collected.
    struct Reading {
        var connections = 0
        var queued = 0
        var held = 0
        var heldTotal = 0
        var routes = 0
        var bufferedBytes = 0
        var bufferedPeak = 0
        var memoryRefusals = 0
        var memoryCuts = 0
        var listener: ServerMetrics.Reading?
    }

    private let store: MetricStore
    private let unmatched: [String: RouteMetrics]
    private let listener: ServerMetrics
    private let active: GaugeInstrument
    private let queueRefusals: CounterInstrument
    private let connectionRefusals: CounterInstrument
    private let totals: [(CounterInstrument, KeyPath<Reading, Int>)]
    private let gauges: [(GaugeInstrument, KeyPath<Reading, Int>)]
    private var activeCount = 0

    init(_ store: MetricStore) {
        self.store = store
        listener = ServerMetrics(store)
        unmatched = Dictionary(
            uniqueKeysWithValues: (RouteMethod.allCases.map(\.name) + [Self.otherMethod]).map {
                ($0, RouteMetrics(route: "none", method: $0))
            })
        active = store.gauge("iii.http.requests.active", description: "Requests that are not answered yet")
        let refused = "iii.http.refused.total"
        let told = "What was turned away for want of room"
        queueRefusals = store.counter(refused, labels: [("reason", "concurrency")], description: told)
        connectionRefusals = store.counter(refused, labels: [("reason", "connections")], description: told)
        totals = [
            (store.counter(refused, labels: [("reason", "memory")], description: told), \.memoryRefusals),
            (store.counter("iii.http.clients_cut.total", description: "Clients cut because they take nothing"), \.memoryCuts),
            (store.counter("iii.http.holds.total", description: "Requests that waited for a worker to come back"), \.heldTotal),
        ]
        gauges = [
            (store.gauge("iii.http.connections.open", description: "Connections of clients"), \.connections),
            (store.gauge("iii.http.requests.queued", description: "Requests that wait for a place"), \.queued),
            (store.gauge("iii.http.requests.held", description: "Requests that wait for a worker to come back"), \.held),
            (store.gauge("iii.http.routes", description: "Routes that are live"), \.routes),
            (store.gauge("iii.http.buffered.bytes", description: "Bodies and answers that wait", unit: "By"), \.bufferedBytes),
            (store.gauge("iii.http.buffered.peak.bytes", description: "The most that ever waited", unit: "By"), \.bufferedPeak),
        ]
    }

    static let otherMethod = "other"

    func began() {
        activeCount += 1
        active.set(activeCount)
    }

    /// `route` nil: nothing matched.
    func ended(_ route: Route?, method: String, status: Int, after duration: TimeAmount) {
        activeCount -= 1
        active.set(activeCount)
        (route?.metrics ?? unmatched[method])?.record(status: status, seconds: Double(duration.nanoseconds) / 1e9, in: store)
    }

    func queueWasFull() { queueRefusals.add() }
    func connectionWasRefused() { connectionRefusals.add() }

    func collect(_ reading: Reading) {
        for (counter, path) in totals { counter.advance(to: reading[keyPath: path]) }
        for (gauge, path) in gauges { gauge.set(reading[keyPath: path]) }
        if let sockets = reading.listener { listener.update(sockets) }
    }
}

/// The instruments of one route, made when it is first answered and kept with it, so that a request looks nothing up but its status.
final class RouteMetrics: Sendable {
    private struct State {
        /// A route answers with few statuses; each has its counter.
        var counters: [(status: Int, counter: CounterInstrument)] = []
        var duration: HistogramInstrument?
    }

    private let route: String
    private let method: String
    private let state = Mutex(State())

    init(route: String, method: String) {
        self.route = route
        self.method = method
    }

    func record(status: Int, seconds: Double, in store: MetricStore) {
        let (counter, duration) = state.withLock { state -> (CounterInstrument, HistogramInstrument) in
            let labels = [("route", route), ("method", method)]
            let duration =
                state.duration
                ?? store.histogram(
                    "iii.http.request.duration", labels: labels, description: "From a request's head to the end of its answer", unit: "s")
            state.duration = duration
            if let known = state.counters.first(where: { $0.status == status }) { return (known.counter, duration) }
            let counter = store.counter(
                "iii.http.requests.total", labels: labels + [("status", "\(status)")], description: "Requests by route and status")
            state.counters.append((status, counter))
            return (counter, duration)
        }
        counter.add()
        duration.record(seconds)
    }
}
