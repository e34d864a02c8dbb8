import Glibc
import IIIProtocol
import Synchronization

/// Runs the fleet: the engine's handle on the supervisor thread (docs/reference/supervisor.md).
///
/// Thread-safe. `init` binds the children's sockets and the control socket, so that every address problem shows before
/// anything is started; `run()` then owns processes, pipes and timers on the calling thread, which must live as long as the
/// process. Everything else reaches that thread through a mailbox.
package final class Supervisor: Sendable {
    enum Message: Sendable {
        case child(String, generation: Int?, ChildMachine.Event)
        case ready(String, generation: Int?, completion: @Sendable () -> Void)
        case reconfigured(String, ChildGeneration?, LiveChange)
        case described(request: Int, JSONValue?)
        case signal(Int32)
        case log(priority: Int, text: String)
        case list(@Sendable ([ChildStatus]) -> Void)
        case perform(FleetRequest, @Sendable (Result<JSONValue, FleetError>) -> Void)
        case metrics(request: Int, lines: [JSONValue])
    }

    package let plan: FleetPlan
    package let options: SupervisorOptions
    package let notifier: SystemdNotifier
    let hooks: SupervisorHooks
    let mailbox = Mailbox<Message>()
    private let loop: Mutex<SupervisorLoop?>

    /// Throws when an address is taken or the control socket is in use by a live engine.
    package init(plan: FleetPlan, options: SupervisorOptions, hooks: SupervisorHooks) throws(SupervisorError) {
        self.plan = plan
        self.options = options
        self.hooks = hooks
        notifier = SystemdNotifier(environment: options.environment, pid: getpid())
        var sockets = ListeningSockets(activation: options.activation)
        let prepared = try sockets.prepare(plan.children.filter(\.isEnabled))
        sockets.commit(prepared)
        do throws(SupervisorError) {
            let made = try SupervisorLoop(
                plan: plan, options: options, hooks: hooks, mailbox: mailbox, notifier: notifier, sockets: sockets)
            loop = Mutex(made)
        } catch {
            sockets.closeAll()
            throw error
        }
    }

    /// Blocks until shutdown and returns the exit code: 0 clean, 3 a critical child gave up, 128+n after a second signal.
    package func run() -> Int32 {
        let taken = loop.withLock { loop -> SupervisorLoop? in
            let value = loop
            loop = nil
            return value
        }
        guard let taken else { preconditionFailure("Supervisor.run() was called twice") }
        let code = taken.run()
        for message in mailbox.close() { Self.refuse(message) }
        return code
    }

    // `generation` is that of the secret the process has shown; nil: the current one.

    /// `name` has called `core::builtin::hello`.
    package func childAnnounced(_ name: String, generation: Int? = nil) { post(name, generation, .announced) }
    /// `name` has called `core::builtin::ready`. `completion` runs once nobody else takes its clients.
    package func childReady(_ name: String, generation: Int? = nil, completion: @escaping @Sendable () -> Void = {}) {
        if !mailbox.post(.ready(name, generation: generation, completion: completion)) { completion() }
    }
    /// `name` works, but not well; `childReady` ends it.
    package func childDegraded(_ name: String, generation: Int? = nil, reason: String) { post(name, generation, .degraded(reason)) }
    /// `name` has not answered pings: it is stopped and started again.
    package func childUnresponsive(_ name: String, generation: Int? = nil) { post(name, generation, .unresponsive("unresponsive")) }

    private func post(_ name: String, _ generation: Int?, _ event: ChildMachine.Event) {
        mailbox.post(.child(name, generation: generation, event))
    }

    /// As if the process had received the signal.
    package func signalReceived(_ number: Int32) { mailbox.post(.signal(number)) }
    /// Writes a line of the core to the console and the ring `iii-core`. `priority` as in syslog; never blocks.
    ///
    /// False when the supervisor has ended and the line went nowhere.
    @discardableResult
    package func log(priority: Int, _ text: String) -> Bool {
        // Beyond this the engine logs faster than one thread formats; dropping is better than growing.
        if mailbox.count > Self.maximumWaitingLines { return true }
        return mailbox.post(.log(priority: priority, text: text))
    }

    private static let maximumWaitingLines = 10_000

    package func list(completion: @escaping @Sendable ([ChildStatus]) -> Void) {
        if !mailbox.post(.list(completion)) { completion([]) }
    }

    package func list() async -> [ChildStatus] {
        await withCheckedContinuation { continuation in list { continuation.resume(returning: $0) } }
    }

    /// Answers once, on the supervisor's thread. `logs` with `follow` answers like `logs` without; following is for the socket.
    package func perform(_ request: FleetRequest, completion: @escaping @Sendable (Result<JSONValue, FleetError>) -> Void) {
        let message = Message.perform(request, completion)
        if !mailbox.post(message) { Self.refuse(message) }
    }

    package func perform(_ request: FleetRequest) async -> Result<JSONValue, FleetError> {
        await withCheckedContinuation { continuation in perform(request) { continuation.resume(returning: $0) } }
    }

    private static func refuse(_ message: Message) {
        switch message {
        case .list(let completion): completion([])
        case .ready(_, _, let completion): completion()
        case .perform(_, let completion): completion(.failure(.failed("the engine has shut down")))
        default: break
        }
    }
}
