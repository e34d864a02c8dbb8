import IIIProtocol
import IIISettings

/// One rule of `alerts`.
struct AlertRule: Sendable, Equatable {
    /// How a value is compared with the threshold. Raw values are what answers and actions say.
    enum Comparison: String, Sendable, CaseIterable {
        case greaterThan = "GreaterThan"
        case greaterThanOrEqual = "GreaterThanOrEqual"
        case lessThan = "LessThan"
        case lessThanOrEqual = "LessThanOrEqual"
        case equal = "Equal"
        case notEqual = "NotEqual"

        /// As a configuration writes it: a sign, or the name in lower case.
        init?(written: String) {
            let signs = [">", ">=", "<", "<=", "==", "!="]
            guard let found = zip(Self.allCases, signs).first(where: { $0.1 == written || $0.0.rawValue.lowercased() == written }) else {
                return nil
            }
            self = found.0
        }

        func holds(_ value: Double, _ threshold: Double) -> Bool {
            let isEqual = abs(value - threshold) <= Double.ulpOfOne * max(1, abs(value), abs(threshold))
            return switch self {
            case .greaterThan: value > threshold
            case .greaterThanOrEqual: value >= threshold
            case .lessThan: value < threshold
            case .lessThanOrEqual: value <= threshold
            case .equal: isEqual
            case .notEqual: !isEqual
            }
        }
    }

    enum Action: Sendable, Equatable {
        case log
        case webhook(String)
        case function(String)
    }

    var name: String
    var metric: String
    var threshold: Double
    var comparison = Comparison.greaterThan
    /// 0: the latest value.
    var window = Duration.seconds(60)
    /// How long the comparison has to hold before it fires.
    var holdsFor = Duration.zero
    var cooldown = Duration.seconds(60)
    var action = Action.log
}

/// Where a rule stands.
enum AlertStatus: Sendable, Equatable {
    /// There is nothing to compare: the metric does not exist, or has sent nothing within the window.
    case noData
    case ok
    /// It holds, but not for long enough yet.
    case pending(since: Duration)
    case firing

    var text: String {
        switch self {
        case .noData: "no_data"
        case .ok: "ok"
        case .pending: "pending"
        case .firing: "firing"
        }
    }
}

/// The state of one rule: a value without I/O. Times are monotonic, so that a clock that is set neither silences an alert nor repeats it;
/// those that are shown are given beside them.
struct AlertState: Sendable, Equatable {
    /// What has to be told.
    enum Notice: Sendable, Equatable {
        case fired(value: Double)
        case resolved(value: Double)
    }

    let rule: AlertRule
    private(set) var status = AlertStatus.noData
    private(set) var value: Double?
    /// Milliseconds since the epoch.
    private(set) var lastEvaluated: Int64?
    private(set) var lastTriggered: Int64?
    private var lastNotice: Duration?
    /// Its firing was told, so its end is told too.
    private var wasTold = false
    /// Why the last action did not arrive; nil where it did.
    var deliveryError: String?

    init(_ rule: AlertRule) { self.rule = rule }

    var isFiring: Bool { status == .firing }

    /// A look at the metric. No value is no answer: it neither fires nor resolves anything that was told.
    mutating func evaluate(_ value: Double?, now: Duration, wallMilliseconds: Int64) -> Notice? {
        lastEvaluated = wallMilliseconds
        self.value = value.flatMap { $0.isNaN ? nil : $0 }
        guard let value = self.value else {
            status = .noData
            return nil
        }
        guard rule.comparison.holds(value, rule.threshold) else {
            status = .ok
            guard wasTold else { return nil }
            wasTold = false
            return .resolved(value: value)
        }
        if rule.holdsFor > .zero, status != .firing {
            guard case .pending(let since) = status else {
                status = .pending(since: now)
                return nil
            }
            guard now - since >= rule.holdsFor else { return nil }
        }
        status = .firing
        if let lastNotice, now - lastNotice < rule.cooldown { return nil }
        lastNotice = now
        lastTriggered = wallMilliseconds
        wasTold = true
        return .fired(value: value)
    }

    var json: JSONValue {
        [
            "name": .string(rule.name), "firing": .bool(isFiring), "last_evaluated": lastEvaluated.map(JSONValue.integer) ?? .null,
            "last_triggered": lastTriggered.map(JSONValue.integer) ?? .null, "current_value": AlertJSON.number(value),
            "threshold": AlertJSON.number(rule.threshold), "operator": .string(rule.comparison.rawValue), "status": .string(status.text),
            "metric": .string(rule.metric), "delivery_error": JSONValue(deliveryError),
        ]
    }
}

enum AlertJSON {
    static func number(_ value: Double?) -> JSONValue {
        guard let value, value.isFinite else { return .null }
        return .double(value)
    }

    /// What a webhook gets; a function gets `firing` beside it.
    static func payload(_ rule: AlertRule, value: Double, milliseconds: Int64) -> [String: JSONValue] {
        [
            "alert": .string(rule.name), "metric": .string(rule.metric), "value": number(value), "threshold": number(rule.threshold),
            "operator": .string(rule.comparison.rawValue), "timestamp": .integer(milliseconds),
        ]
    }
}
