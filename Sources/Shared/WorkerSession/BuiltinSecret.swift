import Glibc

/// The secret by which the core recognises this process as one of its built-ins (docs/reference/core-workers.md#the-secret).
///
/// It comes on a descriptor that the core has passed (`III_BUILTIN_TOKEN_FD`), which is read to its end and closed, or under
/// systemd from a file (`III_BUILTIN_TOKEN_FILE`); never in the environment, which every process of the same user can read, nor
/// on the command line.
enum BuiltinSecret {
    private static let descriptorVariable = "III_BUILTIN_TOKEN_FD"
    private static let fileVariable = "III_BUILTIN_TOKEN_FILE"

    static func read() throws(ConfigurationError) -> String {
        if let text = environmentValue(descriptorVariable) {
            // Children of this process have no business with it.
            unsetenv(descriptorVariable)
            guard let descriptor = CInt(text), let secret = takeAll(descriptor), !secret.isEmpty else {
                throw ConfigurationError("\(descriptorVariable): descriptor '\(text)' holds no secret; it can be read once only")
            }
            return secret
        }
        if let path = environmentValue(fileVariable) {
            guard let secret = readSmallFile(path), !secret.isEmpty else {
                throw ConfigurationError("\(fileVariable): '\(path)' cannot be read or is empty: \(String(cString: strerror(errno)))")
            }
            return secret
        }
        throw ConfigurationError(
            "no built-in secret: start this executable through 'iii-core up', or set \(fileVariable) to the file the core reads too")
    }

    /// Reads to the end and closes; nil when that fails or there is more than a secret.
    private static func takeAll(_ descriptor: CInt) -> String? {
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4_096)
        var length = 0
        while length < bytes.count {
            let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress.map { $0 + length }, $0.count - length) }
            if count == 0 { return String(decoding: bytes[..<length], as: UTF8.self) }
            if count < 0 {
                guard errno == EINTR else { return nil }
                continue
            }
            length += count
        }
        return nil
    }
}
