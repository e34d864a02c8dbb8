import IIIProtocol

/// Rows of the listing functions (docs/reference/engine.md): the union of the fields of all releases, old keys with nulls.
extension Engine {
    /// The owner as newer clients name it: its reported name, else its id.
    func workerName(_ worker: Worker?) -> JSONValue {
        guard let worker else { return "iii-engine" }
        return .string(worker.displayName)
    }

    func isInternal(_ id: String) -> Bool { id.hasPrefix("engine::") || FunctionID.isPrivate(id) }

    /// `schemas` are the names under which the two formats are listed.
    private func describe(_ record: FunctionRecord, schemas: (request: String, response: String)) -> JSONObjectText {
        let registration = record.current
        var row = JSONObjectText()
        row.set("function_id", .string(record.key.id))
        row.set("namespace", .string(record.key.namespace))
        row.set("worker_name", workerName(registration?.worker))
        row.set("description", JSONValue(registration?.description ?? record.builtin?.description))
        row.set(schemas.request, raw: registration?.requestFormat)
        row.set(schemas.response, raw: registration?.responseFormat)
        row.set("metadata", raw: registration?.metadata)
        return row
    }

    func functionRow(_ record: FunctionRecord) -> [UInt8] {
        describe(record, schemas: ("request_format", "response_format")).finish()
    }

    func functionDetail(_ record: FunctionRecord, for caller: Worker?) -> [UInt8] {
        var row = describe(record, schemas: ("request_schema", "response_schema"))
        let bound = registry.triggers.allTriggers.filter {
            $0.functionID.text == record.key.id && $0.namespace == record.key.namespace && !$0.isRejected && isVisible($0, to: caller)
        }
        row.set(
            "registered_triggers",
            rows: bound.map { trigger in
                var text = JSONObjectText()
                text.set("id", .string(trigger.id))
                text.set("trigger_type", .string(trigger.type))
                text.set("config", raw: trigger.config)
                return text.finish()
            })
        return row.finish()
    }

    func workerRow(_ worker: Worker, for caller: Worker?) -> [UInt8] {
        let metadata = worker.metadata
        let functions = worker.functionIDs.filter { isVisible($0, to: caller) }.map(\.id).sorted()
        let hasDetails = hasDetails(worker, for: caller)
        var row = JSONObjectText()
        row.set("id", .string(worker.builtinName ?? worker.id.text))
        row.set("name", JSONValue(metadata.name ?? worker.builtinName))
        row.set("description", JSONValue(metadata.description))
        row.set("namespace", .string(FunctionKey.defaultNamespace))
        row.set("runtime", JSONValue(metadata.runtime))
        row.set("version", JSONValue(metadata.version))
        row.set("os", JSONValue(hasDetails ? metadata.os : nil))
        row.set("ip_address", JSONValue(hasDetails ? worker.address : nil))
        row.set("internal", .bool(worker.isPrivileged))
        row.set("status", worker.isPrivileged ? "available" : "connected")
        row.set("connected_at_ms", .integer(worker.connectedAtMilliseconds))
        row.set("function_count", JSONValue(functions.count))
        row.set("functions", .array(functions.map(JSONValue.string)))
        row.set("active_invocations", JSONValue(worker.callsInFlight + worker.invocations.count))
        row.set("latest_metrics", hasDetails ? telemetry.latestMetrics(of: worker) : .null)
        if hasDetails, let pid = metadata.pid { row.set("pid", .integer(pid)) }
        if let isolation = metadata.isolation { row.set("isolation", .string(isolation)) }
        return row.finish()
    }

    /// Rows for the parts of the core that are workers in the reference: consumers look for their names.
    func coreRows(for caller: Worker?) -> [[UInt8]] {
        ["iii-engine-functions", "iii-worker-manager"].map { name in
            let functions =
                name == "iii-engine-functions"
                ? registry.functions.all.filter { $0.builtin?.isPrivilegedOnly == false && isVisible($0, to: caller) }.map(\.key.id)
                    .sorted()
                : []
            var row = JSONObjectText()
            row.set("id", .string(name))
            row.set("name", .string(name))
            row.set("description", .null)
            row.set("namespace", .string(FunctionKey.defaultNamespace))
            row.set("runtime", "engine")
            row.set("version", .string(version))
            row.set("os", .null)
            row.set("ip_address", .null)
            row.set("internal", true)
            row.set("status", "available")
            row.set("connected_at_ms", .integer(startedAtMilliseconds))
            row.set("function_count", JSONValue(functions.count))
            row.set("functions", .array(functions.map(JSONValue.string)))
            row.set("active_invocations", 0)
            row.set("latest_metrics", .null)
            row.set("isolation", "in-process")
            return row.finish()
        }
    }

    func triggerRow(_ trigger: TriggerRecord) -> [UInt8] {
        var row = JSONObjectText()
        row.set("id", .string(trigger.id))
        row.set("trigger_type", .string(trigger.type))
        row.set("function_id", .string(trigger.functionID.text))
        row.set("config", raw: trigger.config)
        if let metadata = trigger.metadata { row.set("metadata", raw: metadata) }
        return row.finish()
    }

    /// Longest `config_summary`, in characters.
    private static let summaryLength = 80

    func registeredTriggerRow(_ trigger: TriggerRecord) -> [UInt8] {
        let config = String(decoding: trigger.config, as: UTF8.self)
        let compact = (try? JSONValue(parsing: config).text) ?? config
        var row = JSONObjectText()
        row.set("id", .string(trigger.id))
        row.set("trigger_type", .string(trigger.type))
        row.set("function_id", .string(trigger.functionID.text))
        row.set("worker_name", workerName(trigger.owner))
        row.set("config", raw: trigger.config)
        row.set("config_summary", .string(compact.count > Self.summaryLength ? compact.prefix(Self.summaryLength) + "…" : compact))
        if let metadata = trigger.metadata { row.set("metadata", raw: metadata) }
        return row.finish()
    }

    /// How much a row of a trigger type tells.
    enum TriggerTypeForm {
        /// `engine::triggers::list` as newer clients know it.
        case summary
        /// `engine::trigger-types::list`: the two schemas under the baseline's names.
        case listed
        /// `engine::triggers::info`: the schemas under the newer names too.
        case detailed
    }

    func triggerTypeRow(_ type: TriggerTypeRecord, _ form: TriggerTypeForm) -> [UInt8] {
        var row = JSONObjectText()
        row.set("id", .string(type.id))
        row.set("namespace", .string(FunctionKey.defaultNamespace))
        row.set("worker_name", workerName(type.current?.worker))
        row.set("description", .string(type.current?.description ?? ""))
        guard form != .summary else { return row.finish() }
        if let format = type.current?.triggerRequestFormat {
            row.set("trigger_request_format", raw: format)
            if form == .detailed { row.set("configuration_schema", raw: format) }
        }
        if let format = type.current?.callRequestFormat {
            row.set("call_request_format", raw: format)
            if form == .detailed { row.set("request_schema", raw: format) }
        }
        return row.finish()
    }
}
