import ArgumentParser
import IIIConfiguration
import IIIProtocol
import IIISettings
import IIISupervision
import IIITLS

struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Works on the configuration file.", subcommands: [Check.self, Example.self, Schema.self, Reference.self])

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the effective configuration, or everything wrong with it (exit 1).")
        @Option(name: [.short, .customLong("config")], help: "Configuration file.") var config = "config.yaml"

        func run() throws {
            let environment = processEnvironment()
            var context = SettingContext.process
            context.certificateProblem = { values in
                // The password may stand in the entry's own `env`, which is not looked at here.
                if let name = values[TLSSettings.passwordVariable], environment[name] == nil { return nil }
                do throws(TLSFailure) {
                    _ = try TLSServerContext(TLSServerSettings(values), environment: { environment[$0] })
                    return nil
                } catch { return error.description }
            }
            throw ExitCode(ConfigCheck.run(path: config, environment: environment, engineVersion: engineVersion, context: context))
        }
    }

    struct Example: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Prints a commented file with every key and its default.")
        @Argument(help: "Only this worker, e.g. iii-http.") var name: String?
        func run() throws {
            let lookup = ExecutableLookup.system(environment: processEnvironment())
            let type = try name.map(Config.type(named:))
            ControlCommands.write(ConfigurationExample.text(of: type) { lookup.isExecutable(lookup.builtIn($0)) }, to: 1)
        }
    }

    struct Schema: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Prints the keys of one worker's `config` as JSON Schema.")
        @Argument(help: "The worker, e.g. iii-http.") var name: String
        func run() throws { ControlCommands.write(try Config.type(named: name).settings.jsonSchema.pretty(), to: 1) }
    }

    /// Makes docs/reference/configuration.md: `make docs-reference`.
    struct Reference: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Prints the reference page.", shouldDisplay: false)
        func run() throws { print(ConfigurationReference.markdown, terminator: "") }
    }

    private static func type(named name: String) throws -> WorkerType {
        if let type = WorkerCatalogue.type(named: name) { return type }
        let hint = EditDistance.nearest(to: name, among: WorkerCatalogue.allNames).map { " (did you mean '\($0)'?)" } ?? ""
        throw ValidationError("no worker '\(name)'\(hint); there are: \(WorkerCatalogue.types.map(\.name).joined(separator: ", "))")
    }
}
