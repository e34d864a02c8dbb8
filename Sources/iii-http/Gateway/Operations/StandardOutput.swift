import Glibc

/// Lines that are data, such as the JSON access log, beside the log on standard error.
enum StandardOutput {
    /// One `write(2)` per line; a failed one is not repeated, as for the log.
    static func writeLine(_ line: [UInt8]) {
        line.withUnsafeBytes { _ = write(STDOUT_FILENO, $0.baseAddress, $0.count) }
    }
}
