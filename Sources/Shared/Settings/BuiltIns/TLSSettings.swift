/// Oldest version of TLS that is accepted.
package enum TLSVersion: String, Sendable, CaseIterable {
    case tls12 = "1.2"
    case tls13 = "1.3"
}

/// The `tls` map of a listener; absent, it speaks plain text.
package enum TLSSettings {
    package static let certificateFile = Setting(
        required: "cert_file", .text(.readableFile), example: "/etc/iii/server.pem",
        "PEM: the server's certificate, then the intermediate ones.")
    package static let keyFile = Setting(
        required: "key_file", .text(.readableFile), example: "/etc/iii/server.key", "PEM: the key of the first certificate.")
    package static let minimumVersion = Setting<TLSVersion>(
        "min_version", .choice, default: "1.2", "Oldest version of TLS that is accepted.")
    package static let clientAuthorityFile = Setting(
        "client_ca_file", .text(.readableFile), absent: "no client certificates", example: "/etc/iii/clients.pem",
        "PEM: mutual TLS; clients must show a certificate signed by one of these.")
    package static let passwordVariable = Setting(
        "key_password_env", .text(.variableName), absent: "the key is not encrypted", example: "TLS_KEY_PASSWORD",
        "Name of the variable that holds the password of an encrypted key.")

    package static let group = SettingGroup {
        certificateFile
        keyFile
        minimumVersion
        clientAuthorityFile
        passwordVariable
        SettingRule("The files hold a certificate in force, and the key that belongs to it.") { values in
            values.context.certificateProblem(values).map { [.problem(message: $0)] } ?? []
        }
    }
}
