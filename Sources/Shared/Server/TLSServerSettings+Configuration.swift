import IIIProtocol
import IIITLS

extension TLSServerSettings {
    /// The `tls` block of a listener's configuration; nil without one. The files themselves are looked at by `TLSServerContext`.
    package init?(config: JSONValue?) throws(TLSFailure) {
        guard let config, !config.isNull else { return nil }
        guard let members = config.object else { throw TLSFailure("tls must be a map") }
        if let unknown = members.keys.filter({ !Self.keys.contains($0) }).min() { throw TLSFailure("tls.\(unknown) is not a known key") }
        func text(_ key: String) throws(TLSFailure) -> String? {
            guard let value = members[key], !value.isNull else { return nil }
            guard let text = value.string, !text.isEmpty else { throw TLSFailure("tls.\(key) must be a text") }
            return text
        }
        guard let certificate = try text("cert_file") else { throw TLSFailure("tls.cert_file is missing") }
        guard let key = try text("key_file") else { throw TLSFailure("tls.key_file is missing") }
        self.init(certificateFile: certificate, privateKeyFile: key)
        if let version = members["min_version"], !version.isNull {
            // Unquoted in YAML it is a number.
            guard let known = Version(rawValue: version.string ?? version.number.map { "\($0)" } ?? "") else {
                throw TLSFailure("tls.min_version must be \"1.2\" or \"1.3\"")
            }
            minimumVersion = known
        }
        clientAuthorityFile = try text("client_ca_file")
        passwordVariable = try text("key_password_env")
    }

    private static let keys: Set<String> = ["cert_file", "key_file", "min_version", "client_ca_file", "key_password_env"]
}
