import Glibc
import IIIConfiguration
import IIIProtocol
import IIISettings

/// Asks the programs of `core_worker: true` entries whether they would accept their `config` (`--check-configuration`): only they
/// know its keys.
enum CoreWorkerCheck {
    /// How long one program may take. It only reads and judges.
    private static let limit = Duration.seconds(10)

    /// What the programs object to, at the line of each entry's `config`.
    static func problems(of plan: FleetPlan) -> [ConfigurationProblem] {
        plan.children.filter(\.entry.checksItsConfig).compactMap { child in
            objection(of: child).map { text in
                let line = child.entry.configLine > 0 ? child.entry.configLine : child.entry.line
                return ConfigurationProblem(line: line, message: "\(child.name).config: \(text)")
            }
        }
    }

    private static func objection(of child: ChildSpecification) -> String? {
        guard case .executable(let path, let arguments) = child.program else { return nil }
        guard let input = tmpfile(), let output = tmpfile() else { return "cannot be checked: \(String(cString: strerror(errno)))" }
        defer {
            fclose(input)
            fclose(output)
        }
        let config = (child.entry.config ?? .null).bytes
        fwrite(config, 1, config.count, input)
        rewind(input)
        let status: CInt
        switch run([path] + withFlag(arguments, of: path), input: fileno(input), output: fileno(output)) {
        case .ended(let result): status = result
        case .failed(let reason): return "cannot be checked: \(reason)"
        }
        guard status != 0 else { return nil }
        rewind(output)
        var text = [UInt8](repeating: 0, count: 4096)
        let length = fread(&text, 1, text.count, output)
        let words = String(decoding: text.prefix(length), as: UTF8.self).split(whereSeparator: \.isNewline).joined(separator: "; ")
        return words.isEmpty ? "refused by \(path) (exit status \(status >> 8 & 0xFF))" : words
    }

    /// A command line is one word for the shell.
    private static func withFlag(_ arguments: [String], of path: String) -> [String] {
        let flag = "--check-configuration"
        guard path == "/bin/sh", arguments.count == 2, arguments[0] == "-c" else { return arguments + [flag] }
        return ["-c", arguments[1] + " " + flag]
    }

    private enum Run {
        case ended(CInt)
        case failed(String)
    }

    private static func run(_ words: [String], input: CInt, output: CInt) -> Run {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var process: pid_t = 0
        let result = posix_spawn(&process, words[0], &actions, nil, &pointers, environ)
        guard result == 0 else { return .failed(String(cString: strerror(result))) }
        let end = ContinuousClock.now + limit
        while true {
            var status: CInt = 0
            if waitpid(process, &status, WNOHANG) == process { return .ended(status) }
            if ContinuousClock.now > end {
                kill(process, SIGKILL)
                waitpid(process, &status, 0)
                return .failed("no answer to --check-configuration within \(limit); is it built on IIIWorker's CoreWorkerProcess.main?")
            }
            usleep(5_000)
        }
    }
}
