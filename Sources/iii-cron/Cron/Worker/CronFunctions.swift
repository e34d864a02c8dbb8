import IIIProtocol
import IIIWorker

/// The functions `cron::*` (docs/reference/cron.md#functions). Each refuses what it does not understand, naming the member.
final class CronFunctions {
    private let worker: CronWorker
    /// Jobs about which it was said by hand whether they are paused.
    private static let maximumPauses = 100_000

    init(worker: CronWorker) { self.worker = worker }

    func register(on link: WorkerLink) {
        add("cron::list", "The cron triggers in force, in pages", on: link) { [self] input throws(InvocationError) in try list(input) }
        add("cron::get", "One cron trigger with its settings, state and next fires", on: link) { [self] input throws(InvocationError) in
            try get(input)
        }
        add("cron::next", "The next fires of a trigger or an expression", on: link) { [self] input throws(InvocationError) in
            try next(input)
        }
        add("cron::validate", "Whether an expression, or a whole config, would be accepted", on: link) {
            [self] input throws(InvocationError) in try validate(input)
        }
        link.registerFunction("cron::run", description: "Runs a trigger's function now") { [self] in run($0) }
        link.registerFunction("cron::pause", description: "Stops a job from firing, at every instance") { [self] in pause($0, true) }
        link.registerFunction("cron::resume", description: "Lets a paused job fire again") { [self] in pause($0, false) }
        link.registerFunction("cron::history", description: "The last runs, newest first") { [self] in history($0) }
    }

    private func add(
        _ id: String, _ description: String, on link: WorkerLink, _ answer: @escaping (CronInput) throws(InvocationError) -> JSONValue
    ) {
        link.registerFunction(id, description: description) { call in
            do throws(InvocationError) { call.reply(try answer(try CronInput(call.data))) } catch { call.fail(error) }
        }
    }

    // MARK: Looking

    private func list(_ input: CronInput) throws(InvocationError) -> JSONValue {
        try input.allow("limit", "after", "function_id")
        let limit = try input.integer("limit", 1...1_000) ?? 100
        let after = try input.text("after")
        let functionID = try input.text("function_id")
        let page = worker.scheduler.page(after: after, limit: limit, function: functionID)
        let running = worker.scheduler.running
        var answer: [String: JSONValue] = [
            "jobs": .array(page.triggers.map { .object(summary($0, running: running[$0.id] ?? 0)) }), "total": JSONValue(page.total),
        ]
        if !page.isLast, let last = page.triggers.last { answer["next_cursor"] = .string(last.id) }
        return .object(answer)
    }

    private func summary(_ trigger: CronTrigger, running: Int) -> [String: JSONValue] {
        let job = worker.scheduler.job(trigger.id)
        var members: [String: JSONValue] = [
            "id": .string(trigger.id), "function_id": .string(trigger.target.functionID.text),
            "expression": .string(trigger.schedule.expression.text), "timezone": .string(trigger.schedule.zoneName),
            "key": JSONValue(trigger.options.key), "paused": .bool(isPaused(trigger)), "running": JSONValue(running),
            "next": (job?.next).map { .string(trigger.schedule.text(of: $0)) } ?? .null,
        ]
        if let previous = job?.previous { members["previous"] = .string(trigger.schedule.text(of: previous)) }
        return members
    }

    private func isPaused(_ trigger: CronTrigger) -> Bool { worker.pauses[trigger.identity] ?? trigger.options.isPaused }

    private func get(_ input: CronInput) throws(InvocationError) -> JSONValue {
        try input.allow("id", "key")
        let trigger = try trigger(input)
        let options = trigger.options
        let lane = worker.scheduler.lane(of: trigger)
        var members = summary(trigger, running: worker.scheduler.running[trigger.id] ?? 0)
        let time: (Int?) -> JSONValue = { $0.map { .string(RFC3339.text(milliseconds: $0)) } ?? .null }
        let number: (Int?) -> JSONValue = { $0.map { JSONValue($0) } ?? .null }
        members["namespace"] = .string(trigger.target.namespace ?? "default")
        members["condition_function_id"] = JSONValue(trigger.condition?.functionID.text)
        members["concurrency_policy"] = .string(options.concurrency.rawValue)
        members["catch_up"] = .string(options.catchUp.rawValue)
        members["catch_up_limit"] = JSONValue(options.catchUpLimit)
        members["catch_up_window_ms"] = JSONValue(options.catchUpWindow)
        members["starting_deadline_ms"] = number(options.startingDeadline)
        members["timeout_ms"] = JSONValue(options.timeout ?? worker.configuration.timeout)
        members["jitter_ms"] = JSONValue(options.jitter)
        members["singleton"] = .bool(options.isSingleton)
        members["start_at"] = time(options.startAt)
        members["end_at"] = time(options.endAt)
        members["max_runs"] = number(options.maximumRuns)
        members["on_lock_error"] = .string(options.onLockError.rawValue)
        members["on_lost_claim"] = .string(options.onLostClaim.rawValue)
        members["identity"] = .string(lane.identity)
        members["ordinal"] = JSONValue(lane.ordinal)
        members["next_fires"] = .array(fires(trigger.next, 5, after: worker.milliseconds).map { .string(trigger.schedule.text(of: $0)) })
        return .object(members)
    }

    private func trigger(_ input: CronInput) throws(InvocationError) -> CronTrigger {
        if let key = try input.text("key") {
            guard let trigger = worker.scheduler.trigger(key: key) else {
                throw InvocationError(.notFound, "There is no cron trigger with the key '\(key)' here")
            }
            return trigger
        }
        guard let id = try input.text("id") else {
            throw InvocationError(.invalidArguments, "'id' (of a cron trigger) or 'key' is needed; cron::list names them")
        }
        guard let trigger = worker.scheduler.trigger(id) else {
            throw InvocationError(.notFound, "Cron job '\(id)' not found; cron::list names those in force")
        }
        return trigger
    }

    // MARK: Schedules

    private func fires(_ next: (Int) -> Int?, _ count: Int, after milliseconds: Int) -> [Int] {
        var fires: [Int] = []
        var last = RFC3339.floor(milliseconds, 1_000)
        while fires.count < count, let tick = next(last) {
            fires.append(tick)
            last = tick
        }
        return fires
    }

    private func next(_ input: CronInput) throws(InvocationError) -> JSONValue {
        try input.allow("id", "key", "expression", "timezone", "count", "after")
        let count = try input.integer("count", 1...1_000) ?? 10
        let after = try input.time("after") ?? worker.milliseconds
        let schedule: CronSchedule
        var step: (Int) -> Int?
        if let expression = try input.text("expression") {
            guard input["id"] == nil, input["key"] == nil else {
                throw InvocationError(.invalidArguments, "'expression' and 'id' exclude each other")
            }
            let found: CronSchedule
            do throws(InvocationError) {
                found = try worker.schedules.schedule(expression, zone: try CronTrigger.zoneName(input.json))
            } catch {
                throw InvocationError(.invalidArguments, error.message)
            }
            schedule = found
            step = { found.next(after: $0) }
        } else {
            let trigger = try trigger(input)
            guard input["timezone"] == nil else {
                throw InvocationError(.invalidArguments, "'timezone' goes with 'expression'; a trigger has its own")
            }
            schedule = trigger.schedule
            step = { trigger.next(after: $0) }
        }
        return [
            "timezone": .string(schedule.zoneName),
            "next": .array(fires(step, count, after: after).map { .string(schedule.text(of: $0)) }),
        ]
    }

    private func validate(_ input: CronInput) throws(InvocationError) -> JSONValue {
        guard let expression = try input.text("expression"), !expression.isEmpty else {
            return ["valid": false, "error": "Cron expression is required"]
        }
        let parsed: CronExpression
        do throws(CronError) { parsed = try CronParser.parse(expression) } catch {
            return [
                "valid": false, "error": .string(error.sentence), "reason": .string(error.reason),
                "position": JSONValue(error.position), "suggestion": JSONValue(error.suggestion),
            ]
        }
        do throws(InvocationError) {
            let schedule = try worker.schedules.schedule(expression, zone: try CronTrigger.zoneName(input.json))
            let options = try CronTriggerOptions(config: input.json)
            let condition = try TriggerCondition(config: input.json)
            let trigger = CronTrigger(
                id: "", target: try TriggerTarget(function: "cron::validate"), condition: condition, schedule: schedule, options: options)
            let next = fires(trigger.next, 5, after: worker.milliseconds)
            guard schedule.next(after: RFC3339.floor(worker.milliseconds, 1_000)) != nil else {
                return ["valid": false, "error": .string("Cron expression '\(expression)' never fires: no such time comes before 2101")]
            }
            var warnings = CronTriggerOptions.unknownKeys(input.json)
            if let sentence = parsed.weekdayWarning { warnings.append(sentence) }
            if let sentence = parsed.dayFieldsNote { warnings.append(sentence) }
            return [
                "valid": true, "timezone": .string(schedule.zoneName), "form": .string(parsed.form.word),
                "next": .array(next.map { .string(schedule.text(of: $0)) }), "warnings": .array(warnings.map { .string($0) }),
            ]
        } catch {
            return ["valid": false, "error": .string(error.message)]
        }
    }

    // MARK: Doing

    private func run(_ call: IncomingCall) {
        do throws(InvocationError) {
            let input = try CronInput(call.data)
            try input.allow("id", "key", "wait")
            let waits = try input.flag("wait") ?? false
            let trigger = try trigger(input)
            let started = worker.milliseconds
            let runs = worker.runs?.runByHand(trigger) { [worker] status, error in
                guard waits else { return }
                var answer: [String: JSONValue] = [
                    "id": .string(trigger.id), "status": .string(status.rawValue), "duration_ms": JSONValue(worker.milliseconds - started),
                ]
                if let error { answer["error"] = .string(error) }
                call.reply(.object(answer))
            }
            guard runs == true else {
                throw InvocationError(
                    .jobRunning,
                    "Cron job '\(trigger.id)' is running, and its concurrency_policy '\(trigger.options.concurrency.rawValue)' "
                        + "allows no second run; wait for its end")
            }
            if !waits { call.reply(["id": .string(trigger.id), "status": "running"]) }
        } catch {
            call.fail(error)
        }
    }

    private func pause(_ call: IncomingCall, _ isPaused: Bool) {
        do throws(InvocationError) {
            let input = try CronInput(call.data)
            try input.allow("id", "key")
            let trigger = try trigger(input)
            guard worker.pauses.count < Self.maximumPauses || worker.pauses[trigger.identity] != nil else {
                throw InvocationError(.invocationFailed, "\(Self.maximumPauses) jobs are paused already; resume some first")
            }
            // Where resumed is what the trigger says anyway, nothing needs to be kept.
            let kept = !isPaused && !trigger.options.isPaused ? nil : isPaused
            worker.runs?.setPaused(trigger.identity, kept) { result in
                switch result {
                case .success: call.reply(["id": .string(trigger.id), "paused": .bool(isPaused)])
                case .failure(let error): call.fail(InvocationError(.invocationFailed, "the lock store cannot be written: \(error)"))
                }
            }
        } catch {
            call.fail(error)
        }
    }

    private func history(_ call: IncomingCall) {
        do throws(InvocationError) {
            let input = try CronInput(call.data)
            try input.allow("id", "key", "function_id", "status", "limit")
            var query = HistoryQuery()
            // A trigger that is gone still has its history.
            query.triggerID = try input.text("id")
            if let key = try input.text("key") { query.identity = worker.scheduler.trigger(key: key)?.identity ?? "key:default:\(key)" }
            query.functionID = try input.text("function_id")
            query.limit = try input.integer("limit", 1...1_000) ?? 100
            if let word = try input.text("status") {
                guard let status = RunStatus(rawValue: word) else {
                    let words = RunStatus.allCases.map { "'\($0.rawValue)'" }.joined(separator: ", ")
                    throw InvocationError(.invalidArguments, "'status' must be one of \(words)")
                }
                query.status = status
            }
            guard let journal = worker.runs?.journal else { return call.reply(["runs": []]) }
            worker.context.perform { [query] in
                try await journal.history(query)
            } then: { result in
                switch result {
                case .success(let runs): call.reply(["runs": .array(runs.map(\.json))])
                case .failure(let error): call.fail(InvocationError(.invocationFailed, "the history cannot be read: \(error)"))
                }
            }
        } catch {
            call.fail(error)
        }
    }
}

extension RunRecord {
    /// As `cron::history` shows it.
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(triggerID), "function_id": .string(functionID), "kind": .string(kind.rawValue),
            "status": .string(status.rawValue),
            "scheduled_time": .string(RFC3339.text(seconds: tick)), "started_at": .string(RFC3339.text(milliseconds: started)),
            "ended_at": ended.map { .string(RFC3339.text(milliseconds: $0)) } ?? .null,
        ]
        if let ended, status != .lost, status != .skipped { members["duration_ms"] = JSONValue(max(0, ended - started)) }
        if attempt > 1 { members["attempt"] = JSONValue(attempt) }
        if let error { members[status == .skipped ? "reason" : "error"] = .string(error) }
        return .object(members)
    }
}

extension CronExpression {
    /// What people coming from another cron may not expect.
    var dayFieldsNote: String? {
        guard !days.isAny, !weekdays.isAny else { return nil }
        switch form {
        case .sixFields: return "day of month and day of week must both match, unlike in classic cron"
        case .fiveFields: return "day of month or day of week must match, as in classic cron; in the six-field form both must"
        case .interval: return nil
        }
    }
}

extension CronExpression.Form {
    var word: String {
        switch self {
        case .sixFields: "six_fields"
        case .fiveFields: "five_fields"
        case .interval: "interval"
        }
    }
}
