/// One step of a store's schema, from the version before it.
///
/// Steps are numbered 1, 2, 3 … without a gap and never change once released. Each runs in one transaction together with the new number
/// (`user_version`), so a crash leaves the version before or the one after.
public struct Migration: Sendable {
    let apply: @Sendable (borrowing Transaction) throws -> Void

    /// A step in code. What it throws ends the opening of the store with the version before in place.
    public init(_ apply: @escaping @Sendable (borrowing Transaction) throws -> Void) { self.apply = apply }

    /// A step of SQL statements, separated by `;`.
    public init(sql: String) {
        apply = { try $0.execute(sql) }
    }
}
