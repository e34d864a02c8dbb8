import COpenSSL
import Glibc

/// Certificate, key and rules of a TLS listener, loaded and checked; any number of connections share it.
///
/// Immutable once made, and OpenSSL counts its users itself, so it may be handed between threads. A connection that began with
/// it keeps it alive. Rules: TLS 1.2 with ECDHE and AEAD only, and 1.3; security level 2 (RSA of 2048 bits at least).
package final class TLSServerContext: @unchecked Sendable {
    package let settings: TLSServerSettings
    /// As the files were just before they were read.
    package let stamps: TLSFileStamps
    /// Worth a WARN line; e.g. that the certificate has expired.
    package let warnings: [String]
    /// Whole days until the certificate expires, as of the loading; negative after that.
    package let remainingDays: Int
    let pointer: OpaquePointer

    /// Reads the files. `environment` is asked for the password of an encrypted key. Blocks for as long as the disk takes.
    package init(_ settings: TLSServerSettings, environment: (String) -> String?) throws(TLSFailure) {
        self.settings = settings
        stamps = TLSFileStamps(settings)
        for file in settings.files { try Self.checkReadable(file.path, key: file.key) }
        OpenSSLErrors.clear()
        guard let context = iii_tls_server_context(settings.minimumVersion == .tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) else {
            throw TLSFailure("OpenSSL cannot serve TLS: \(OpenSSLErrors.drain() ?? "out of memory")")
        }
        do {
            try Self.loadCertificate(settings, into: context)
            try Self.loadKey(settings, environment, into: context)
            if let path = settings.clientAuthorityFile { try Self.requireClientCertificates(path, in: context) }
        } catch {
            SSL_CTX_free(context)
            throw error
        }
        pointer = context
        let validity = Self.validity(of: context)
        remainingDays = validity.days
        warnings = validity.warning.map { ["tls.cert_file '\(settings.certificateFile)': \($0)"] } ?? []
    }

    /// The same by now.
    package var daysLeft: Int { Self.validity(of: pointer).days }

    deinit { SSL_CTX_free(pointer) }

    private static func checkReadable(_ path: String, key: String) throws(TLSFailure) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor < 0 else {
            close(descriptor)
            return
        }
        throw unreadable(path, key: key, code: errno)
    }

    /// What to say of a file that `open` refused with `code`.
    static func unreadable(_ path: String, key: String, code: CInt) -> TLSFailure {
        let reason = String(cString: strerror(code))
        let cure: String
        if code == ENOENT, !path.hasPrefix("/"), let directory = getcwd(nil, 0) {
            cure = "relative paths are taken from the working directory, \(String(cString: directory))"
            free(directory)
        } else {
            cure = code == EACCES ? "let user id \(geteuid()) read it" : "name a file that exists"
        }
        return TLSFailure("\(key) '\(path)' cannot be read: \(reason); \(cure)")
    }

    private static func loadCertificate(_ settings: TLSServerSettings, into context: OpaquePointer) throws(TLSFailure) {
        OpenSSLErrors.clear()
        guard SSL_CTX_use_certificate_chain_file(context, settings.certificateFile) != 1 else { return }
        let reason = OpenSSLErrors.drain() ?? "unknown reason"
        throw TLSFailure("tls.cert_file '\(settings.certificateFile)' is not a usable certificate in PEM form: \(reason)")
    }

    private static func loadKey(
        _ settings: TLSServerSettings, _ environment: (String) -> String?, into context: OpaquePointer
    ) throws(TLSFailure) {
        let name = "tls.key_file '\(settings.privateKeyFile)'"
        var secret: String?
        if let variable = settings.passwordVariable {
            guard let value = environment(variable), !value.isEmpty else {
                throw TLSFailure("tls.key_password_env: the environment variable \(variable) is not set; give it the password of \(name)")
            }
            secret = value
        }
        OpenSSLErrors.clear()
        guard let source = BIO_new_file(settings.privateKeyFile, "r") else {
            throw TLSFailure("\(name) cannot be read: \(OpenSSLErrors.drain() ?? "unknown reason")")
        }
        defer { BIO_free(source) }
        let (key, wasAsked) = readKey(source, secret)
        guard let key else {
            let reason = OpenSSLErrors.drain() ?? "unknown reason"
            if wasAsked, secret == nil {
                throw TLSFailure("\(name) is encrypted; name the environment variable with its password in tls.key_password_env")
            }
            if wasAsked, let variable = settings.passwordVariable {
                throw TLSFailure("\(name) is not opened by the password in \(variable): \(reason)")
            }
            throw TLSFailure("\(name) is not a private key in PEM form: \(reason)")
        }
        defer { EVP_PKEY_free(key) }
        guard let certificate = SSL_CTX_get0_certificate(context), X509_check_private_key(certificate, key) == 1 else {
            OpenSSLErrors.clear()
            throw TLSFailure(
                "\(name) does not belong to the first certificate of tls.cert_file '\(settings.certificateFile)'; "
                    + "put the server's certificate first, and its own key beside it")
        }
        guard SSL_CTX_use_PrivateKey(context, key) == 1 else {
            throw TLSFailure("\(name) cannot be used: \(OpenSSLErrors.drain() ?? "unknown reason")")
        }
    }

    private static func readKey(_ source: OpaquePointer, _ secret: String?) -> (key: OpaquePointer?, wasAsked: Bool) {
        func read(_ text: UnsafePointer<CChar>?) -> (OpaquePointer?, Bool) {
            var password = iii_key_password(text: text, was_asked: 0)
            let key = iii_read_private_key(source, &password)
            return (key, password.was_asked == 1)
        }
        guard let secret else { return read(nil) }
        return secret.withCString { read($0) }
    }

    private static func requireClientCertificates(_ path: String, in context: OpaquePointer) throws(TLSFailure) {
        OpenSSLErrors.clear()
        guard SSL_CTX_load_verify_file(context, path) == 1, let names = SSL_load_client_CA_file(path) else {
            let reason = OpenSSLErrors.drain() ?? "unknown reason"
            throw TLSFailure("tls.client_ca_file '\(path)' holds no usable certificate in PEM form: \(reason)")
        }
        iii_tls_require_client_certificate(context, names)
    }

    private static func validity(of context: OpaquePointer) -> (days: Int, warning: String?) {
        guard let certificate = SSL_CTX_get0_certificate(context) else { return (0, nil) }
        var days: CInt = 0
        var seconds: CInt = 0
        guard ASN1_TIME_diff(&days, &seconds, nil, X509_get0_notAfter(certificate)) == 1 else {
            return (0, "its time of expiry is unreadable")
        }
        let remaining = Int(days)
        if days < 0 || seconds < 0 { return (min(remaining, -1), "the certificate has expired; clients will refuse it") }
        if X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0 {
            return (remaining, "the certificate is not valid yet; clients will refuse it")
        }
        return (remaining, nil)
    }
}
