/// Where completions run: an event loop, a queue, anything that takes a closure.
///
/// All writes of one commit that name the same executor are completed by one submission, in the order in which they were written.
public final class StoreExecutor: Sendable {
    let submit: @Sendable (@escaping @Sendable () -> Void) -> Void

    /// For an event loop: `StoreExecutor { eventLoop.execute($0) }`, made once and kept.
    public init(_ submit: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) { self.submit = submit }
}
