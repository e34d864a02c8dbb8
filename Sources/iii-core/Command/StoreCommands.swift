import ArgumentParser
import IIIConfiguration
import IIIStorage
import IIISupervision

/// `iii-core store …`: works on the files of a store, whether the built-in that owns it runs or not; no engine is asked.
struct StoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store", abstract: "Backs up, restores and checks the embedded store of a built-in.",
        subcommands: [Backup.self, Restore.self, Check.self])

    struct Selection: ParsableArguments {
        @Option(name: [.short, .customLong("config")], help: "Configuration file that says where the store is.") var config = "config.yaml"
        @Option(help: "The store's directory, without reading a configuration.") var directory: String?
        @Argument(help: "Entry name.") var name: String

        func tool() throws -> StoreTool {
            if let directory { return StoreTool(directory: directory) }
            do {
                let configuration = try EngineConfiguration.load(
                    text: try ConfigurationFile.read(config), path: config, environment: processEnvironment(), engineVersion: engineVersion)
                guard let entry = configuration.entries.first(where: { $0.id == name || $0.name == name }) else {
                    throw Refusal("'\(config)' has no entry '\(name)'; it has \(configuration.entries.map(\.id).joined(separator: ", "))")
                }
                guard let directory = entry.storeDirectory else {
                    throw Refusal("'\(name)' keeps its data in memory (store_method: in_memory): there is no store")
                }
                return StoreTool(directory: directory)
            } catch let errors as ConfigurationErrors {
                throw Refusal("\(errors)\nHint: --directory names the store without reading a configuration.")
            }
        }
    }

    struct Refusal: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    /// Prints what `body` answers, or why not; exit code 1 then, and for an answer that is bad news.
    static func answer(_ body: () throws -> (text: String, isGood: Bool)) throws {
        do {
            let answer = try body()
            ControlCommands.write(answer.text, to: 1)
            if !answer.isGood { throw ExitCode(1) }
        } catch let exit as ExitCode {
            throw exit
        } catch {
            let text = "\(error)"
            ControlCommands.write(text.hasPrefix("Error:") ? text : "Error: \(text)", to: 2)
            throw ExitCode(1)
        }
    }

    struct Backup: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Copies the store as of now into a new file, also while it is in use.")
        @OptionGroup var selection: Selection
        @Argument(help: "File to write; must not exist.") var file: String
        func run() throws {
            try StoreCommand.answer {
                try selection.tool().backUp(to: file)
                return ("'\(selection.name)' is backed up in '\(file)'", true)
            }
        }
    }

    struct Restore: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Puts a backup in the store's place; refused while the built-in runs. What was there is kept beside it.")
        @OptionGroup var selection: Selection
        @Argument(help: "A file that 'store backup' has written.") var file: String
        func run() throws {
            try StoreCommand.answer {
                let kept = try selection.tool().restore(from: file)
                return ("'\(selection.name)' is restored from '\(file)'" + (kept.map { "; what was there is '\($0)'" } ?? ""), true)
            }
        }
    }

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Verifies the store (exit 0 intact, else 1), also while it is in use.")
        @OptionGroup var selection: Selection
        func run() throws {
            try StoreCommand.answer {
                let report = try selection.tool().check()
                return (report.text, report.findings.isEmpty)
            }
        }
    }
}
