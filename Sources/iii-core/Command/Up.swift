import ArgumentParser
import Glibc
import IIIConfiguration
import IIISupervision
import IIITelemetry
import IIIWorker

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the engine and its fleet in the foreground (the default command).",
        discussion:
            "Exit codes: 0 clean stop, 1 configuration or address error, 2 usage, 3 a critical built-in gave up, 128+n second signal.")

    @OptionGroup var source: ConfigurationOptions
    @Option(help: "Start only these entries (comma-separated).") var only: String?
    @Option(help: "Start all but these entries (comma-separated).") var except: String?
    @Flag(help: "No colours.") var noColor = false
    @Flag(help: "Let debuggers attach to the core and its built-ins, and let them dump core: their secrets are readable then.")
    var debuggable = false
    @Option(help: "text or json (default: `format` of the iii-observability entry, else text).") var logFormat: LogFormat?

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        if debuggable { setenv(ProcessProtection.debuggableVariable, "1", 1) }
        let environment = processEnvironment()
        let lookup = ExecutableLookup.system(environment: environment)
        let assembly: Assembly
        do {
            try ProcessProtection.begin()
            let configuration = try source.load(lookup: lookup, environment: environment)
            let plan = try FleetPlan.make(configuration: configuration, lookup: lookup, only: Self.list(only), except: Self.list(except))
            assembly = Assembly(plan: plan, lookup: lookup, environment: environment)
        } catch {
            ControlCommands.write("\(error)", to: 2)
            throw ExitCode(1)
        }
        assembly.configPath = source.useDefaultConfig ? nil : source.path
        assembly.only = Self.list(only)
        assembly.except = Self.list(except)
        assembly.style = LogMultiplexer.Style(
            format: logFormat ?? (assembly.plan.configuration.logsAreJSON ? .json : .text),
            usesColour: !noColor && environment["NO_COLOR"] == nil && isatty(1) == 1,
            isJournal: environment["JOURNAL_STREAM"] != nil)
        throw ExitCode(assembly.run())
    }

    private static func list(_ text: String?) -> [String] {
        (text ?? "").split(separator: ",").map { $0.trimmingPrefix(" ") }.map(String.init)
    }
}

extension LogFormat: ExpressibleByArgument {}
