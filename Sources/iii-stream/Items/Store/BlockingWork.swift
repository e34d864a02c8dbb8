import Dispatch

/// Work that blocks its thread, away from event loops and the threads of tasks.
package enum BlockingWork {
    private static let queue = DispatchQueue(label: "iii-store-open", attributes: .concurrent)

    package static func run(_ work: @escaping @Sendable () -> Void) { queue.async(execute: work) }

    /// The same, with what it returns or throws.
    package static func value<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { waiting in
            run { waiting.resume(with: Result(catching: work)) }
        }
    }
}
