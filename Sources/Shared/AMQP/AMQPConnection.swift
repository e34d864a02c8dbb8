import COpenSSL
import CRabbitMQ
import Glibc

/// A message that came out of a queue and has to be settled on the channel it came over.
package struct AMQPDelivery: Sendable, Equatable {
    package let channel: Int
    package let tag: UInt64
    package let isRedelivered: Bool
    package let message: AMQPMessage
    /// Messages that were ready behind it when it was asked for; 0 for what a consumer is given.
    package var behind = 0
}

/// What came without having been asked for.
enum AMQPEvent {
    case delivered(AMQPDelivery)
    case acknowledged(UInt64, isMultiple: Bool)
    case refused(UInt64, isMultiple: Bool)
    case returned(AMQPMessage, reason: String)
    /// The broker has ended a consumer, because its queue is gone.
    case cancelled(channel: Int)
    case channelClosed(Int, AMQPError)
    case blocked(String)
    case unblocked
}

/// One connection. Belongs to one thread, which blocks in it; after an error that does not merely end a channel it is done for.
package final class AMQPConnection {
    private let state: amqp_connection_state_t
    private let settings: AMQPSettings
    let socket: CInt
    /// As the broker names itself, e.g. `3.10.8`.
    package private(set) var brokerVersion = ""
    private var openChannels: Set<Int> = []
    private var isBroken = false

    private static let frameMaximum: CInt = 131_072

    /// Connects and logs in; `purpose` shows in the broker's lists.
    init(_ settings: AMQPSettings, purpose: String) throws(AMQPError) {
        self.settings = settings
        guard let state = amqp_new_connection() else { throw AMQPError(.other, "librabbitmq has no memory") }
        self.state = state
        do throws(AMQPError) {
            socket = try Self.connect(state, settings)
            try Self.login(state, settings, purpose)
        } catch {
            amqp_destroy_connection(state)
            throw error
        }
        var timeout = Self.time(settings.answerTimeout)
        amqp_set_rpc_timeout(state, &timeout)
        iii_amqp_set_user_timeout(socket, UInt32(max(30_000, settings.heartbeat * 3000)))
        guard let table = amqp_get_server_properties(state) else { return }
        for index in 0..<Int(table.pointee.num_entries) {
            var (text, number) = (amqp_bytes_t(), Int64(0))
            guard let entry = table.pointee.entries?.advanced(by: index), entry.pointee.key.text == "version" else { continue }
            if iii_amqp_read(entry, &text, &number) == 1 { brokerVersion = text.text }
        }
    }

    deinit {
        if !isBroken {
            // A farewell; a broker that does not answer is not waited for.
            var timeout = Self.time(1000)
            amqp_set_rpc_timeout(state, &timeout)
            _ = amqp_connection_close(state, 200)
        }
        amqp_destroy_connection(state)
    }

    // MARK: Connecting

    private static func time(_ milliseconds: Int) -> timeval {
        timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
    }

    private static func connect(_ state: amqp_connection_state_t, _ settings: AMQPSettings) throws(AMQPError) -> CInt {
        let url = settings.url
        let socket: OpaquePointer?
        if url.isTLS {
            socket = amqp_ssl_socket_new(state)
            guard let socket else { throw AMQPError(.tls, "OpenSSL cannot be set up") }
            amqp_ssl_socket_set_verify_peer(socket, 1)
            amqp_ssl_socket_set_verify_hostname(socket, settings.verifiesHost ? 1 : 0)
            amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST)
            if let file = settings.authorityFile {
                guard amqp_ssl_socket_set_cacert(socket, file) == 0 else {
                    throw AMQPError(.tls, "ca_file: '\(file)' holds no certificates that can be read (PEM)")
                }
            } else if let context = amqp_ssl_socket_get_context(socket) {
                _ = SSL_CTX_set_default_verify_paths(OpaquePointer(context))
            }
            if let certificate = settings.certificateFile, let key = settings.keyFile {
                guard amqp_ssl_socket_set_key(socket, certificate, key) == 0 else {
                    throw AMQPError(.tls, "cert_file, key_file: '\(certificate)' and '\(key)' are no certificate with its key (PEM)")
                }
            }
        } else {
            socket = amqp_tcp_socket_new(state)
        }
        guard let socket else { throw AMQPError(.other, "librabbitmq has no memory") }
        var timeout = time(settings.connectTimeout)
        let result = amqp_socket_open_noblock(socket, url.host, CInt(url.port), &timeout)
        guard result == 0 else { throw failure(result, "RabbitMQ at \(url.displayText) cannot be reached", settings) }
        return amqp_socket_get_sockfd(socket)
    }

    private static func failure(_ status: CInt, _ what: String, _ settings: AMQPSettings) -> AMQPError {
        let text = amqp_error_string2(status).map { String(cString: $0) } ?? "status \(status)"
        switch amqp_status_enum_(rawValue: status) {
        case AMQP_STATUS_SSL_PEER_VERIFY_FAILED:
            return AMQPError(
                .tls, "\(what): its certificate is signed by nobody who is trusted; set ca_file to the authority's certificate")
        case AMQP_STATUS_SSL_HOSTNAME_VERIFY_FAILED:
            return AMQPError(.tls, "\(what): its certificate is not for '\(settings.url.host)'; use a name that is in it")
        case AMQP_STATUS_SSL_ERROR, AMQP_STATUS_SSL_CONNECTION_FAILED:
            return AMQPError(
                .tls, "\(what): TLS fails (\(text)); is it a TLS port, is the certificate trusted (ca_file), does it want one of ours?")
        case AMQP_STATUS_TIMEOUT: return AMQPError(.timeout, "\(what): no answer in time")
        default: return AMQPError(.unreachable, "\(what): \(text)")
        }
    }

    private static func login(_ state: amqp_connection_state_t, _ settings: AMQPSettings, _ purpose: String) throws(AMQPError) {
        var timeout = time(settings.connectTimeout)
        amqp_set_handshake_timeout(state, &timeout)
        let url = settings.url
        let capabilities = AMQPTable([
            "connection.blocked": .boolean(true), "consumer_cancel_notify": .boolean(true), "basic.nack": .boolean(true),
            "publisher_confirms": .boolean(true), "authentication_failure_close": .boolean(true),
        ])
        let reply = capabilities.withTable { inner, _ in
            withAMQPBytes(["capabilities", "connection_name", "\(settings.clientName) \(purpose)"]) { texts in
                var entries = [iii_amqp_table(texts[0], inner), iii_amqp_text(texts[1], texts[2])]
                return entries.withUnsafeMutableBufferPointer { list in
                    var properties = amqp_table_t(num_entries: 2, entries: list.baseAddress)
                    if !url.namesUser, settings.certificateFile != nil {
                        return iii_amqp_login_external(state, url.virtualHost, frameMaximum, CInt(settings.heartbeat), &properties)
                    }
                    return iii_amqp_login_plain(
                        state, url.virtualHost, frameMaximum, CInt(settings.heartbeat), &properties, url.user, url.password)
                }
            }
        }
        guard reply.reply_type != AMQP_RESPONSE_NORMAL else { return }
        let place = "RabbitMQ at \(url.displayText)"
        guard reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION else {
            throw failure(reply.library_error, "\(place) does not let us in", settings)
        }
        let error = serverError(reply, place)
        switch error.code {
        case .accessRefused where error.message.contains("vhost"):
            throw AMQPError(
                .accessRefused,
                "\(place): user '\(url.user)' may not use the virtual host '\(url.virtualHost)'; "
                    + "rabbitmqctl set_permissions -p '\(url.virtualHost)' '\(url.user)' '.*' '.*' '.*'")
        case .accessRefused:
            throw AMQPError(
                .accessRefused,
                "\(place) refuses the user '\(url.user)' or its password; check amqp_url ('guest' may come from the broker's own host only)"
            )
        case .noSuchVirtualHost:
            throw AMQPError(
                .noSuchVirtualHost,
                "\(place) does not let user '\(url.user)' into the virtual host '\(url.virtualHost)', or there is none; "
                    + "rabbitmqctl add_vhost '\(url.virtualHost)', then set_permissions, or name another one in amqp_url")
        default: throw error
        }
    }

    private static func serverError(_ reply: amqp_rpc_reply_t, _ what: String) -> AMQPError {
        switch (reply.reply.id, reply.reply.decoded) {
        case (iii_amqp_connection_close, let decoded?):
            let close = decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee
            return AMQPError(replyCode: Int(close.reply_code), text: close.reply_text.text, what)
        case (iii_amqp_channel_close, let decoded?):
            let close = decoded.assumingMemoryBound(to: amqp_channel_close_t.self).pointee
            return AMQPError(replyCode: Int(close.reply_code), text: close.reply_text.text, what)
        default: return AMQPError(.other, "\(what): method \(reply.reply.id) was not expected")
        }
    }

    // MARK: Calls that wait for an answer

    /// After a call of the library that waits for an answer: throws what went wrong.
    private func check(_ what: String, _ channel: Int) throws(AMQPError) {
        let reply = amqp_get_rpc_reply(state)
        switch reply.reply_type {
        case AMQP_RESPONSE_NORMAL: return
        case AMQP_RESPONSE_SERVER_EXCEPTION:
            let error = Self.serverError(reply, what)
            if reply.reply.id == iii_amqp_channel_close {
                closeOK(channel)
            } else {
                isBroken = true
            }
            throw error
        default:
            isBroken = true
            throw Self.failure(reply.library_error, what, settings)
        }
    }

    private func closeOK(_ channel: Int) {
        var answer = amqp_channel_close_ok_t()
        _ = amqp_send_method(state, amqp_channel_t(channel), iii_amqp_channel_close_ok, &answer)
        openChannels.remove(channel)
    }

    private func status(_ status: CInt, _ what: String) throws(AMQPError) {
        guard status != 0 else { return }
        isBroken = true
        throw Self.failure(status, what, settings)
    }

    func isOpen(_ channel: Int) -> Bool { openChannels.contains(channel) }

    /// Opens `channel` unless it is open.
    package func open(_ channel: Int) throws(AMQPError) {
        guard !openChannels.contains(channel) else { return }
        amqp_channel_open(state, amqp_channel_t(channel))
        try check("opening a channel", channel)
        openChannels.insert(channel)
    }

    func close(_ channel: Int) throws(AMQPError) {
        guard openChannels.remove(channel) != nil else { return }
        let reply = amqp_channel_close(state, amqp_channel_t(channel), 200)
        guard reply.reply_type == AMQP_RESPONSE_NORMAL else {
            isBroken = true
            throw Self.failure(reply.library_error, "closing a channel", settings)
        }
    }

    func confirm(_ channel: Int) throws(AMQPError) {
        amqp_confirm_select(state, amqp_channel_t(channel))
        try check("asking for confirms", channel)
    }

    /// Answers how many messages are ready and how many consume. Passive: only looks.
    @discardableResult
    package func declareQueue(
        _ name: String, arguments: [String: AMQPValue] = [:], isPassive: Bool = false, on channel: Int
    ) throws(AMQPError) -> (messages: Int, consumers: Int) {
        let answer = AMQPTable(arguments, extra: [name]).withTable { table, extra in
            amqp_queue_declare(state, amqp_channel_t(channel), extra[0], isPassive ? 1 : 0, 1, 0, 0, table)?.pointee
        }
        try check("queue '\(name)'", channel)
        return (Int(answer?.message_count ?? 0), Int(answer?.consumer_count ?? 0))
    }

    /// Passive: only looks.
    package func declareExchange(_ name: String, type: String, isPassive: Bool = false, on channel: Int) throws(AMQPError) {
        _ = withAMQPBytes([name, type]) { texts in
            amqp_exchange_declare(state, amqp_channel_t(channel), texts[0], texts[1], isPassive ? 1 : 0, 1, 0, 0, amqp_empty_table)
        }
        try check("exchange '\(name)'", channel)
    }

    package func bind(_ queue: String, to exchange: String, key: String, on channel: Int) throws(AMQPError) {
        _ = withAMQPBytes([queue, exchange, key]) { texts in
            amqp_queue_bind(state, amqp_channel_t(channel), texts[0], texts[1], texts[2], amqp_empty_table)
        }
        try check("binding '\(queue)' to '\(exchange)'", channel)
    }

    package func unbind(_ queue: String, from exchange: String, key: String, on channel: Int) throws(AMQPError) {
        _ = withAMQPBytes([queue, exchange, key]) { texts in
            amqp_queue_unbind(state, amqp_channel_t(channel), texts[0], texts[1], texts[2], amqp_empty_table)
        }
        try check("unbinding '\(queue)' from '\(exchange)'", channel)
    }

    /// Answers how many messages went.
    package func purge(_ queue: String, on channel: Int) throws(AMQPError) -> Int {
        let count = withAMQPBytes([queue]) { texts in
            Int(amqp_queue_purge(state, amqp_channel_t(channel), texts[0])?.pointee.message_count ?? 0)
        }
        try check("emptying queue '\(queue)'", channel)
        return count
    }

    package func deleteQueue(_ queue: String, ifEmpty: Bool, on channel: Int) throws(AMQPError) {
        _ = withAMQPBytes([queue]) { texts in
            amqp_queue_delete(state, amqp_channel_t(channel), texts[0], 0, ifEmpty ? 1 : 0)
        }
        try check("deleting queue '\(queue)'", channel)
    }

    func consume(
        _ queue: String, tag: String, prefetch: Int, isExclusive: Bool, arguments: [String: AMQPValue], on channel: Int
    ) throws(AMQPError) {
        amqp_basic_qos(state, amqp_channel_t(channel), 0, UInt16(clamping: prefetch), 0)
        try check("the prefetch of queue '\(queue)'", channel)
        _ = AMQPTable(arguments, extra: [queue, tag]).withTable { table, extra in
            amqp_basic_consume(state, amqp_channel_t(channel), extra[0], extra[1], 0, 0, isExclusive ? 1 : 0, table)
        }
        try check("consuming queue '\(queue)'", channel)
    }

    func cancel(_ tag: String, on channel: Int) throws(AMQPError) {
        _ = withAMQPBytes([tag]) { texts in amqp_basic_cancel(state, amqp_channel_t(channel), texts[0]) }
        try check("ending a consumer", channel)
    }

    /// The first message of a queue, which is ours until it is settled; nil when it is empty.
    package func get(_ queue: String, on channel: Int) throws(AMQPError) -> AMQPDelivery? {
        let reply = withAMQPBytes([queue]) { texts in amqp_basic_get(state, amqp_channel_t(channel), texts[0], 0) }
        guard reply.reply_type == AMQP_RESPONSE_NORMAL else {
            try check("queue '\(queue)'", channel)
            throw AMQPError(.other, "queue '\(queue)' cannot be read")
        }
        guard reply.reply.id != iii_amqp_basic_get_empty, let decoded = reply.reply.decoded else { return nil }
        let found = decoded.assumingMemoryBound(to: amqp_basic_get_ok_t.self).pointee
        let message = try readMessage(channel)
        return AMQPDelivery(
            channel: channel, tag: found.delivery_tag, isRedelivered: found.redelivered != 0, message: message,
            behind: Int(found.message_count))
    }

    private func readMessage(_ channel: Int) throws(AMQPError) -> AMQPMessage {
        var message = amqp_message_t()
        let reply = amqp_read_message(state, amqp_channel_t(channel), &message, 0)
        guard reply.reply_type == AMQP_RESPONSE_NORMAL else {
            isBroken = true
            throw Self.failure(reply.library_error, "reading a message", settings)
        }
        defer { amqp_destroy_message(&message) }
        return AMQPMessage(message.properties, body: message.body)
    }

    // MARK: Calls without an answer

    package func publish(
        _ message: AMQPMessage, to exchange: String, key: String, isMandatory: Bool, on channel: Int
    ) throws(AMQPError) {
        let result = message.withProperties { properties in
            message.body.withUnsafeBytes { memory in
                withAMQPBytes([exchange, key]) { texts in
                    amqp_basic_publish(
                        state, amqp_channel_t(channel), texts[0], texts[1], isMandatory ? 1 : 0, 0, properties,
                        amqp_bytes_t(len: memory.count, bytes: memory.baseAddress.map { UnsafeMutableRawPointer(mutating: $0) }))
                }
            }
        }
        try status(result, "publishing to '\(exchange)'")
    }

    package func acknowledge(_ tag: UInt64, isMultiple: Bool = false, on channel: Int) throws(AMQPError) {
        try status(amqp_basic_ack(state, amqp_channel_t(channel), tag, isMultiple ? 1 : 0), "acknowledging")
    }

    /// Back to where it was in its queue.
    package func giveBack(_ tag: UInt64, on channel: Int) throws(AMQPError) {
        try status(amqp_basic_nack(state, amqp_channel_t(channel), tag, 0, 1), "giving back")
    }

    /// The same for everything that is not settled on the channel.
    package func giveBackAll(on channel: Int) throws(AMQPError) {
        try status(amqp_basic_nack(state, amqp_channel_t(channel), 0, 1, 1), "giving back")
    }

    // MARK: What comes by itself

    /// Whether something can be read without waiting for the socket.
    var hasBuffered: Bool { amqp_frames_enqueued(state) != 0 || amqp_data_in_buffer(state) != 0 }

    func releaseBuffers() { amqp_maybe_release_buffers(state) }

    /// What comes next, within so many milliseconds; also sends and expects heartbeats.
    func next(within milliseconds: Int) throws(AMQPError) -> AMQPEvent? {
        var timeout = Self.time(milliseconds)
        var frame = amqp_frame_t()
        let result = amqp_simple_wait_frame_noblock(state, &frame, &timeout)
        if result == AMQP_STATUS_TIMEOUT.rawValue { return nil }
        try status(result, "the connection to RabbitMQ")
        guard frame.frame_type == 1, let decoded = frame.payload.method.decoded else { return nil }
        let channel = Int(frame.channel)
        switch frame.payload.method.id {
        case iii_amqp_basic_deliver:
            let delivery = decoded.assumingMemoryBound(to: amqp_basic_deliver_t.self).pointee
            let message = try readMessage(channel)
            return .delivered(
                AMQPDelivery(channel: channel, tag: delivery.delivery_tag, isRedelivered: delivery.redelivered != 0, message: message))
        case iii_amqp_basic_ack:
            let ack = decoded.assumingMemoryBound(to: amqp_basic_ack_t.self).pointee
            return .acknowledged(ack.delivery_tag, isMultiple: ack.multiple != 0)
        case iii_amqp_basic_nack:
            let nack = decoded.assumingMemoryBound(to: amqp_basic_nack_t.self).pointee
            return .refused(nack.delivery_tag, isMultiple: nack.multiple != 0)
        case iii_amqp_basic_return:
            let back = decoded.assumingMemoryBound(to: amqp_basic_return_t.self).pointee
            let reason = "\(back.reply_text.text) (exchange '\(back.exchange.text)', key '\(back.routing_key.text)')"
            return .returned(try readMessage(channel), reason: reason)
        case iii_amqp_basic_cancel: return .cancelled(channel: channel)
        case iii_amqp_channel_close:
            let close = decoded.assumingMemoryBound(to: amqp_channel_close_t.self).pointee
            let error = AMQPError(replyCode: Int(close.reply_code), text: close.reply_text.text, "RabbitMQ closed a channel")
            closeOK(channel)
            return .channelClosed(channel, error)
        case iii_amqp_connection_close:
            let close = decoded.assumingMemoryBound(to: amqp_connection_close_t.self).pointee
            let error = AMQPError(replyCode: Int(close.reply_code), text: close.reply_text.text, "RabbitMQ closed the connection")
            var answer = amqp_connection_close_ok_t()
            _ = amqp_send_method(state, 0, iii_amqp_connection_close_ok, &answer)
            isBroken = true
            throw error
        case iii_amqp_connection_blocked:
            return .blocked(decoded.assumingMemoryBound(to: amqp_connection_blocked_t.self).pointee.reason.text)
        case iii_amqp_connection_unblocked: return .unblocked
        default: return nil
        }
    }
}
