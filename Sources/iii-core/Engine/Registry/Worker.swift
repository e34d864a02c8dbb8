import IIIProtocol
import IIIServer
import NIOCore

/// One connected worker: everything the registry knows of it, owned by its connection.
///
/// A worker object is a *generation*: it lives exactly as long as one connection, and every record made through that
/// connection points at it. Cleanup removes what this object still owns and nothing else
/// (docs/reference/worker-protocol.md#disconnecting). Confined to the engine's event loop.
package final class Worker {
    package let id: UUIDBits
    /// `id` as the 36 bytes that go into messages.
    package let idText: [UInt8]
    /// The connection to send to; nil in tests of the pure tables and after the worker has left.
    package weak var connection: WorkerConnection?
    /// Set for connections that presented a built-in's secret (docs/reference/core-workers.md#the-secret): the entry name
    /// it was issued for.
    package let builtin: BuiltinSecrets.Bearer?
    package let address: String?
    package let connectedAtMilliseconds: Int64
    /// Access rules of the listener it came by; nil for most, and then nothing asks for them.
    package var access: AccessSession?
    package var metadata = WorkerMetadata()
    /// Ids of the functions this worker has registered and not taken back, whether or not it is the one that serves them now.
    package internal(set) var functionIDs: Set<FunctionKey> = []
    /// HTTP-invoked functions it has registered that are not listed yet; they count like those above.
    package internal(set) var awaitedFunctions: Set<FunctionKey> = []
    package internal(set) var triggerTypeIDs: Set<FunctionKey> = []
    package internal(set) var triggerIDs: Set<String> = []
    /// Durable triggers it has made that still stand; they stay when it leaves.
    package internal(set) var durableTriggers = 0
    /// What its registrations and its report about itself occupy (`RegistrationLedger`).
    package internal(set) var registeredBytes = 0
    package internal(set) var reportCost = 0
    /// Calls of engine functions that are not answered yet.
    package internal(set) var engineCalls = 0
    /// Calls this worker is executing, by the id it was given.
    package internal(set) var invocations: [UUIDBits: PendingInvocation] = [:]
    /// Calls this worker has made that are not answered yet.
    package internal(set) var callsInFlight = 0
    package internal(set) var isConnected = true
    /// Lines about its refused registrations and triggers; its own, so that it hides nobody else's.
    var refusals = WarningAllowance(20, each: .seconds(10))

    package init(
        id: UUIDBits, connection: WorkerConnection? = nil, builtin: BuiltinSecrets.Bearer? = nil, address: String? = nil,
        connectedAtMilliseconds: Int64 = 0
    ) {
        self.id = id
        idText = Array(id.text.utf8)
        self.connection = connection
        self.builtin = builtin
        self.address = address
        self.connectedAtMilliseconds = connectedAtMilliseconds
    }

    package var builtinName: String? { builtin?.name }
    package var isPrivileged: Bool { builtin != nil }
    /// Whether it came by a listener with `rbac`.
    package var isRestricted: Bool { access?.policy.isRestricted ?? false }

    /// The id by which this worker knows the function, as a JSON literal: what prefix and hooks changed is changed back.
    package func literal(of record: FunctionRecord) -> [UInt8] {
        guard let access, !access.functions.isEmpty else { return record.literal }
        return JSONText.string(access.functions.own(record.key.id))
    }

    /// What it calls itself, for messages.
    package var displayName: String { metadata.name ?? builtinName ?? id.text }

    /// Whether it is this built-in's part to serve `id`, one of the private contract: `builtin::<its name>::…`.
    package func mayServePrivate(_ id: String) -> Bool {
        builtinName.map { id.utf8.starts(with: "builtin::\($0)::".utf8) } ?? false
    }

    /// Whether both are processes that the supervisor started for one entry, side by side while one takes over from the other.
    package func isSibling(of other: Worker) -> Bool {
        guard let builtin, let otherBuiltin = other.builtin, self !== other else { return false }
        return builtin.name == otherBuiltin.name && builtin.generation != nil && otherBuiltin.generation != nil
    }
}

/// A function or trigger type id within its namespace. All tables are keyed by both from the start
/// (docs/reference/worker-protocol.md#namespaces).
package struct FunctionKey: Hashable, Sendable {
    package static let defaultNamespace = "default"

    package var namespace: String
    package var id: String

    package init(_ id: String, namespace: String = FunctionKey.defaultNamespace) {
        self.id = id
        self.namespace = namespace
    }
}

/// What a worker told about itself through `engine::workers::register` (docs/reference/engine.md#engineworkersregister).
package struct WorkerMetadata: Sendable {
    package var name: String?
    package var runtime: String?
    package var version: String?
    package var os: String?
    package var pid: Int64?
    package var isolation: String?
    package var description: String?
    package var telemetry: JSONValue?

    package init() {}

    /// Longest accepted `description`, in characters.
    static let maximumDescription = 280

    /// Overlays a report: `runtime`, `version` and `telemetry` always, the rest only where given.
    package mutating func merge(_ report: JSONValue) {
        runtime = report["runtime"]?.string ?? "unknown"
        version = report["version"]?.string
        telemetry = report["telemetry"].flatMap { $0.isNull ? nil : $0 }
        name = report["name"]?.string ?? name
        os = report["os"]?.string ?? os
        pid = report["pid"]?.integer ?? pid
        isolation = report["isolation"]?.string ?? isolation
        if let text = report["description"]?.string {
            description = String(
                text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7F }.map(Character.init).prefix(Self.maximumDescription))
        }
    }

    /// Largest message this worker's SDK survives, in bytes; nil when it takes whatever the engine does.
    ///
    /// Python SDKs before 0.25 close their connection on more than 1 MiB, killing every call in flight
    /// (docs/reference/worker-protocol.md#sizes).
    package var maximumDelivery: Int? {
        guard runtime == "python", let version = sdkVersion, version < (0, 25) else { return nil }
        return 1 << 20
    }

    /// Major and minor of the reported SDK version.
    package var sdkVersion: (Int, Int)? {
        guard let parts = version?.split(separator: "."), parts.count >= 2, let major = Int(parts[0]), let minor = Int(parts[1]) else {
            return nil
        }
        return (major, minor)
    }
}

/// A call on its way: kept with the callee, because the callee's end is what resolves or fails it.
package struct PendingInvocation {
    package enum Destination {
        /// Answer `caller`'s call that it knows as `id`.
        case caller(Worker, id: UUIDBits)
        /// Nobody waits (void, or a call without an id); the worker that made it is counted until the callee is done.
        case discard(Worker?)
        /// The engine itself waits: trigger fires, hooks, drains.
        case engine((CallOutcome) -> Void)
    }

    package var destination: Destination
    package var function: FunctionRecord
    /// `,"traceparent":…,"baggage":…` of the request, echoed in the reply; empty when it had none.
    package var traceContext: [UInt8]
    package let startedAt: NIODeadline

    package init(destination: Destination, function: FunctionRecord, traceContext: [UInt8], startedAt: NIODeadline) {
        self.destination = destination
        self.function = function
        self.traceContext = traceContext
        self.startedAt = startedAt
    }
}
