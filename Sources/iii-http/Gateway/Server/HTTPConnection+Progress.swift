import NIOCore

// Time limits of a connection: heads, idleness, and clients that stop in the middle of a body or a response (http.md §20.3).
extension HTTPConnection {
    func headTimeExpired() {
        if hasPartialHead, phase == .idle { failOutsideRequest(.requestTimeout) } else { context?.close(promise: nil) }
    }

    func idleTimeExpired() {
        guard let context else { return }
        // A client that still takes in a large response is slow, not idle.
        let buffered = bufferedBytes
        if buffered > 0, buffered != bufferedBytesBefore {
            bufferedBytesBefore = buffered
            settings.idleTimers.start(timer)
            return
        }
        context.close(promise: nil)
    }

    func lingerTimeExpired() { context?.close(promise: nil) }

    /// Gives the client `body_timeout_ms` for the next piece of its body; 0 switches that off.
    func startBodyTimer() {
        guard settings.configuration.bodyTimeout > .zero else { return }
        let entry = bodyTimer ?? newTimer()
        bodyTimer = entry
        settings.bodyTimers.start(entry)
    }

    func bodyTimeExpired() {
        guard phase == .collecting else { return }
        fail(.bodyTimeout, closes: true)
    }

    /// Watches a client that has let output pile up, for `write_stall_timeout_ms`; 0 switches that off.
    func startStallTimer() {
        guard settings.configuration.writeStallTimeout > .zero else { return }
        let entry = stallTimer ?? newTimer()
        stallTimer = entry
        stalledBytes = bufferedBytes
        settings.stallTimers.start(entry)
    }

    /// Whoever takes in anything at all is slow, not stalled.
    func writeStallTimeExpired() {
        let buffered = bufferedBytes
        if buffered > 0, buffered >= stalledBytes { abort() } else if buffered > 0 { startStallTimer() }
    }

    /// Bytes written and not yet taken by the kernel.
    var bufferedBytes: Int {
        guard let context else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    private func newTimer() -> DeadlineEntry<HTTPConnection<Link>> {
        let entry = DeadlineEntry<HTTPConnection<Link>>()
        entry.bind(to: self)
        return entry
    }
}
