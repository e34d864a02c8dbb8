import ArgumentParser
import Glibc
import IIIConfiguration
import IIISupervision

/// Which configuration a command works with.
struct ConfigurationOptions: ParsableArguments {
    @Option(name: [.short, .customLong("config")], help: "Configuration file (default: config.yaml).") var config: String?
    @Flag(help: "Run without a file: every built-in of this build on 127.0.0.1.") var useDefaultConfig = false

    func validate() throws {
        guard config == nil || !useDefaultConfig else {
            throw ValidationError("--config and --use-default-config exclude each other: give one")
        }
    }

    var path: String { config ?? "config.yaml" }

    func load(lookup: ExecutableLookup, environment: [String: String]) throws(ConfigurationErrors) -> EngineConfiguration {
        if useDefaultConfig {
            let names = ["iii-http", "iii-stream", "iii-queue", "iii-cron", "iii-observability"]
            return .default(availableExecutables: lookup.available(among: names))
        }
        let text = try ConfigurationFile.read(path)
        return try .load(text: text, path: path, environment: environment, engineVersion: engineVersion)
    }
}

/// Which running engine a command talks to: the one on the port of the configuration.
struct RunningEngine: ParsableArguments {
    @Option(name: [.short, .customLong("config")], help: "Configuration file that says the engine's port.") var config: String?
    @Option(help: "The engine's worker port (default: that of the configuration, else 49134).") var port: Int?

    func commands() throws -> ControlCommands {
        let environment = processEnvironment()
        let locator = EngineLocator(environment: environment)
        if let port { return commands(locator, port: port) }
        guard config != nil || access("config.yaml", R_OK) == 0 else { return commands(locator, port: 49134) }
        let path = config ?? "config.yaml"
        let configuration: EngineConfiguration
        do {
            configuration = try EngineConfiguration.load(
                text: try ConfigurationFile.read(path), path: path, environment: environment, engineVersion: engineVersion)
        } catch {
            // A file that is broken or gone now must not keep anybody from the engine that still runs on what it was; but only
            // from that one: the fleet of another file was not meant.
            let live = locator.engines(startedWith: path)
            if live.count == 1 { return ControlCommands(socketPath: live[0]) }
            ControlCommands.write("\(error)\nHint: --port names the engine without reading a configuration.", to: 2)
            throw ExitCode(1)
        }
        do throws(FleetError) {
            let (path, hint) = try locator.engine(of: path, port: configuration.enginePort)
            return ControlCommands(socketPath: path, hint: hint)
        } catch {
            ControlCommands.write("Error: \(error.message)", to: 2)
            throw ExitCode(1)
        }
    }

    private func commands(_ locator: EngineLocator, port: Int) -> ControlCommands {
        let (path, hint) = locator.engine(onPort: port)
        return ControlCommands(socketPath: path, hint: hint)
    }
}

func processEnvironment() -> [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
        let pair = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if pair.count == 2 { result[String(pair[0])] = String(pair[1]) }
        entry += 1
    }
    return result
}
