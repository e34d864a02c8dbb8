import COpenSSL

/// The error queue of OpenSSL, which belongs to the thread and not to a connection.
enum OpenSSLErrors {
    /// Empties the queue. Before every `SSL_*` call whose result is asked for: what another connection left would be taken for its own.
    static func clear() { ERR_clear_error() }

    /// Empties the queue into a short text, root cause first; nil when it was empty.
    static func drain() -> String? {
        var reasons: [String] = []
        while true {
            let code = ERR_get_error()
            guard code != 0 else { break }
            let reason = ERR_reason_error_string(code).map { String(cString: $0) } ?? "OpenSSL error \(String(code, radix: 16))"
            if reasons.count < maximumReasons, !reasons.contains(reason) { reasons.append(reason) }
        }
        return reasons.isEmpty ? nil : reasons.joined(separator: ", ")
    }

    private static let maximumReasons = 3
}
