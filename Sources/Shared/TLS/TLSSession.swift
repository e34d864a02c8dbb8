import COpenSSL
import NIOCore

/// One TLS connection without its socket: bytes go in and come out, nothing waits and nothing is sent from here.
///
/// `receive` takes all it is given, so no ciphertext is kept but the part of a record that OpenSSL waits to complete (16 KiB at
/// most). After every call `takeOutput` may have bytes for the peer:
/// handshake, tickets, alerts. Confined to one thread at a time.
package final class TLSSession {
    /// Longest piece of plaintext in one record (RFC 8446 §5.1).
    package static let recordBytes = 16 * 1024
    /// What a record adds to its plaintext at the most, in bytes.
    private static let recordOverhead = 64

    /// How far `receive` came.
    package enum Outcome: Equatable {
        /// All input is used up.
        case needsMore
        /// The peer has said that it sends nothing more (close_notify).
        case closed
        /// The connection is unusable; the output may hold an alert.
        case failed(String)
    }

    private let connection: OpaquePointer
    private let wire = TLSWire()
    package private(set) var isEstablished = false
    private var hasFailed = false
    private var hasSentCloseNotify = false

    /// The server's side. Throws when OpenSSL has no memory for it.
    package convenience init(server context: TLSServerContext) throws(TLSFailure) {
        guard let connection = SSL_new(context.pointer) else { throw TLSFailure(OpenSSLErrors.drain() ?? "OpenSSL is out of memory") }
        SSL_set_accept_state(connection)
        try self.init(taking: connection)
    }

    /// The client's side towards `host`. Its name is verified against the certificate unless `verifiesHost` is false.
    package convenience init(client context: TLSClientContext, host: String, verifiesHost: Bool = true) throws(TLSFailure) {
        guard let connection = SSL_new(context.pointer) else { throw TLSFailure(OpenSSLErrors.drain() ?? "OpenSSL is out of memory") }
        SSL_set_connect_state(connection)
        // An address is no name to ask for (RFC 6066 §3).
        let isAddress = host.contains(":") || host.allSatisfy { $0.isNumber || $0 == "." }
        let isNamed = isAddress || iii_tls_name_host(connection, host) == 1
        guard isNamed, !verifiesHost || iii_tls_expect_host(connection, host) == 1 else {
            SSL_free(connection)
            throw TLSFailure("'\(host)' cannot be the name of a TLS server: \(OpenSSLErrors.drain() ?? "unknown reason")")
        }
        try self.init(taking: connection)
    }

    /// Why the peer's certificate is not accepted; nil if it is, or has not been seen.
    package var verificationFailure: String? {
        let result = SSL_get_verify_result(connection)
        return result == Int(X509_V_OK) ? nil : String(cString: X509_verify_cert_error_string(result))
    }

    /// Takes over an `SSL` that knows whether it accepts or connects.
    init(taking connection: OpaquePointer) throws(TLSFailure) {
        self.connection = connection
        guard let bio = wire.makeBIO() else {
            SSL_free(connection)
            throw TLSFailure(OpenSSLErrors.drain() ?? "OpenSSL is out of memory")
        }
        // One BIO for both directions; the connection owns it from here on.
        SSL_set_bio(connection, bio, bio)
    }

    deinit { SSL_free(connection) }

    // MARK: Facts

    /// The handshake was shortened by a ticket.
    package var wasResumed: Bool { SSL_session_reused(connection) == 1 }

    /// `TLSv1.3`, once established.
    package var version: String { SSL_get_version(connection).map { String(cString: $0) } ?? "" }

    // MARK: Input

    /// Decrypts `bytes`, appending what they hold to `plaintext`; until the handshake is over they serve that first.
    package func receive(_ bytes: UnsafeRawBufferPointer, into plaintext: inout ByteBuffer) -> Outcome {
        guard !hasFailed else { return .failed("used after a failure") }
        wire.input = bytes
        defer { wire.input = UnsafeRawBufferPointer(start: nil, count: 0) }
        if !isEstablished {
            OpenSSLErrors.clear()
            let result = SSL_do_handshake(connection)
            guard result == 1 else { return outcome(of: result) }
            isEstablished = true
        }
        while true {
            // A record may be longer than what is left of the input: its beginning came earlier.
            let available = max(wire.input.count, Int(SSL_pending(connection)))
            guard available > 0 else { return .needsMore }
            OpenSSLErrors.clear()
            var result: CInt = 0
            let room = max(available, Self.recordOverhead)
            plaintext.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { target in
                var count = 0
                result = SSL_read_ex(connection, target.baseAddress, target.count, &count)
                return result == 1 ? count : 0
            }
            if result != 1 { return outcome(of: result) }
        }
    }

    /// The client's first step; a server waits for it.
    func startHandshake() -> Outcome {
        var nothing = ByteBuffer()
        return receive(UnsafeRawBufferPointer(start: nil, count: 0), into: &nothing)
    }

    private func outcome(of result: CInt) -> Outcome {
        switch SSL_get_error(connection, result) {
        case SSL_ERROR_WANT_READ: return .needsMore
        case SSL_ERROR_ZERO_RETURN: return .closed
        default:
            hasFailed = true
            return .failed(OpenSSLErrors.drain() ?? "protocol error")
        }
    }

    // MARK: Output

    /// Bytes of ciphertext that wait to be sent.
    package var outputCount: Int { wire.output.readableBytes }

    /// Encrypts all of `plaintext` into the output, in records as large as may be. nil, or why it cannot be done.
    package func send(_ plaintext: ByteBuffer) -> String? {
        guard isEstablished, !hasFailed, !hasSentCloseNotify else { return "not open for sending" }
        let count = plaintext.readableBytes
        guard count > 0 else { return nil }
        wire.output.reserveCapacity(minimumWritableBytes: count + (count / Self.recordBytes + 1) * Self.recordOverhead)
        OpenSSLErrors.clear()
        var written = 0
        let result = plaintext.withUnsafeReadableBytes { SSL_write_ex(connection, $0.baseAddress, $0.count, &written) }
        // The wire takes everything, so less than all is a failure.
        if result == 1, written == count { return nil }
        hasFailed = true
        return OpenSSLErrors.drain() ?? "protocol error"
    }

    /// Says that nothing more will be sent. Reading goes on.
    package func sendCloseNotify() {
        guard isEstablished, !hasFailed, !hasSentCloseNotify else { return }
        hasSentCloseNotify = true
        OpenSSLErrors.clear()
        _ = SSL_shutdown(connection)
        OpenSSLErrors.clear()
    }

    /// Has the next `send` change our key and ask the peer to change its own (TLS 1.3).
    func requestKeyUpdate() { _ = SSL_key_update(connection, SSL_KEY_UPDATE_REQUESTED) }

    /// Takes the ciphertext that waits to be sent.
    package func takeOutput() -> ByteBuffer {
        defer { wire.output = ByteBuffer() }
        return wire.output
    }
}
