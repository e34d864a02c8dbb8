import ArgumentParser
import IIISupervision

struct PS: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ps", abstract: "Lists the fleet.")
    @OptionGroup var engine: RunningEngine
    @Flag(help: "JSON instead of a table.") var json = false
    func run() throws { throw ExitCode(try engine.commands().ps(json: json)) }
}

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Shows whether the fleet, or one built-in, is ready (exit 0, else 1).")
    @OptionGroup var engine: RunningEngine
    @Argument(help: "Entry name.") var name: String?
    @Flag(help: "JSON instead of text.") var json = false
    @Flag(help: "Wait until everything is ready.") var waitReady = false
    @Option(help: "How long to wait, e.g. 30s or 500ms.") var timeout = "30s"
    func run() throws {
        guard let limit = Self.duration(timeout) else { throw ValidationError("--timeout '\(timeout)': write e.g. 30s, 500ms or 2m") }
        throw ExitCode(try engine.commands().status(name: name, json: json, waitReady: waitReady, timeout: limit))
    }

    static func duration(_ text: String) -> Duration? {
        for (suffix, unit) in [
            ("ms", Duration.milliseconds(1)), ("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3600)), ("", .seconds(1)),
        ] {
            if text.hasSuffix(suffix), let number = Int(text.dropLast(suffix.count)), (0...1_000_000).contains(number) {
                return unit * number
            }
        }
        return nil
    }
}

struct Restart: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Restarts one built-in, or all.")
    @OptionGroup var engine: RunningEngine
    @Argument(help: "Entry name.") var name: String?
    @Flag(help: "Every built-in.") var all = false
    func validate() throws {
        guard (name != nil) != all else { throw ValidationError("name one entry, or give --all") }
    }
    func run() throws { throw ExitCode(try engine.commands().restart(name: name)) }
}

struct Stop: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Stops one built-in until it is started again.")
    @OptionGroup var engine: RunningEngine
    @Argument(help: "Entry name.") var name: String
    func run() throws { throw ExitCode(try engine.commands().stop(name: name)) }
}

struct Start: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Starts a stopped built-in.")
    @OptionGroup var engine: RunningEngine
    @Argument(help: "Entry name.") var name: String
    func run() throws { throw ExitCode(try engine.commands().start(name: name)) }
}

struct Reset: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Clears a built-in's back-off and failed state.")
    @OptionGroup var engine: RunningEngine
    @Argument(help: "Entry name.") var name: String
    func run() throws { throw ExitCode(try engine.commands().reset(name: name)) }
}

struct Logs: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Prints what the fleet has logged.")
    @OptionGroup var engine: RunningEngine
    @Argument(help: "Entry names (default: all).") var names: [String] = []
    @Flag(name: .shortAndLong, help: "Go on with what comes.") var follow = false
    @Option(name: .customShort("n"), help: "Lines to begin with.") var count = 100
    @Option(help: "Only lines of this last time, e.g. 10m.") var since: String?
    @Flag(help: "JSON lines.") var json = false
    func run() throws {
        let age = try since.map { text in
            guard let age = Status.duration(text) else { throw ValidationError("--since '\(text)': write e.g. 10m or 30s") }
            return age
        }
        throw ExitCode(try engine.commands().logs(names: names, count: count, since: age, follow: follow, json: json))
    }
}

struct Metrics: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints the metrics of core, built-ins and workers as Prometheus reads them.")
    @OptionGroup var engine: RunningEngine
    @Flag(help: "JSON instead.") var json = false
    @Flag(name: .customLong("openmetrics"), help: "OpenMetrics instead.") var openMetrics = false
    func validate() throws {
        if json && openMetrics { throw ValidationError("give --json or --openmetrics, not both") }
    }
    func run() throws { throw ExitCode(try engine.commands().metrics(json ? .json : openMetrics ? .openmetrics : .prometheus)) }
}

struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Applies the configuration file; an invalid one changes nothing.")
    @OptionGroup var engine: RunningEngine
    func run() throws { throw ExitCode(try engine.commands().reload()) }
}
