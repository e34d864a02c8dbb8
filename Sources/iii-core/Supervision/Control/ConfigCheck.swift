import IIIConfiguration
import IIISettings

/// `iii-core config check`: the effective configuration with secrets masked on stdout; everything wrong, at once, on stderr.
package enum ConfigCheck {
    /// Returns 0 when the engine would start with this file, else 1.
    package static func run(
        path: String, environment: [String: String], engineVersion: String, lookup: ExecutableLookup? = nil,
        output: (String) -> Void = { ControlCommands.write($0, to: 1) }, errors: (String) -> Void = { ControlCommands.write($0, to: 2) }
    ) -> Int32 {
        do throws(ConfigurationErrors) {
            let text = try ConfigurationFile.read(path)
            let configuration = try EngineConfiguration.load(
                text: text, path: path, environment: environment, engineVersion: engineVersion,
                unreadable: SettingContext.process.unreadable)
            let report = ConfigurationReport(configuration)
            output(report.text)
            for remark in report.remarks { errors(remark) }
            let plan = try FleetPlan.make(configuration: configuration, lookup: lookup ?? .system(environment: environment))
            let problems = CoreWorkerCheck.problems(of: plan)
            guard problems.isEmpty else { throw ConfigurationErrors(path: path, problems: problems) }
            if configuration.portClashes.isEmpty { return 0 }
            errors("Error: port clashes, see above")
            return 1
        } catch {
            errors(error.description)
            return 1
        }
    }
}
