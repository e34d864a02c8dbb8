import IIIProtocol

/// The policy of one connection while it lasts, and what follows from it: verdicts that were found, ids that were changed.
/// Confined to the engine's loop.
package final class AccessSession {
    package let policy: AccessPolicy
    package internal(set) var functions = IDAliases()
    package internal(set) var triggers = IDAliases()
    package internal(set) var triggerTypes = IDAliases()

    /// Verdicts about records of the function table, as long as that does not change. Few are asked about again and again.
    private var verdicts: [ObjectIdentifier: AccessPolicy.Denial?] = [:]
    private var generation = -1
    private static let keptVerdicts = 256

    package init(_ policy: AccessPolicy) { self.policy = policy }

    /// `generation` is that of the table which `record` is of.
    package func denial(of record: FunctionRecord, generation: Int) -> AccessPolicy.Denial? {
        if generation != self.generation || verdicts.count >= Self.keptVerdicts {
            verdicts.removeAll(keepingCapacity: true)
            self.generation = generation
        }
        let id = ObjectIdentifier(record)
        if let known = verdicts[id] { return known }
        let verdict = policy.denial(of: record.key) { record.current?.metadata.flatMap { try? JSONValue(parsing: $0) } }
        verdicts[id] = .some(verdict)
        return verdict
    }

    /// Whether both stand for the same client as far as rules can tell: one may take over from the other after a reconnect.
    package func isSamePrincipal(as other: AccessSession?) -> Bool { other.map { $0.policy == policy } ?? false }
}
