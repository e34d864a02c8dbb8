import IIIHTTPClient
import IIIProtocol
import IIISignals
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import Synchronization

/// Evaluates the alert rules every ten seconds, and when asked, and does what they say (docs/reference/observability.md#alerts).
///
/// Points come in on any thread; everything else happens on the event loop. No action holds up another rule.
final class Alerts: @unchecked Sendable {
    static let interval = Duration.seconds(10)
    private static let webhookTimeout = 30_000
    private static let webhookPauses: [TimeAmount] = [.seconds(1), .seconds(2)]

    private let evaluator: Mutex<AlertEvaluator>
    private let context: CoreWorkerContext
    private let allowsPrivateWebhooks: Bool
    private let transfers: TransferThread?
    private let resolver: NameResolver?
    private let counters: (fired: CounterInstrument, resolved: CounterInstrument, failed: CounterInstrument)
    private let firing: GaugeInstrument
    private var timer: CoreWorkerTimer?

    init(_ rules: [AlertRule], allowsPrivateWebhooks: Bool, context: CoreWorkerContext) {
        evaluator = Mutex(AlertEvaluator(rules))
        self.context = context
        self.allowsPrivateWebhooks = allowsPrivateWebhooks
        let hasWebhooks = rules.contains { if case .webhook = $0.action { true } else { false } }
        transfers = hasWebhooks ? TransferThread(maximumConnections: 8, certificateFile: nil, usesProxies: false) : nil
        resolver = hasWebhooks ? NameResolver(eventLoop: context.eventLoop) : nil
        func counter(_ result: String) -> CounterInstrument {
            context.metrics.counter(
                "iii.alerts.total", labels: [("event", result)], description: "Alerts that fired or were resolved, and actions that failed")
        }
        counters = (counter("fired"), counter("resolved"), counter("action_failed"))
        firing = context.metrics.gauge("iii.alerts.firing", description: "Rules that fire now")
    }

    var ruleCount: Int { evaluator.withLock { $0.states.count } }

    func start() {
        evaluate { _ in }
        timer = context.schedule(every: Self.interval) { [self] in evaluate { _ in } }
    }

    func stop() {
        timer = nil
        transfers?.stop()
    }

    /// Points that have just come. Any thread.
    func observe(_ metrics: [Metric]) {
        let (now, nanoseconds) = (Uptime.now, UInt64(WallClock.nanoseconds()))
        evaluator.withLock { $0.add(metrics, now: now, nanoseconds: nanoseconds) }
    }

    var list: (states: [AlertState], firing: Int) { evaluator.withLock { ($0.states, $0.firingCount) } }

    /// `completion` gets the alerts that this look has triggered. On the loop.
    func evaluate(_ completion: @escaping ([JSONValue]) -> Void) {
        guard evaluator.withLock({ $0.needsEngine }) else { return completion(look()) }
        context.link.call("core::metrics::snapshot", timeout: .seconds(5), writeData: { $0.writeString("{}") }) { [self] outcome in
            if case .result(let bytes?) = outcome, let snapshot = try? JSONValue(parsing: bytes) {
                evaluator.withLock { $0.add(engine: Self.engineMetrics(snapshot), now: Uptime.now) }
            }
            completion(look())
        }
    }

    private static func engineMetrics(_ snapshot: JSONValue) -> [String: Double] {
        func number(_ key: String) -> Double { snapshot[key]?.number ?? 0 }
        return [
            "iii.invocations.total": number("invocations"), "iii.invocations.error": number("invocations_failed"),
            "iii.invocations.success": number("invocations") - number("invocations_failed"),
            "iii.invocations.deferred": number("invocations_deferred"), "iii.workers.spawns": number("workers_connected"),
            "iii.workers.deaths": number("workers_left"), "iii.workers.active": number("workers"),
        ]
    }

    private func look() -> [JSONValue] {
        let milliseconds = Int64(WallClock.milliseconds())
        let (notices, states, firingCount) = evaluator.withLock { evaluator in
            let notices = evaluator.evaluate(now: Uptime.now, wallMilliseconds: milliseconds)
            return (notices, evaluator.states, evaluator.firingCount)
        }
        firing.set(firingCount)
        var triggered: [JSONValue] = []
        for (index, notice) in notices {
            let rule = states[index].rule
            switch notice {
            case .fired(let value):
                counters.fired.add()
                act(index, rule, value, milliseconds, isFiring: true)
                triggered.append([
                    "name": .string(rule.name), "metric": .string(rule.metric), "value": AlertJSON.number(value),
                    "threshold": AlertJSON.number(rule.threshold), "operator": .string(rule.comparison.rawValue), "firing": true,
                    "timestamp": .integer(milliseconds),
                ])
            case .resolved(let value):
                counters.resolved.add()
                act(index, rule, value, milliseconds, isFiring: false)
            }
        }
        return triggered
    }

    // MARK: Actions

    private func act(_ index: Int, _ rule: AlertRule, _ value: Double, _ milliseconds: Int64, isFiring: Bool) {
        var payload = AlertJSON.payload(rule, value: value, milliseconds: milliseconds)
        switch rule.action {
        case .log:
            let metadata: Logger.Metadata = [
                "alert_name": "\(rule.name)", "metric": "\(rule.metric)", "value": "\(value)", "threshold": "\(rule.threshold)",
                "operator": "\(rule.comparison.rawValue)",
            ]
            if isFiring {
                context.logger.warning(.alertTriggered, "Alert triggered", metadata: metadata)
            } else {
                context.logger.notice("Alert resolved", metadata: metadata)
            }
        case .function(let path):
            payload["firing"] = .bool(isFiring)
            do throws(InvocationError) {
                let target = try TriggerTarget(function: path)
                context.calls.fire(target, payload: JSONValue.object(payload).bytes, timeout: .seconds(30)) { [self] outcome in
                    if case .failed(let error) = outcome { settle(index, rule, error.message) } else { settle(index, rule, nil) }
                }
            } catch {
                settle(index, rule, error.message)
            }
        case .webhook(let text):
            if !isFiring { payload["resolved"] = true }
            post(index, rule, text, JSONValue.object(payload).bytes, attempt: 0)
        }
    }

    private func settle(_ index: Int, _ rule: AlertRule, _ error: String?) {
        evaluator.withLock { $0.delivered(index, error: error) }
        guard let error else { return }
        counters.failed.add()
        context.logger.warning(
            .alertActionFailed, "the action of an alert did not arrive", metadata: ["alert_name": "\(rule.name)", "reason": "\(error)"])
    }

    /// The name is resolved and checked before every attempt, and the connection goes to what was checked; redirects are not followed.
    private func post(_ index: Int, _ rule: AlertRule, _ text: String, _ body: [UInt8], attempt: Int) {
        guard let url = try? HTTPURL(text), let transfers else { return settle(index, rule, "the URL cannot be used") }
        addresses(of: url) { [self] pinned, refusal in
            if let refusal { return settle(index, rule, refusal) }
            let request = TransferRequest(
                url: url, method: "POST", headers: [("content-type", "application/json")], body: body, pinned: pinned,
                blocksPrivateAddresses: !allowsPrivateWebhooks, timeoutMilliseconds: Self.webhookTimeout, maximumResponseBytes: 65_536)
            let loop = context.eventLoop
            let bound = NIOLoopBound((self, rule), eventLoop: loop)
            transfers.submit(make: { request }) { outcome in
                loop.execute {
                    let (alerts, rule) = bound.value
                    alerts.answered(outcome, index, rule, text, body, attempt)
                }
            }
        }
    }

    private func answered(_ outcome: TransferOutcome, _ index: Int, _ rule: AlertRule, _ text: String, _ body: [UInt8], _ attempt: Int) {
        let problem: String
        switch outcome {
        case .response(let status, _, _, _):
            if (200..<300).contains(status) { return settle(index, rule, nil) }
            problem = "HTTP \(status)"
        case .failed(let failure):
            if failure.stage == .address { return settle(index, rule, Self.privateAddress) }
            problem = failure.message
        }
        guard attempt < Self.webhookPauses.count else { return settle(index, rule, problem) }
        let bound = NIOLoopBound((self, rule), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.webhookPauses[attempt]) {
            let (alerts, rule) = bound.value
            alerts.post(index, rule, text, body, attempt: attempt + 1)
        }
    }

    private static let privateAddress = "the webhook's address is private (alerts_allow_private_webhooks)"

    private func addresses(of url: HTTPURL, _ completion: @escaping ([IPAddress], String?) -> Void) {
        if allowsPrivateWebhooks { return completion([], nil) }
        if let address = url.address { return completion([], address.isPrivate ? Self.privateAddress : nil) }
        resolver?.addresses(of: url.host) { addresses in
            guard !addresses.isEmpty else { return completion([], "the name of the webhook's host cannot be resolved") }
            completion(addresses, addresses.contains(where: \.isPrivate) ? Self.privateAddress : nil)
        }
    }
}
