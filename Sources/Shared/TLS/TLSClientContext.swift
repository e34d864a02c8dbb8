import COpenSSL
import Glibc

/// The rules of TLS connections to servers: TLS 1.2 and 1.3, certificates verified. Shared by any number of connections.
///
/// Immutable once made, and OpenSSL counts its users itself, so it may be handed between threads.
package final class TLSClientContext: @unchecked Sendable {
    let pointer: OpaquePointer

    /// `authorityFile`: PEM, the authorities that are trusted; nil = those of the system. Blocks for as long as the disk takes.
    package init(authorityFile: String? = nil) throws(TLSFailure) {
        if let authorityFile, access(authorityFile, R_OK) != 0 {
            throw TLSServerContext.unreadable(authorityFile, key: "the file of authorities", code: errno)
        }
        OpenSSLErrors.clear()
        guard let context = iii_tls_client_context(authorityFile) else {
            let reason = OpenSSLErrors.drain() ?? "out of memory"
            throw TLSFailure(authorityFile.map { "'\($0)' holds no usable certificate in PEM form: \(reason)" } ?? reason)
        }
        pointer = context
    }

    deinit { SSL_CTX_free(pointer) }
}
