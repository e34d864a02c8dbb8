import CoreMetrics

/// What the connections to RabbitMQ are counted in.
final class RabbitMQMeters {
    private let connections = Gauge(label: "iii.queue.broker.connections")
    private let blocked = Gauge(label: "iii.queue.broker.blocked")

    func connected(_ count: Int, isBlocked: Bool) {
        connections.record(count)
        blocked.record(isBlocked ? 1 : 0)
    }
}
