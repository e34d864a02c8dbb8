import IIIProtocol
import IIITransport
import NIOCore

/// Settings of a worker listener (`iii-worker-manager`, protocol.md §7.1 and design.md §3). Every limit has a counter in
/// `EngineCounters` and a test that reaches it.
package struct EngineOptions: Sendable {
    /// Connections at a time; further upgrades are answered 503. Default 10 000.
    package var maximumConnections = 10_000
    /// Connections of one listener that have not finished their handshake; further ones wait. Default 1 024.
    package var maximumHandshakes = 1024
    /// Web pages that may connect besides those of this host (`OriginPolicy`).
    package var allowedOrigins: [String] = []
    /// `handshake_timeout_ms`. Default 10 s.
    package var handshakeTimeout = TimeAmount.seconds(10)
    /// The engine pings a peer from which nothing came for this long. Default 20 s.
    package var pingInterval = TimeAmount.seconds(20)
    /// A peer silent for this long is dropped. Default 75 s.
    package var silenceTimeout = TimeAmount.seconds(75)
    /// Built-ins are pinged and declared unresponsive sooner (cron-config-cli.md §29.5): 5 s and 15 s.
    package var builtinPingInterval = TimeAmount.seconds(5)
    package var builtinSilenceTimeout = TimeAmount.seconds(15)
    /// Longest frame and message accepted, and bytes that may wait for one peer (`max_frame_bytes`, `max_message_bytes`,
    /// `outbound_max_bytes`). Defaults 64 MiB, 64 MiB, 128 MiB.
    package var webSocket = WebSocketLimits()
    /// Bytes that wait for all peers together, and bytes of unfinished messages of all; whoever holds most is dropped with 1013.
    /// Defaults 192 MiB and 128 MiB.
    package var outboundTotalBytes = 192 << 20
    package var inboundTotalBytes = 128 << 20
    /// Above this many waiting bytes the workers that feed a slow one most are no longer read. Default 4 MiB.
    package var outboundHighWater = 4 << 20
    /// What one worker may add to a peer above its high-water mark before it is paused. Default 64 KiB.
    package var feederAllowance = 64 << 10
    /// A peer above its high-water mark that takes nothing for this long is dropped with 1013. Default 30 s.
    package var writeStallTimeout = TimeAmount.seconds(30)
    /// Calls one worker may have in flight, and calls one worker may leave unanswered; further ones fail with
    /// `too_many_in_flight`. Default 65 536.
    package var maximumInFlight = 65_536
    /// A call that its callee has not answered for this long is forgotten; its caller gave up long ago (protocol.md §4.9).
    package var abandonedCallLifetime = TimeAmount.hours(24)
    /// Longest registration, and longest input of an engine function, in bytes: both are decoded, which takes a while. Default 1 MiB.
    package var maximumRegistrationBytes = 1 << 20
    /// Bytes that the registrations of one worker, and of all, occupy (`RegistrationLedger`). Defaults 32 MiB and 64 MiB.
    package var registeredBytesPerWorker = 32 << 20
    package var registeredBytes = 64 << 20
    /// Triggers made by `engine::register_trigger`, which outlive their makers. Default 10 000.
    package var maximumDurableTriggers = 10_000
    /// Engine functions one worker may wait for. Default 1 024.
    package var maximumEngineCalls = 1_024
    /// Trace contexts kept for the answers of calls under way. Default 8 MiB.
    package var traceContextBufferBytes = 8 << 20
    /// Default 10 000, 10 000 and 1 000.
    package var maximumFunctionsPerWorker = 10_000
    package var maximumTriggersPerWorker = 10_000
    package var maximumTriggerTypesPerWorker = 1_000
    /// Calls held for a built-in that is restarting, at most, and for how long. Defaults 1 024, 32 MiB and 5 s.
    package var maximumHeldCalls = 1_024
    package var heldCallsBufferBytes = 32 << 20
    package var holdTimeout = TimeAmount.seconds(5)
    /// Channels one worker may own. Default 10 000.
    package var maximumChannelsPerWorker = 10_000
    /// Bytes that wait in one channel, and in all of them together. Defaults 16 MiB and 64 MiB.
    package var channelBufferBytes = 16 << 20
    package var channelsBufferBytes = 64 << 20
    /// Telemetry kept for `iii-observability` while it is away; the oldest is dropped. Default 4 MiB.
    package var telemetryBufferBytes = 4 << 20
    package var invocationPolicy = InvocationPolicy.latest

    package init() {}

    /// From the expanded `config` of an `iii-worker-manager` entry, whose keys and types have been checked already.
    package init(config: JSONValue) {
        func integer(_ key: String, _ target: inout Int) { if let value = config[key]?.integer { target = Int(value) } }
        func milliseconds(_ key: String, _ target: inout TimeAmount) {
            if let value = config[key]?.integer { target = .milliseconds(value) }
        }
        integer("max_connections", &maximumConnections)
        integer("max_handshakes", &maximumHandshakes)
        allowedOrigins = config["allowed_origins"]?.array?.compactMap(\.string) ?? []
        milliseconds("handshake_timeout_ms", &handshakeTimeout)
        milliseconds("ping_interval_ms", &pingInterval)
        milliseconds("silence_timeout_ms", &silenceTimeout)
        integer("max_frame_bytes", &webSocket.maximumFrameLength)
        integer("max_message_bytes", &webSocket.maximumMessageLength)
        integer("outbound_max_bytes", &webSocket.maximumQueuedBytes)
        integer("outbound_total_bytes", &outboundTotalBytes)
        integer("inbound_total_bytes", &inboundTotalBytes)
        integer("outbound_high_water_bytes", &outboundHighWater)
        milliseconds("write_stall_timeout_ms", &writeStallTimeout)
        integer("max_in_flight", &maximumInFlight)
        integer("max_registration_bytes", &maximumRegistrationBytes)
        integer("max_functions_per_worker", &maximumFunctionsPerWorker)
        integer("max_triggers_per_worker", &maximumTriggersPerWorker)
        integer("max_trigger_types_per_worker", &maximumTriggerTypesPerWorker)
        integer("registered_bytes_per_worker", &registeredBytesPerWorker)
        integer("registered_bytes", &registeredBytes)
        integer("max_durable_triggers", &maximumDurableTriggers)
        integer("max_engine_calls", &maximumEngineCalls)
        integer("trace_context_buffer_bytes", &traceContextBufferBytes)
        integer("max_held_calls", &maximumHeldCalls)
        integer("held_calls_buffer_bytes", &heldCallsBufferBytes)
        integer("max_channels_per_worker", &maximumChannelsPerWorker)
        integer("channel_buffer_bytes", &channelBufferBytes)
        integer("channels_buffer_bytes", &channelsBufferBytes)
        integer("telemetry_buffer_bytes", &telemetryBufferBytes)
        if let policy = config["invocation_policy"]?.string.flatMap(InvocationPolicy.init(rawValue:)) { invocationPolicy = policy }
    }
}

/// What the engine has done since it started. Plain integers: they are only touched on the engine's loop.
package struct EngineCounters: Sendable {
    package var connectionsAccepted = 0
    package var connectionsRefused = 0
    package var messagesReceived = 0
    package var messagesDropped = 0
    package var invocations = 0
    package var invocationsFailed = 0
    package var resultsUnmatched = 0
    package var enqueued = 0
    package var inFlightLimitReached = 0
    package var registrationsRefused = 0
    package var registrationLimitReached = 0
    package var payloadsTooLarge = 0
    package var peersPaused = 0
    package var slowPeersDropped = 0
    package var silentPeersDropped = 0
    package var peersDroppedForRoom = 0
    package var overloadsRefused = 0
    package var traceContextsDropped = 0
    package var callersHeld = 0
    package var ownStalls = 0
    package var callsForgotten = 0
    package var callsHeld = 0
    package var heldCallsRefused = 0
    package var channelsCreated = 0
    package var channelsExpired = 0
    package var channelLimitReached = 0
    package var channelMessages = 0
    package var channelWritersPaused = 0
    package var telemetryRelayed = 0
    package var telemetryDropped = 0

    package init() {}

    package var json: JSONValue {
        [
            "connections_accepted": JSONValue(connectionsAccepted), "connections_refused": JSONValue(connectionsRefused),
            "messages_received": JSONValue(messagesReceived), "messages_dropped": JSONValue(messagesDropped),
            "invocations": JSONValue(invocations), "invocations_failed": JSONValue(invocationsFailed),
            "results_unmatched": JSONValue(resultsUnmatched), "enqueued": JSONValue(enqueued),
            "in_flight_limit_reached": JSONValue(inFlightLimitReached), "registrations_refused": JSONValue(registrationsRefused),
            "registration_limit_reached": JSONValue(registrationLimitReached), "payloads_too_large": JSONValue(payloadsTooLarge),
            "peers_paused": JSONValue(peersPaused), "slow_peers_dropped": JSONValue(slowPeersDropped),
            "silent_peers_dropped": JSONValue(silentPeersDropped), "calls_forgotten": JSONValue(callsForgotten),
            "peers_dropped_for_room": JSONValue(peersDroppedForRoom), "callers_held": JSONValue(callersHeld),
            "own_stalls": JSONValue(ownStalls), "overloads_refused": JSONValue(overloadsRefused),
            "trace_contexts_dropped": JSONValue(traceContextsDropped),
            "calls_held": JSONValue(callsHeld),
            "held_calls_refused": JSONValue(heldCallsRefused), "channels_created": JSONValue(channelsCreated),
            "channels_expired": JSONValue(channelsExpired), "channel_limit_reached": JSONValue(channelLimitReached),
            "channel_messages": JSONValue(channelMessages), "channel_writers_paused": JSONValue(channelWritersPaused),
            "telemetry_relayed": JSONValue(telemetryRelayed),
            "telemetry_dropped": JSONValue(telemetryDropped),
        ]
    }
}
