import IIIConfiguration
import IIISettings

/// `iii-core config check`: the effective configuration with secrets masked on stdout; everything wrong, at once, on stderr.
package enum ConfigCheck {
    /// Returns 0 when the engine would start with this file, else 1.
    package static func run(
        path: String, environment: [String: String], engineVersion: String, lookup: ExecutableLookup? = nil,
        context: SettingContext = .process,
        output: (String) -> Void = { ControlCommands.write($0, to: 1) }, errors: (String) -> Void = { ControlCommands.write($0, to: 2) }
    ) -> Int32 {
        do throws(ConfigurationErrors) {
            let text = try ConfigurationFile.read(path)
            let configuration = try EngineConfiguration.load(
                text: text, path: path, environment: environment, engineVersion: engineVersion, context: context)
            var report = ConfigurationReport(configuration)
            let plan: FleetPlan
            do throws(ConfigurationErrors) {
                plan = try FleetPlan.make(configuration: configuration, lookup: lookup ?? .system(environment: environment))
            } catch {
                report.remarks.forEach(errors)
                throw error
            }
            let programs = CoreWorkerCheck(of: plan, environment: environment)
            report.secrets = programs.secrets
            output(report.text)
            report.remarks.forEach(errors)
            let problems = programs.problems + configuration.portClashes
            guard problems.isEmpty else { throw ConfigurationErrors(path: path, problems: problems) }
            return 0
        } catch {
            errors(error.description)
            return 1
        }
    }
}
