import NIOCore

/// The event loop of a core worker as an actor: code that is isolated to it runs on the loop's thread, where the objects confined
/// to the loop live.
///
/// `CoreWorker`'s asynchronous members take it as their isolation. (An inherited isolation, `nonisolated(nonsending)`, would read
/// better, but compilers up to 6.3 lose it when optimising: a helper called right after an `await` then starts elsewhere.)
public actor WorkerLoop {
    private nonisolated let executor: any SerialExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    /// The actor whose executor is this event loop.
    public init(_ eventLoop: any EventLoop) { executor = eventLoop.executor }
}
