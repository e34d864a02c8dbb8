import NIOCore

/// Which CORS headers go out (docs/reference/http.md#cors). A disallowed origin is never blocked here: only its headers are
/// withheld.
///
/// Without a `cors` entry everything is allowed. Where nothing depends on the request, the headers are one constant.
package struct CORSPolicy: Sendable, Equatable {
    /// nil = any origin.
    private let origins: [String]?
    private let exposesHeaders: Bool
    /// Lines that follow the allowed origin, in every response and in preflight answers.
    private let responseLines: String
    private let preflightLines: String
    /// nil = echo what the preflight asks for.
    private let allowedHeaders: String?
    private let constant: [UInt8]?

    private static let vary = "vary: origin, access-control-request-method, access-control-request-headers\r\n"

    /// The policy of a configuration without `cors`.
    package static let permissive = CORSPolicy(exposedHeaders: ["*"])

    /// Empty lists and an origin `*` mean "any". `allowsCredentials` makes sense with listed origins only: browsers refuse `*`.
    package init(
        allowedOrigins: [String] = [], allowedMethods: [String] = [], allowedHeaders: [String] = [], exposedHeaders: [String] = [],
        allowsCredentials: Bool = false, maximumAge: Int? = nil
    ) {
        let allowsAny = allowedOrigins.isEmpty || allowedOrigins.contains("*")
        origins = allowsAny ? nil : allowedOrigins
        exposesHeaders = !exposedHeaders.isEmpty
        self.allowedHeaders = allowedHeaders.isEmpty ? nil : allowedHeaders.joined(separator: ",")
        let credentials = allowsCredentials ? "access-control-allow-credentials: true\r\n" : ""
        let expose = exposedHeaders.isEmpty ? "" : "access-control-expose-headers: \(exposedHeaders.joined(separator: ","))\r\n"
        let methods = allowedMethods.isEmpty ? "*" : allowedMethods.joined(separator: ",")
        let age = maximumAge.map { "access-control-max-age: \($0)\r\n" } ?? ""
        responseLines = credentials + expose + Self.vary
        preflightLines = credentials + "access-control-allow-methods: \(methods)\r\n" + age + Self.vary
        constant = allowsAny ? Array("access-control-allow-origin: *\r\n\(responseLines)".utf8) : nil
    }

    /// Appends the header lines of every response that is not an answer to OPTIONS.
    func writeHeaders(origin: String?, to buffer: inout ByteBuffer) {
        if let constant {
            buffer.writeBytes(constant)
            return
        }
        writeAllowedOrigin(origin, to: &buffer)
        buffer.writeString(responseLines)
    }

    /// Appends the header lines of the gateway's own answer to OPTIONS.
    ///
    /// The requested headers are echoed, because `*` does not cover `Authorization` in browsers.
    func writePreflightHeaders(origin: String?, requestedHeaders: String?, to buffer: inout ByteBuffer) {
        writeAllowedOrigin(origin, to: &buffer)
        buffer.writeStaticString("access-control-allow-headers: ")
        if let allowedHeaders {
            buffer.writeString(allowedHeaders)
        } else if let requestedHeaders, !requestedHeaders.isEmpty, requestedHeaders.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
            buffer.writeString(requestedHeaders)
        } else {
            buffer.writeStaticString("*")
        }
        buffer.writeStaticString("\r\n")
        buffer.writeString(preflightLines)
    }

    /// Whether a handler's header of this lower-case name gives way to the policy's own.
    func overrides(_ name: UnsafeRawBufferPointer) -> Bool {
        switch name.count {
        case 27: ASCII.equals(name, "access-control-allow-origin")
        case 29: exposesHeaders && ASCII.equals(name, "access-control-expose-headers")
        default: false
        }
    }

    private func writeAllowedOrigin(_ origin: String?, to buffer: inout ByteBuffer) {
        guard let origins else {
            buffer.writeStaticString("access-control-allow-origin: *\r\n")
            return
        }
        guard let origin, origins.contains(origin) else { return }
        buffer.writeStaticString("access-control-allow-origin: ")
        buffer.writeString(origin)
        buffer.writeStaticString("\r\n")
    }
}
