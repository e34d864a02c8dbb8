import IIIProtocol

/// Keys of `iii-exec`: user processes under the supervisor. `exec` and `watch` are the reference's. Read by `ExecPipeline`.
package enum ExecSettings {
    package struct Command: Sendable, Equatable {
        package var line: String
        package var name: String?
        package var directory: String?
        package var environment: [String: String] = [:]
    }

    package static let commands = Setting<[Command]>(
        required: "exec",
        .list(.oneOf(SettingType.text.map { Command(line: $0) }, .object(CommandSettings.group, CommandSettings.command))),
        example: ["npm run build", "node dist/worker.js"],
        "Shell commands. All but the last must end with 0 before the next one starts; the last one is supervised.")
    package static let watch = Setting<[String]?>(
        "watch", .list(.text), absent: "nothing", example: ["src/**/*.ts"],
        "Globs (`*`, `?`, `**`, `{a,b}`, leading `!`); a change of a matching file runs the commands again.")
    package static let ignored = Setting<[String]>(
        "ignore", .list(.text), default: [".git", "node_modules", "target", ".build"], "Files and directories that are never looked into.")

    package static let group = SettingGroup(change: .restart) {
        commands
        watch
        ignored
        SettingRule("`exec` needs at least one command.") { values in
            values[commands].isEmpty ? [.problem("exec", message: "the list needs at least one command")] : []
        }
    }

    enum CommandSettings {
        static let command = Setting(required: "command", .text, example: "node worker.js", "Line for the shell.")
        static let name = Setting("name", .text, absent: "the entry's name", example: "orders", "Name in the log.")
        static let directory = Setting("cwd", .text, absent: "that of `iii-core up`", example: "services/orders", "Working directory.")
        static let environment = Setting<[String: String]>("env", .environment, default: [:], "Additional environment.")

        static let group = SettingGroup {
            command
            name
            directory
            environment
            EnvironmentRule.names(of: environment)
        }

        @Sendable static func command(_ values: SettingValues) -> Command {
            Command(line: values[command], name: values[name], directory: values[directory], environment: values[environment])
        }
    }
}

/// What holds for the names under an `env` key.
package enum EnvironmentRule {
    /// Set by the core for each of its children, whatever a file says.
    package static let reserved = ["III_URL", "III_ENGINE_URL", "III_ENTRY_NAME", "III_SPAWN_ID", "III_ENGINE_PID", "III_LIFELINE_FD"]

    package static func names(of setting: Setting<[String: String]>) -> SettingRule {
        SettingRule(
            "Names of environment variables are not empty and hold no `=`; \(reserved.map { "`\($0)`" }.joined(separator: ", ")) are set by the core."
        ) {
            values in
            values[setting].keys.sorted().compactMap { name in
                if name.isEmpty || name.contains("=") {
                    return .problem(setting.declaration.key, name, message: "no name of an environment variable: it is empty or holds `=`")
                }
                return reserved.contains(name)
                    ? .warning(setting.declaration.key, name, message: "has no effect: the core sets it") : nil
            }
        }
    }
}

extension SettingType where Value == [String: String] {
    /// Names and values for a child's environment: text as it is written, the empty text for null.
    package static var environment: Self {
        .map(of: SettingType<String?>.nullable(.text(.anything)).map { $0 ?? "" })
    }
}
