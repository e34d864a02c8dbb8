import Glibc
import IIITLS
import IIITelemetry
import Logging
import NIOCore

/// TLS of one listener: follows the configuration and the files it names, without a restart.
///
/// The files are looked at every `lookInterval` (2 s). Changed ones are read once they have stood still for one look, so that a
/// certificate is not read while its key is still being written. Connections keep the certificate they began with; an unusable
/// new one changes nothing and is reported once. Looking and reading happen on the event loop: a few small files on a
/// local disk. Confined to the listener's event loop.
package final class ServerTLS {
    package static let lookInterval = TimeAmount.seconds(2)

    /// For connections that are accepted from now on; nil = plain HTTP.
    package private(set) var endpoint: TLSEndpoint?
    private let eventLoop: any EventLoop
    private let logger: Logger
    /// Of endpoints that are no longer in force.
    private var past = TLSCounters()
    private var looks: RepeatedTask?
    /// Seen at the last look, different from those in force.
    private var candidate: TLSFileStamps?
    /// Could not be used.
    private var refused: TLSFileStamps?

    package init(eventLoop: any EventLoop, logger: Logger) {
        self.eventLoop = eventLoop
        self.logger = logger
    }

    /// Where passwords of keys come from.
    package static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    /// Serves with `context` from now on; nil = without TLS.
    package func apply(_ context: TLSServerContext?, handshakeTimeout: TimeAmount) {
        candidate = nil
        refused = nil
        guard let context else {
            looks?.cancel()
            looks = nil
            past = counters
            endpoint = nil
            return
        }
        if let endpoint {
            endpoint.use(context)
            endpoint.handshakeTimeout = handshakeTimeout
        } else {
            endpoint = TLSEndpoint(context, handshakeTimeout: handshakeTimeout) { [logger] in Self.log($0, $1, logger) }
        }
        announce(context)
        if looks == nil {
            let bound = NIOLoopBound(self, eventLoop: eventLoop)
            looks = eventLoop.scheduleRepeatedTask(initialDelay: Self.lookInterval, delay: Self.lookInterval) { _ in bound.value.look() }
        }
    }

    /// Since the listener began, also while TLS was off.
    package var counters: TLSCounters { endpoint.map { past + $0.counters } ?? past }

    /// Ends the looking; connections keep what they have.
    package func stop() {
        looks?.cancel()
        looks = nil
    }

    /// Reads the files again if they have changed.
    package func look() {
        guard let endpoint else { return }
        let now = TLSFileStamps(endpoint.context.settings)
        guard now != endpoint.context.stamps, now != refused else {
            candidate = nil
            return
        }
        guard now == candidate else {
            candidate = now
            return
        }
        candidate = nil
        do {
            let fresh = try TLSServerContext(endpoint.context.settings, environment: Self.environment)
            endpoint.use(fresh)
            refused = nil
            announce(fresh)
        } catch {
            refused = now
            logger.error(
                .certificateUnusable, "the changed TLS files cannot be used; the old certificate stays in force",
                metadata: ["error": "\(error)"])
        }
    }

    private func announce(_ context: TLSServerContext) {
        let settings = context.settings
        for warning in context.warnings { logger.warning(.certificateSuspicious, "\(warning)") }
        logger.info(
            "TLS certificate loaded",
            metadata: [
                "cert_file": "\(settings.certificateFile)", "min_version": "\(settings.minimumVersion.rawValue)",
                "remaining_days": "\(context.remainingDays)", "client_certificates": "\(settings.clientAuthorityFile != nil)",
            ])
    }

    private static func log(_ event: TLSEvent, _ counters: TLSCounters, _ logger: Logger) {
        switch event {
        case .established(let version, let isResumed):
            logger.trace(
                "TLS established", metadata: ["version": "\(version)", "resumed": "\(isResumed)", "total": "\(counters.established)"])
        case .handshakeFailed(let reason):
            logger.debug("TLS handshake failed", metadata: ["reason": "\(reason)", "total": "\(counters.handshakesFailed)"])
        case .handshakeTimedOut: logger.debug("TLS handshake timed out", metadata: ["total": "\(counters.handshakesTimedOut)"])
        case .plaintextRefused: logger.debug("plain HTTP on a TLS port", metadata: ["total": "\(counters.plaintextRefused)"])
        case .connectionFailed(let reason):
            logger.debug("TLS connection failed", metadata: ["reason": "\(reason)", "total": "\(counters.connectionsFailed)"])
        case .truncated: logger.debug("TLS connection ended without close_notify", metadata: ["total": "\(counters.truncated)"])
        }
    }
}
