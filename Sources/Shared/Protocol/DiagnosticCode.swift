/// The stable name of a WARN or ERROR line, written as its field `code`.
///
/// Messages may be reworded; a code never changes its meaning, so alerts and searches may rely on it. Each has its section in
/// docs/reference/log.md#codes (cause, who can act, cure); a test holds the two together.
public enum DiagnosticCode: String, Sendable, CaseIterable {
    // Starting and configuration.
    case startFailed = "start_failed"
    case configurationInvalid = "configuration_invalid"
    case configurationSuspicious = "configuration_suspicious"
    case listensPublicly = "listens_publicly"
    case portTaken = "port_taken"
    case exportFailed = "export_failed"
    case alertTriggered = "alert_triggered"
    case alertActionFailed = "alert_action_failed"
    case acceptFailed = "accept_failed"
    case descriptorLimitLow = "descriptor_limit_low"
    case descriptorsExhausted = "descriptors_exhausted"
    case connectionLimitReached = "connection_limit_reached"
    case originRefused = "origin_refused"
    case certificateUnusable = "certificate_unusable"
    case certificateSuspicious = "certificate_suspicious"
    case linesLeftOut = "lines_left_out"

    // Registrations.
    case functionMoved = "function_moved"
    case registrationRefused = "registration_refused"
    case httpFunctionRefused = "http_function_refused"
    case httpFunctionsMissing = "http_functions_missing"
    case triggerParked = "trigger_parked"
    case triggerRefused = "trigger_refused"
    case functionMissing = "function_missing"
    case conditionFailed = "condition_failed"
    case telemetryRejected = "telemetry_rejected"
    case triggerNeverFires = "trigger_never_fires"
    case deliveryFailed = "delivery_failed"
    case eventsDropped = "events_dropped"
    case messageDead = "message_dead"
    case queueStalled = "queue_stalled"
    case queueInMemory = "queue_in_memory"
    case brokerUnreachable = "broker_unreachable"
    case brokerBlocked = "broker_blocked"
    case brokerQueueUnusable = "broker_queue_unusable"
    case routeUnreachable = "route_unreachable"
    case methodUnsupported = "method_unsupported"

    // Connections.
    case engineUnreachable = "engine_unreachable"
    case engineError = "engine_error"
    case messageUndecodable = "message_undecodable"
    case messageTooLarge = "message_too_large"
    case slowWorkerDropped = "slow_worker_dropped"
    case silentWorkerDropped = "silent_worker_dropped"
    case droppedForRoom = "dropped_for_room"
    case engineStalled = "engine_stalled"

    // HTTP.
    case functionFailed = "function_failed"
    case responseInvalid = "response_invalid"
    case middlewareUnclear = "middleware_unclear"
    case slowClientCut = "slow_client_cut"
    case exchangeBroken = "exchange_broken"
    case streamsUnavailable = "streams_unavailable"
    case openAPIStale = "openapi_stale"

    // Streams.
    case authenticationFailed = "authentication_failed"
    case snapshotFailed = "snapshot_failed"
    case eventNotShared = "event_not_shared"

    // Stores.
    case storeCheckpointDelayed = "store_checkpoint_delayed"
    case storeCheckFailed = "store_check_failed"
    case storeDamaged = "store_damaged"
    case storeRowsQuarantined = "store_rows_quarantined"
    case storeWritesFailing = "store_writes_failing"
    case storeWritesLost = "store_writes_lost"
    case storeVolatile = "store_volatile"
    case expiryDelayed = "expiry_delayed"

    // Cron.
    case cronRunFailed = "cron_run_failed"
    case cronRunLost = "cron_run_lost"
    case cronTickMissed = "cron_tick_missed"
    case cronClaimFailed = "cron_claim_failed"
    case cronJournalFailed = "cron_journal_failed"
    case cronWeekdayNumeric = "cron_weekday_numeric"
    case redisUnreachable = "redis_unreachable"
    case redisUnsafe = "redis_unsafe"
    case redisForeignValue = "redis_foreign_value"

    // Queues and topics on a broker.
    case leaseLost = "lease_lost"
    case messagesMissed = "messages_missed"

    // The fleet.
    case childFailed = "child_failed"
    case childGivenUp = "child_given_up"
    case childRestartsTooOften = "child_restarts_too_often"
    case childUnresponsive = "child_unresponsive"
    case handoverFailed = "handover_failed"
    case reloadRefused = "reload_refused"
    case stopForced = "stop_forced"
    case controlSocketStale = "control_socket_stale"
    case watchIncomplete = "watch_incomplete"
    case watchLoop = "watch_loop"
}
