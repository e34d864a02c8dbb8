/// How the gateway words its own errors (http.md §11). Bodies returned by handlers are never wrapped in either form.
package enum ErrorFormat: String, Sendable {
    /// `{"error":"…","error_id":"…"}`, as the baseline.
    case flat
    /// `{"error":{"code":"…","message":"…","error_id":"…"}}`.
    case envelope
}
