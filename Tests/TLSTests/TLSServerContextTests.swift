import Foundation
import Testing

@testable import IIITLS

@Suite struct TLSServerContextTests {
    private func failure(_ settings: TLSServerSettings, _ environment: [String: String] = [:]) -> String {
        do {
            _ = try TLSServerContext(settings) { environment[$0] }
            return ""
        } catch { return error.description }
    }

    @Test func goodFilesAreLoaded() throws {
        let context = try TLSServerContext(try TestCertificates.settings(), environment: { _ in nil })
        #expect(context.warnings.isEmpty && (28...30).contains(context.remainingDays))
    }

    @Test func errorsNameFileAndCure() throws {
        let files = try TestCertificates.shared.get()
        #expect(failure(files.settings("gone.pem")).contains("tls.cert_file '\(files.path("gone.pem"))' cannot be read: No such file"))
        #expect(failure(files.settings("server.pem", "gone.key")).contains("tls.key_file"))
        #expect(failure(files.settings("text.pem")).contains("is not a usable certificate in PEM form"))
        #expect(failure(files.settings("server.pem", "text.pem")).contains("is not a private key in PEM form"))
        #expect(failure(files.settings("server.pem", "other.key")).contains("does not belong to the first certificate"))
        var relative = files.settings()
        relative.certificateFile = "gone.pem"
        #expect(failure(relative).contains("taken from the working directory, \(FileManager.default.currentDirectoryPath)"))
        var clients = files.settings()
        clients.clientAuthorityFile = files.path("text.pem")
        #expect(failure(clients).contains("tls.client_ca_file"))
    }

    @Test func encryptedKeysNeedTheirPassword() throws {
        var settings = try TestCertificates.settings("server.pem", "locked.key")
        #expect(failure(settings).contains("is encrypted; name the environment variable with its password in tls.key_password_env"))
        settings.passwordVariable = "WORD"
        #expect(failure(settings).contains("the environment variable WORD is not set"))
        #expect(failure(settings, ["WORD": "wrong"]).contains("is not opened by the password in WORD"))
        #expect(failure(settings, ["WORD": "opensesame"]).isEmpty)
    }

    @Test func anExpiredCertificateIsWarnedAbout() throws {
        let context = try TLSServerContext(try TestCertificates.settings("old.pem"), environment: { _ in nil })
        #expect(context.remainingDays < 0)
        #expect(context.warnings.count == 1 && context.warnings[0].contains("has expired"))
    }

    @Test func stampsTellWhetherAFileHasChanged() throws {
        let files = try TestCertificates.shared.get()
        let path = files.path("stamp-\(UUID().uuidString).pem")
        let settings = TLSServerSettings(certificateFile: path, privateKeyFile: files.path("server.key"))
        let before = TLSFileStamps(settings)
        #expect(before == TLSFileStamps(settings))
        try "one".write(toFile: path, atomically: true, encoding: .utf8)
        let first = TLSFileStamps(settings)
        #expect(first != before)
        try "two".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(TLSFileStamps(settings) != first)
    }
}
