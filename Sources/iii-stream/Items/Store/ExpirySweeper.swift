import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// Removes what has expired, four times a second and in small commits, and tells of it. Confined to the event loop; ends when it is let go of.
package final class ExpirySweeper {
    private static let interval = Duration.milliseconds(250)
    private static let limit = 256

    private let context: CoreWorkerContext
    private let store: any ItemStore
    private let onExpiry: (ExpiredItem) -> Void
    private var timer: CoreWorkerTimer?
    private var isSweeping = false

    package init(_ store: any ItemStore, context: CoreWorkerContext, onExpiry: @escaping (ExpiredItem) -> Void) {
        self.store = store
        self.context = context
        self.onExpiry = onExpiry
        timer = context.schedule(every: Self.interval) { [weak self] in self?.sweep() }
    }

    private func sweep() {
        guard !isSweeping else { return }
        isSweeping = true
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        store.removeExpired(limit: Self.limit) { result in bound.value.swept(result) }
    }

    private func swept(_ result: Result<[ExpiredItem], any Error>) {
        isSweeping = false
        switch result {
        case .success(let expired):
            for item in expired { onExpiry(item) }
            if expired.count == Self.limit { sweep() }
        case .failure(let error):
            context.logger.warning(.expiryDelayed, "what has expired cannot be removed now", metadata: ["error": "\(error)"])
        }
    }
}
