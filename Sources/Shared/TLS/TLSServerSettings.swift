import IIISettings

/// What a TLS listener is made of. Paths are taken from the working directory of the process unless they begin with a slash.
package struct TLSServerSettings: Sendable, Equatable {
    package typealias Version = TLSVersion

    /// PEM: the server's certificate, then those between it and the authority.
    package var certificateFile: String
    /// PEM: the private key of the first certificate.
    package var privateKeyFile: String
    package var minimumVersion: Version
    /// PEM: authorities, one of which must have signed every client's certificate; nil = clients show none.
    package var clientAuthorityFile: String?
    /// Name of the environment variable with the password of the key; nil = the key is not encrypted.
    package var passwordVariable: String?

    package init(
        certificateFile: String, privateKeyFile: String, minimumVersion: Version = .tls12, clientAuthorityFile: String? = nil,
        passwordVariable: String? = nil
    ) {
        self.certificateFile = certificateFile
        self.privateKeyFile = privateKeyFile
        self.minimumVersion = minimumVersion
        self.clientAuthorityFile = clientAuthorityFile
        self.passwordVariable = passwordVariable
    }

    /// From a checked `tls` map.
    package init(_ values: SettingValues) {
        self.init(
            certificateFile: values[TLSSettings.certificateFile], privateKeyFile: values[TLSSettings.keyFile],
            minimumVersion: values[TLSSettings.minimumVersion], clientAuthorityFile: values[TLSSettings.clientAuthorityFile],
            passwordVariable: values[TLSSettings.passwordVariable])
    }

    /// Key of the configuration and path of each file.
    var files: [(key: String, path: String)] {
        [("tls.cert_file", certificateFile), ("tls.key_file", privateKeyFile)]
            + (clientAuthorityFile.map { [("tls.client_ca_file", $0)] } ?? [])
    }
}

/// Why something of TLS cannot be used: names what and the cure.
package struct TLSFailure: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}
