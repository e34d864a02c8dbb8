import CSupervision
import Glibc

/// What to execute, as the C shim wants it but in Swift types.
package struct SpawnRequest {
    package var path: String
    package var arguments: [String]
    package var environment: [String]
    package var directory: String?
    /// Descriptor to read from; nil: there is nothing to read.
    package var standardInput: Int32?
    /// Become descriptors 3, 4, … of the child.
    package var passed: [Int32] = []
    /// To be read once from one more descriptor, behind the passed ones.
    package var secret: String?
    package var parentDeathSignal: Int32 = SIGTERM
    /// Kill the whole group when the last passed descriptor, the lifeline, ends: for programs that do not watch it.
    package var isGuarded = false
    package var openFiles: Int?
    package var coreBytes = 0
    package var niceness = 0
}

/// A running child: its identity is the pidfd, so a recycled pid can never be signalled.
package struct SpawnedProcess {
    package var pid: pid_t
    package var pidfd: Int32
    /// Non-blocking read ends.
    package var standardOutput: Int32
    package var standardError: Int32
}

/// Why a process could not be started.
package struct SpawnError: Error, CustomStringConvertible {
    package var description: String
}

/// Starts processes. Call it only from a thread that lives as long as this process: the parent-death signal follows the thread.
package enum ProcessSpawner {
    package static func spawn(_ request: SpawnRequest) throws(SpawnError) -> SpawnedProcess {
        var output: [Int32] = [-1, -1]
        var errors: [Int32] = [-1, -1]
        guard csup_pipe(&output, 0) == 0 else { throw SpawnError(description: "no pipe for its output: \(text(errno))") }
        guard csup_pipe(&errors, 0) == 0 else {
            let cause = errno
            output.forEach { close($0) }
            throw SpawnError(description: "no pipe for its errors: \(text(cause))")
        }
        var request = request
        var secret: Int32 = -1
        if let text = request.secret {
            secret = Array(text.utf8).withUnsafeBytes { csup_secret($0.baseAddress, $0.count) }
            guard secret >= 0 else {
                let cause = errno
                (output + errors).forEach { close($0) }
                throw SpawnError(description: "no socket for its secret: \(self.text(cause))")
            }
            request.passed.append(secret)
        }
        let result = start(request, output[1], errors[1])
        if secret >= 0 { close(secret) }
        close(output[1])
        close(errors[1])
        guard result.error == 0 else {
            close(output[0])
            close(errors[0])
            throw SpawnError(description: explain(result, request))
        }
        _ = csup_set_nonblocking(output[0])
        _ = csup_set_nonblocking(errors[0])
        return SpawnedProcess(pid: result.pid, pidfd: result.pidfd, standardOutput: output[0], standardError: errors[0])
    }

    private static func start(_ request: SpawnRequest, _ output: Int32, _ errors: Int32) -> csup_spawn_result {
        var arguments: [UnsafeMutablePointer<CChar>?] = ([request.path] + request.arguments).map { strdup($0) }
        var environment: [UnsafeMutablePointer<CChar>?] = request.environment.map { strdup($0) }
        let directory = request.directory.map { strdup($0) } ?? nil
        defer {
            for pointer in arguments + environment { free(pointer) }
            free(directory)
        }
        let prefix = "LISTEN_PID="
        let placeholder = request.environment.firstIndex { $0.hasPrefix(prefix) }.flatMap { environment[$0] }.map { $0 + prefix.utf8.count }
        arguments.append(nil)
        environment.append(nil)
        return request.path.withCString { path in
            request.passed.withUnsafeBufferPointer { passed in
                arguments.withUnsafeBufferPointer { argv in
                    environment.withUnsafeBufferPointer { envp in
                        var raw = csup_spawn_request()
                        raw.path = path
                        raw.argv = argv.baseAddress
                        raw.envp = envp.baseAddress
                        raw.directory = directory.map { UnsafePointer($0) }
                        raw.standard_input = request.standardInput ?? 0
                        raw.standard_output = output
                        raw.standard_error = errors
                        raw.passed = passed.baseAddress
                        raw.passed_count = passed.count
                        raw.guarded = request.isGuarded ? 1 : 0
                        raw.pid_placeholder = placeholder
                        raw.pid_placeholder_size = placeholder.map { strlen($0) } ?? 0
                        raw.parent_death_signal = request.parentDeathSignal
                        raw.open_files = request.openFiles ?? 0
                        raw.core_bytes = request.coreBytes
                        raw.niceness = Int32(request.niceness)
                        return csup_spawn(&raw)
                    }
                }
            }
        }
    }

    private static func explain(_ result: csup_spawn_result, _ request: SpawnRequest) -> String {
        let cause = text(result.error)
        switch result.stage {
        case 5: return "cannot enter its directory '\(request.directory ?? ".")': \(cause)"
        case 7: return "cannot execute '\(request.path)': \(cause)"
        case 2: return "cannot fork: \(cause)"
        default: return "cannot start '\(request.path)' (stage \(result.stage)): \(cause)"
        }
    }

    package static func text(_ code: Int32) -> String { String(cString: strerror(code)) }
}
