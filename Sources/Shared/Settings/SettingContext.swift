import Glibc

/// What a check may ask of the machine, handed in so that a check itself does no I/O.
public struct SettingContext: Sendable {
    /// The value of an environment variable; nil when it is not set.
    public var environment: @Sendable (String) -> String?
    /// Why this process cannot read a file; nil when it can.
    public var unreadable: @Sendable (String) -> String?

    /// What is wrong with the files of a checked `tls` map beyond being unreadable; asked by checks of those who can tell.
    package var certificateProblem: @Sendable (SettingValues) -> String? = { _ in nil }

    /// Without arguments: no variable is set, every file can be read.
    public init(
        environment: @escaping @Sendable (String) -> String? = { _ in nil },
        unreadable: @escaping @Sendable (String) -> String? = { _ in nil }
    ) {
        self.environment = environment
        self.unreadable = unreadable
    }

    /// This process's own environment and files.
    public static let process = SettingContext(
        environment: { name in getenv(name).map { String(cString: $0) } },
        unreadable: { path in
            let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
            guard descriptor >= 0 else { return String(cString: strerror(errno)) }
            defer { close(descriptor) }
            var status = stat()
            return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR ? "it is a directory" : nil
        })
}
