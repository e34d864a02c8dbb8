import IIIProtocol
import IIISettings
import IIITransport
import NIOCore

/// Settings of a worker listener; `WorkerManagerSettings` says what each key means, its range and default. Every limit has a
/// counter in `EngineCounters` and a test that reaches it. What stands here with a value is no key of the file.
package struct EngineOptions: Sendable {
    package var maximumConnections: Int
    /// Connections of one listener that have not finished their handshake; further ones wait.
    package var maximumHandshakes: Int
    /// Web pages that may connect besides those of this host (`OriginPolicy`).
    package var allowedOrigins: [String]
    package var handshakeTimeout: TimeAmount
    package var pingInterval: TimeAmount
    package var silenceTimeout: TimeAmount
    /// Built-ins are pinged and declared unresponsive sooner (docs/reference/supervisor.md#restarts).
    package var builtinPingInterval = TimeAmount.seconds(5)
    package var builtinSilenceTimeout = TimeAmount.seconds(15)
    /// `max_frame_bytes`, `max_message_bytes` and `outbound_max_bytes`.
    package var webSocket: WebSocketLimits
    /// Whoever holds most of these bytes is dropped with 1013 above the limit: those that wait, and those of unfinished messages.
    package var outboundTotalBytes: Int
    package var inboundTotalBytes: Int
    package var outboundHighWater: Int
    /// What one worker may add to a peer above its high-water mark before it is paused.
    package var feederAllowance = 64 << 10
    package var writeStallTimeout: TimeAmount
    package var maximumInFlight: Int
    /// A call that its callee has not answered for this long is forgotten; its caller gave up long ago
    /// (docs/reference/worker-protocol.md#calls).
    package var abandonedCallLifetime = TimeAmount.hours(24)
    package var maximumRegistrationBytes: Int
    /// Bytes that the registrations of one worker, and of all, occupy (`RegistrationLedger`).
    package var registeredBytesPerWorker: Int
    package var registeredBytes: Int
    package var maximumDurableTriggers: Int
    package var maximumEngineCalls: Int
    package var traceContextBufferBytes: Int
    package var maximumFunctionsPerWorker: Int
    package var maximumTriggersPerWorker: Int
    package var maximumTriggerTypesPerWorker: Int
    package var maximumHeldCalls: Int
    package var heldCallsBufferBytes: Int
    /// How long a call is held for a built-in that restarts.
    package var holdTimeout = TimeAmount.seconds(5)
    package var maximumChannelsPerWorker: Int
    package var channelBufferBytes: Int
    package var channelsBufferBytes: Int
    package var telemetryBufferBytes: Int
    package var metricsBufferBytes: Int
    package var hookBufferBytes: Int
    package var invocationPolicy: InvocationPolicy
    /// Who may connect, call and register by this listener; nil: everybody everything.
    package var access: AccessRules?

    /// All defaults.
    package init() { self.init(WorkerManagerSettings.group.defaults) }

    package init(_ values: SettingValues) {
        typealias Key = WorkerManagerSettings
        maximumConnections = values[Key.maximumConnections]
        maximumHandshakes = values[Key.maximumHandshakes]
        allowedOrigins = values[Key.allowedOrigins]
        handshakeTimeout = TimeAmount(values[Key.handshakeTimeout])
        pingInterval = TimeAmount(values[Key.pingInterval])
        silenceTimeout = TimeAmount(values[Key.silenceTimeout])
        webSocket = WebSocketLimits()
        webSocket.maximumFrameLength = values[Key.maximumFrameBytes]
        webSocket.maximumMessageLength = values[Key.maximumMessageBytes]
        webSocket.maximumQueuedBytes = values[Key.outboundMaximum]
        outboundTotalBytes = values[Key.outboundTotal]
        inboundTotalBytes = values[Key.inboundTotal]
        outboundHighWater = values[Key.outboundHighWater]
        writeStallTimeout = TimeAmount(values[Key.writeStallTimeout])
        maximumInFlight = values[Key.maximumInFlight]
        maximumRegistrationBytes = values[Key.maximumRegistrationBytes]
        registeredBytesPerWorker = values[Key.registeredBytesPerWorker]
        registeredBytes = values[Key.registeredBytes]
        maximumDurableTriggers = values[Key.maximumDurableTriggers]
        maximumEngineCalls = values[Key.maximumEngineCalls]
        traceContextBufferBytes = values[Key.traceContextBuffer]
        maximumFunctionsPerWorker = values[Key.maximumFunctions]
        maximumTriggersPerWorker = values[Key.maximumTriggers]
        maximumTriggerTypesPerWorker = values[Key.maximumTriggerTypes]
        maximumHeldCalls = values[Key.maximumHeldCalls]
        heldCallsBufferBytes = values[Key.heldCallsBuffer]
        maximumChannelsPerWorker = values[Key.maximumChannels]
        channelBufferBytes = values[Key.channelBuffer]
        channelsBufferBytes = values[Key.channelsBuffer]
        telemetryBufferBytes = values[Key.telemetryBuffer]
        metricsBufferBytes = values[Key.metricsBuffer]
        hookBufferBytes = values[Key.hookBuffer]
        invocationPolicy = values[Key.invocationPolicy]
        access = AccessRules(values)
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
    package var invocationsDeferred = 0
    package var workersConnected = 0
    package var workersLeft = 0
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
    package var authenticationsFailed = 0
    package var callsForbidden = 0
    package var registrationsDenied = 0
    package var hookWritersPaused = 0
    package var telemetryRelayed = 0
    /// Nobody is configured to take it.
    package var telemetryUnwanted = 0
    package var telemetryMalformed = 0
    /// The oldest of what waited for its consumer.
    package var telemetryOverflowed = 0
    /// Its consumer took it too slowly, or left with it.
    package var telemetryOutrun = 0
    /// `metrics_buffer_bytes` had no room; relayed all the same.
    package var metricFramesRefused = 0
    package var telemetryDropped: Int { telemetryUnwanted + telemetryMalformed + telemetryOverflowed + telemetryOutrun }

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
            "authentications_failed": JSONValue(authenticationsFailed), "calls_forbidden": JSONValue(callsForbidden),
            "registrations_denied": JSONValue(registrationsDenied), "hook_writers_paused": JSONValue(hookWritersPaused),
            "telemetry_relayed": JSONValue(telemetryRelayed),
            "telemetry_dropped": JSONValue(telemetryDropped), "metric_frames_refused": JSONValue(metricFramesRefused),
            "invocations_deferred": JSONValue(invocationsDeferred), "workers_connected": JSONValue(workersConnected),
            "workers_left": JSONValue(workersLeft),
        ]
    }
}
