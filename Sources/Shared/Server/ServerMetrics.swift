import IIITLS
import IIITelemetry

/// The metrics of listeners (docs/reference/metrics.md#listeners): what `Server` counts, as instruments of a process.
package struct ServerMetrics {
    /// What one listener, or several together, have done, and hold now.
    package struct Reading {
        package var counters = ServerCounters()
        package var tls = TLSCounters()
        package var connections = 0
        package var handshakes = 0
        /// Until the certificate that ends first does; nil without TLS.
        package var certificateDays: Int?

        package init() {}

        package static func + (left: Reading, right: Reading) -> Reading {
            var sum = left
            sum.counters = left.counters + right.counters
            sum.tls = left.tls + right.tls
            sum.connections += right.connections
            sum.handshakes += right.handshakes
            sum.certificateDays = [left.certificateDays, right.certificateDays].compactMap { $0 }.min()
            return sum
        }
    }

    private let store: MetricStore
    private let counters: [(CounterInstrument, (Reading) -> Int)]
    private let connections: GaugeInstrument
    private let handshakes: GaugeInstrument

    package init(_ store: MetricStore) {
        self.store = store
        func counter(
            _ name: String, _ label: (String, String)?, _ description: String, _ value: @escaping (Reading) -> Int
        ) -> (CounterInstrument, (Reading) -> Int) {
            (store.counter(name, labels: label.map { [$0] } ?? [], description: description), value)
        }
        let handshakes = "iii.tls.handshakes.total"
        let told = "TLS handshakes by how they ended"
        counters = [
            counter("iii.listener.sockets.total", nil, "Connections that were accepted") { $0.counters.accepted },
            counter("iii.listener.handshakes.timed_out.total", nil, "Connections that did not say what they want in time") {
                $0.counters.handshakesTimedOut
            },
            counter("iii.listener.handshakes.evicted.total", nil, "Connections that gave their place to one that waited") {
                $0.counters.handshakesEvicted
            },
            counter("iii.listener.pauses.total", ("reason", "limit"), "Times the listener stopped accepting") {
                $0.counters.acceptPauses - $0.counters.descriptorPauses
            },
            counter("iii.listener.pauses.total", ("reason", "descriptors"), "Times the listener stopped accepting") {
                $0.counters.descriptorPauses
            },
            counter("iii.listener.origins_refused.total", nil, "Upgrades that the rules for origins and hosts refused") {
                $0.counters.originsRefused
            },
            counter("iii.listener.decisions.timed_out.total", nil, "Upgrades that nobody decided about in time") {
                $0.counters.decisionsTimedOut
            },
            counter(handshakes, ("result", "ok"), told) { $0.tls.established },
            counter(handshakes, ("result", "failed"), told) { $0.tls.handshakesFailed },
            counter(handshakes, ("result", "timed_out"), told) { $0.tls.handshakesTimedOut },
            counter(handshakes, ("result", "plaintext"), told) { $0.tls.plaintextRefused },
            counter("iii.tls.resumed.total", nil, "Handshakes that resumed an earlier session") { $0.tls.resumed },
            counter("iii.tls.broken.total", ("reason", "failed"), "Established connections that broke the protocol") {
                $0.tls.connectionsFailed
            },
            counter("iii.tls.broken.total", ("reason", "truncated"), "Established connections that broke the protocol") {
                $0.tls.truncated
            },
        ]
        connections = store.gauge("iii.listener.sockets.open", description: "Connections that are open")
        self.handshakes = store.gauge("iii.listener.handshakes.open", description: "Connections that have not said what they want")
    }

    /// Takes over what holds now.
    package func update(_ reading: Reading) {
        for (counter, value) in counters { counter.advance(to: value(reading)) }
        connections.set(reading.connections)
        handshakes.set(reading.handshakes)
        let name = "iii.tls.certificate.days"
        guard let days = reading.certificateDays else { return store.remove(name, labels: []) }
        store.gauge(name, description: "Days until the certificate in force ends").set(days)
    }
}

extension Server {
    /// What this listener has done, and holds now.
    package var reading: ServerMetrics.Reading {
        var reading = ServerMetrics.Reading()
        reading.counters = counters
        reading.tls = tls.counters
        reading.connections = connectionCount
        reading.handshakes = handshakeCount
        reading.certificateDays = tls.endpoint?.context.daysLeft
        return reading
    }
}
