import ArgumentParser
import Glibc
import IIIProtocol
import IIISupervision

/// The version of this engine: of its executables, and of what `${…:__III_ENGINE_VERSION__}` becomes.
let engineVersion = "0.1.0"

/// `iii-core`: the engine and its fleet, and the commands that talk to a running one.
@main
struct IIICore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-core", abstract: "A backend runtime of workers, functions and triggers.",
        subcommands: [
            Up.self, PS.self, Status.self, Restart.self, Stop.self, Start.self, Reset.self, Logs.self, Metrics.self, Reload.self,
            Config.self,
            Trigger.self, StoreCommand.self,
            Version.self,
        ],
        defaultSubcommand: Up.self)

    static func main() async {
        // `-v` and `--version` win over subcommands, except inside a trigger's arguments.
        let words = CommandLine.arguments.dropFirst()
        if words.prefix(while: { $0 != "trigger" && $0 != "t" }).contains(where: { $0 == "-v" || $0 == "--version" }) {
            print(engineVersion)
            return
        }
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand { try await command.run() } else { try command.run() }
        } catch {
            let code = exitCode(for: error)
            if let exit = error as? ExitCode { Glibc.exit(exit.rawValue) }
            // Help goes to stdout and is no error; a wrong command line is 2 as with other engines of this protocol.
            guard code != .success else { exit(withError: error) }
            ControlCommands.write(fullMessage(for: error), to: 2)
            Glibc.exit((error is CleanExit ? ExitStatus.done : .usage).rawValue)
        }
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints the version.")
    func run() { print(engineVersion) }
}
