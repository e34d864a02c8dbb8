import IIITransport
import NIOCore

/// A telemetry-only socket (`/otel`): no registration frame, no registry entry, everything but telemetry ignored. It counts
/// against `max_connections`, is pinged, and ends like a worker's.
package final class TelemetryConnection: WebSocketConnection {
    private let engine: Engine
    private var health = PeerHealth(now: .now())
    /// Until somebody has decided about it.
    private var admission: Admission?

    init(engine: Engine, limits: WebSocketLimits, coalescer: WriteCoalescer, admission: Admission?) {
        self.engine = engine
        self.admission = admission
        super.init(role: .server, limits: limits, coalescer: coalescer)
    }

    override package func connectionOpened() {
        guard let admission else { return admitted() }
        engine.authenticate(self, admission) { [self] _ in admitted() }
    }

    private func admitted() {
        admission = nil
        engine.telemetryConnections[ObjectIdentifier(self)] = self
    }

    override package func connectionClosed() {
        engine.telemetryConnections[ObjectIdentifier(self)] = nil
        engine.telemetry.connectionClosed(self)
    }

    override package func queuedBytesShrank() { health.progressed(.now()) }

    override package func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        guard admission == nil else { return }
        if !isText, TelemetryRelay.isTelemetry(bytes) { engine.telemetry.received(bytes, from: self) }
    }

    func judge(_ now: NIODeadline, _ limits: PeerHealth.Limits) -> PeerHealth.Verdict {
        health.judge(now, lastInbound: lastInbound, isRead: isBeingRead, queuedBytes: queuedBytes, limits)
    }
}
