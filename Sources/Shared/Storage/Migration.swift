/// One step of a store's schema, from the version before it.
///
/// Steps are numbered 1, 2, 3 … without a gap and never change once released. Each runs in one transaction together with the new number
/// (`user_version`), so a crash leaves the version before or the one after.
public struct Migration: Sendable {
    let apply: @Sendable (borrowing Transaction) throws -> Void

    public init(_ apply: @escaping @Sendable (borrowing Transaction) throws -> Void) { self.apply = apply }

    public init(sql: String) {
        apply = { try $0.execute(sql) }
    }
}
