import IIIProtocol

/// Which of several live owners of a function serves a call.
package enum InvocationPolicy: String, Sendable, CaseIterable {
    /// The newest registration; older ones take over when it leaves. The default, and what every SDK expects.
    case latest
    case roundRobin = "round_robin"
    /// The owner with the fewest calls running; ties go round.
    case leastPending = "least_pending"
}

/// Keys of `iii-worker-manager`: a listener of the engine, and what one worker may occupy. Read by `EngineOptions`.
package enum WorkerManagerSettings {
    package static let defaultPort = 49134

    package static let host = Setting("host", .text(.host), default: "127.0.0.1", "Address to listen on.")
    package static let port = Setting(
        "port", .port, default: JSONValue(defaultPort), "Port for workers and channels; 0 takes any free one.")
    package static let middlewareFunction = Setting(
        "middleware_function_id", .text(.functionID), absent: "none", example: "access::middleware",
        "Function that is called in place of every function but the engine's; its result is the caller's.")
    package static let rbac = Setting("rbac", .object(RBACSettings.group), absent: "no rules", "Who may connect, call and register.")
    package static let handshakeTimeout = Setting(
        "handshake_timeout_ms", .milliseconds(1...Int64(Int32.max)), default: 10_000,
        "Until the upgrade is complete, TLS, head and body together; then the socket is dropped.")
    package static let maximumConnections = Setting(
        "max_connections", .count(1...1_000_000), default: 10_000,
        "Connections at a time; a further upgrade is answered 503, but for built-ins. A warning at the start when the limit of file descriptors is lower."
    )
    package static let tls = Setting(
        "tls", .object(TLSSettings.group), absent: "plain WebSocket",
        "Certificate and rules of TLS; workers then dial `wss://`. Renewed files are taken over without a restart.")
    package static let allowedOrigins = Setting<[String]>(
        "allowed_origins", .list(.text(origin)), default: [],
        "Web pages that may connect besides those of this host, e.g. `https://app.example.com`; `*` lets every page in.")
    package static let maximumHandshakes = Setting(
        "max_handshakes", .count(1...1_000_000), default: 1_024,
        "Connections that have not finished their handshake; further ones wait in the kernel, and one older than 1 s makes room for them.")
    package static let maximumMessageBytes = Setting(
        "max_message_bytes", .bytes(1...(1 << 30)), default: 67_108_864,
        "Longest message that is accepted; a longer one ends with close 1009.")
    package static let maximumFrameBytes = Setting(
        "max_frame_bytes", .bytes(1...(1 << 30)), default: 67_108_864, "Longest WebSocket frame that is accepted; close 1009.")
    package static let pingInterval = Setting(
        "ping_interval_ms", .milliseconds(10...Int64(Int32.max)), default: 20_000, "A peer from which nothing came for this long is pinged."
    )
    package static let silenceTimeout = Setting(
        "silence_timeout_ms", .milliseconds(10...Int64(Int32.max)), default: 75_000, "A peer silent for this long is dropped.")
    package static let writeStallTimeout = Setting(
        "write_stall_timeout_ms", .milliseconds, default: 30_000,
        "A peer above `outbound_high_water_bytes` that takes nothing for this long is dropped with 1013.")
    package static let outboundHighWater = Setting(
        "outbound_high_water_bytes", .bytes, default: 4_194_304,
        "Above this many waiting bytes the workers that feed a slow one most are not read.")
    package static let outboundMaximum = Setting(
        "outbound_max_bytes", .bytes, default: 134_217_728,
        "Bytes that may wait for one peer; above that it is dropped with 1013.")
    package static let outboundTotal = Setting(
        "outbound_total_bytes", .bytes, default: 201_326_592,
        "Bytes that may wait for all peers together; above that whoever has most waiting is dropped with 1013.")
    package static let inboundTotal = Setting(
        "inbound_total_bytes", .bytes, default: 134_217_728,
        "Bytes of unfinished messages of all peers; above that whoever left a sizeable one unfinished for longest is dropped with 1013.")
    package static let maximumInFlight = Setting(
        "max_in_flight", .count(1...Int64(Int32.max)), default: 65_536,
        "Calls one worker may have in flight, and calls it may leave unanswered; further ones fail with `too_many_in_flight`.")
    package static let maximumRegistrationBytes = Setting(
        "max_registration_bytes", .bytes, default: 1_048_576,
        "A longer registration is refused and logged; a longer input of an engine function fails with `payload_too_large`.")
    package static let maximumFunctions = Setting(
        "max_functions_per_worker", .count, default: 10_000, "Further registrations are refused and logged.")
    package static let maximumTriggers = Setting(
        "max_triggers_per_worker", .count, default: 10_000, "Further registrations are refused and logged.")
    package static let maximumTriggerTypes = Setting(
        "max_trigger_types_per_worker", .count, default: 1_000, "Further registrations are refused and logged.")
    package static let registeredBytesPerWorker = Setting(
        "registered_bytes_per_worker", .bytes, default: 33_554_432,
        "What registrations of one worker occupy: the length of each message in force, and 512 bytes for each. A worker's report of itself "
            + "counts too. Further ones are refused and logged.")
    package static let registeredBytes = Setting(
        "registered_bytes", .bytes, default: 67_108_864, "As `registered_bytes_per_worker`, of all workers together.")
    package static let maximumDurableTriggers = Setting(
        "max_durable_triggers", .count, default: 10_000,
        "Triggers of `engine::register_trigger`, which outlive their makers; further ones fail with `trigger_registration_failed`.")
    package static let maximumEngineCalls = Setting(
        "max_engine_calls", .count, default: 1_024,
        "Engine functions one worker may wait for; further calls fail with `too_many_in_flight`.")
    package static let traceContextBuffer = Setting(
        "trace_context_buffer_bytes", .bytes, default: 8_388_608,
        "Trace contexts of all calls under way; above that answers lack `traceparent` and `baggage`, callees get them all the same.")
    package static let maximumHeldCalls = Setting(
        "max_held_calls", .count, default: 1_024,
        "Calls held for a built-in that restarts; further ones fail at once with `function_unavailable`.")
    package static let heldCallsBuffer = Setting(
        "held_calls_buffer_bytes", .bytes, default: 33_554_432, "Bytes of held calls, as `max_held_calls`.")
    package static let maximumChannels = Setting(
        "max_channels_per_worker", .count, default: 10_000, "Channels one worker may own; further ones fail with `too_many_channels`.")
    package static let channelBuffer = Setting(
        "channel_buffer_bytes", .bytes, default: 16_777_216, "Bytes that wait in one channel; above that its writer is not read.")
    package static let channelsBuffer = Setting(
        "channels_buffer_bytes", .bytes, default: 67_108_864,
        "Bytes that wait in all channels together; above that writers whose channel holds over 64 KiB are not read.")
    package static let telemetryBuffer = Setting(
        "telemetry_buffer_bytes", .bytes, default: 4_194_304, "Telemetry kept while `iii-observability` is away; the oldest is dropped.")
    package static let metricsBuffer = Setting(
        "metrics_buffer_bytes", .bytes, default: 16_777_216,
        "Newest metrics of all workers, kept for `iii-core metrics`; what finds no room is not shown there.")
    package static let hookBuffer = Setting(
        "hook_buffer_bytes", .bytes, default: 33_554_432,
        "Messages of all connections that wait for a registration hook; above that their senders are not read.")
    package static let invocationPolicy = Setting<InvocationPolicy>(
        "invocation_policy", .choice, default: "latest",
        "Which replica gets a call. A function overrides it by `metadata: {\"invocation_policy\": …}`.")

    private static let origin = TextRule("an origin such as https://app.example.com, or *") { text in
        if text == "*" || text == "null" { return true }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].hasSuffix(":") && parts[0].count > 1 && parts[1].isEmpty && !parts[2].isEmpty
            && !parts[2].contains { $0 == " " || $0 == "?" || $0 == "#" || $0 == "*" || $0 == "@" }
    }

    package static let group = SettingGroup(change: .live) {
        SettingGroup {
            host
            port
            tls
            allowedOrigins
            middlewareFunction
            rbac
            handshakeTimeout
            maximumHandshakes
            maximumConnections
        }
        maximumMessageBytes
        maximumFrameBytes
        pingInterval
        silenceTimeout
        writeStallTimeout
        outboundHighWater
        outboundMaximum
        outboundTotal
        inboundTotal
        maximumInFlight
        maximumRegistrationBytes
        maximumFunctions
        maximumTriggers
        maximumTriggerTypes
        registeredBytesPerWorker
        registeredBytes
        maximumDurableTriggers
        maximumEngineCalls
        traceContextBuffer
        maximumHeldCalls
        heldCallsBuffer
        maximumChannels
        channelBuffer
        channelsBuffer
        telemetryBuffer
        metricsBuffer
        hookBuffer
        invocationPolicy
        RefusedSetting("listeners", "write one `iii-worker-manager` entry for each listener, with its `host`, `port` and rules")
    }
}

/// Access rules of a worker listener.
package enum RBACSettings {
    private static let function = SettingType<String>.text(.functionID)

    package static let authentication = Setting(
        "auth_function_id", function, example: "access::authenticate", "Function that decides who may connect.")
    package static let exposed = Setting<[JSONValue]>(
        "expose_functions",
        .list(.oneOf(SettingType.text(matchExpression).map(JSONValue.string), SettingType.object(byMember).map(\.json))), default: [],
        "Functions that may be called: `match(\"pattern\")`, `{match: pattern, namespace: name}`, or `{metadata: {key: value or match}}`.")
    package static let onFunction = Setting(
        "on_function_registration_function_id", function, example: "access::function",
        "Function that is asked before a function is registered.")
    package static let onTrigger = Setting(
        "on_trigger_registration_function_id", function, example: "access::trigger",
        "Function that is asked before a trigger is registered.")
    package static let onTriggerType = Setting(
        "on_trigger_type_registration_function_id", function, example: "access::trigger_type",
        "Function that is asked before a trigger type is registered.")
    package static let timeout = Setting(
        "timeout_ms", .milliseconds(1...Int64(Int32.max)), default: 10_000,
        "How long the auth function and each hook may take; then the answer is no.")

    package static let group = SettingGroup {
        authentication
        exposed
        onFunction
        onTrigger
        onTriggerType
        timeout
    }

    private static let matchExpression = TextRule("match(\"pattern\")") { text in
        guard text.hasPrefix("match("), text.hasSuffix(")"), text.utf8.count >= 9 else { return false }
        let inner = text.dropFirst(6).dropLast()
        return (inner.hasPrefix("\"") && inner.hasSuffix("\"")) || (inner.hasPrefix("'") && inner.hasSuffix("'"))
    }

    private static let pattern = Setting("match", .text, example: "api::*", "Pattern of function ids.")
    private static let metadata = Setting<[String: JSONValue]?>(
        "metadata", .map(of: .anything), example: ["public": true], "What the function's metadata must hold.")
    private static let byMember = SettingGroup {
        pattern
        Setting("namespace", .text, absent: "every one", example: "default", "Namespace of the functions.")
        metadata
        SettingRule("Each says `match` or `metadata`.") { values in
            values[pattern] == nil && values[metadata]?.isEmpty ?? true ? [.problem(message: "needs `match` or `metadata`")] : []
        }
    }
}
