import Glibc

/// Finds programs: our own beside the running executable, the user's by path or in `PATH`.
package struct ExecutableLookup: Sendable {
    /// Directory of `iii-core`.
    package var directory: String
    package var searchPath: String
    package var isExecutable: @Sendable (String) -> Bool

    package init(directory: String, searchPath: String, isExecutable: @escaping @Sendable (String) -> Bool) {
        self.directory = directory
        self.searchPath = searchPath
        self.isExecutable = isExecutable
    }

    /// The real file system; the directory is that of this process's executable, links resolved.
    package static func system(environment: [String: String]) -> ExecutableLookup {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        let directory = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        return ExecutableLookup(directory: directory, searchPath: environment["PATH"] ?? "/usr/bin:/bin") { candidate in
            var status = stat()
            return stat(candidate, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(candidate, X_OK) == 0
        }
    }

    package func builtIn(_ name: String) -> String { directory + "/" + name }

    /// The names of those of our executables that exist in this build.
    package func available(among names: some Sequence<String>) -> Set<String> {
        Set(names.filter { isExecutable(builtIn($0)) })
    }

    /// Full path for a user's program; nil when there is none.
    package func find(_ program: String) -> String? {
        if program.utf8.contains(UInt8(ascii: "/")) { return isExecutable(program) ? program : nil }
        return searchPath.split(separator: ":").map { "\($0)/\(program)" }.first(where: isExecutable)
    }
}
