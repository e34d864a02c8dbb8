import IIIProtocol
import IIISettings

/// The page `docs/reference/configuration.md`, made of the declarations.
package enum ConfigurationReference {
    package static var markdown: String {
        var lines = [
            "# Configuration reference", "",
            "<!-- Made from the declarations in Sources/Shared/Settings by `make docs-reference`; a test compares. Do not edit. -->", "",
            "Every key, stated once in the source: the same declaration feeds this page, `iii-core config check`, the built-in that reads it and",
            "`iii-core config example`. [configuration.md](../configuration.md) tells how the file works.", "",
            "* *Change*: `live` keys come into force when the file is saved, nothing is interrupted; `restart` keys restart the entry.",
            "* Where text is wanted, any scalar is text as it is written (`00770`, `1.50`); where a number or boolean is wanted, a quoted one counts.",
            "* An empty or null value counts as absent, unless null is named as a value.",
            "* A key marked *no effect* is accepted, acts on nothing in this build, and is warned about by name.", "",
        ]
        lines += section("The file", "Keys of the top level.", FileSettings.group, "")
        lines += section(
            "An entry", "Keys of each entry of `workers`. Unknown ones are passed over with a warning.", EntrySettings.group, "")
        lines += coreWorkers
        for type in WorkerCatalogue.types {
            lines += section("`\(type.name)`", introduction(of: type), type.settings, "")
        }
        lines += environment
        return lines.joined(separator: "\n") + "\n"
    }

    private static func introduction(of type: WorkerType) -> String {
        var parts: [String] = []
        if case .ignored(let reason) = type.service { parts.append("Accepted and ignored: \(reason).") }
        if let listener = type.listener { parts.append("Listens on port \(listener.defaultPort).") }
        if type.isMandatory { parts.append("Runs without an entry, too.") }
        if type.name.hasPrefix("iii-") { parts.append("Also called `\(type.name.dropFirst(4))`.") }
        return parts.joined(separator: " ")
    }

    // MARK: Tables

    private static func section(_ title: String, _ introduction: String, _ group: SettingGroup, _ path: String) -> [String] {
        var lines = ["## \(title)", ""]
        if !introduction.isEmpty { lines += [introduction, ""] }
        guard !group.settings.isEmpty else { return lines + ["No keys.", ""] }
        var rows: [String] = []
        var rules: [String] = []
        collect(group, path, .restart, group.inert, &rows, &rules)
        lines += ["| Key | Type | Default | Change | |", "|---|---|---|---|---|"] + rows + [""]
        if !rules.isEmpty { lines += rules.map { "* \($0)" } + [""] }
        return lines
    }

    private static func collect(
        _ group: SettingGroup, _ path: String, _ outer: SettingChange, _ inert: String?, _ rows: inout [String], _ rules: inout [String]
    ) {
        let change = group.change ?? outer
        for setting in group.settings {
            let key = path + setting.key
            let reason = setting.inert ?? inert ?? group.inert
            rows.append(row(setting, key, setting.change ?? change, reason))
            nested(setting.shape, key, setting.change ?? change, reason, &rows, &rules)
        }
        rules += group.rules.map { path.isEmpty ? $0.text : "`\(path.dropLast())`: \($0.text)" }
    }

    private static func nested(
        _ shape: SettingShape, _ key: String, _ change: SettingChange, _ inert: String?, _ rows: inout [String], _ rules: inout [String]
    ) {
        switch shape {
        case .object(let group): collect(group, key + ".", change, inert, &rows, &rules)
        case .list(let element): nested(element, key + "[]", change, inert, &rows, &rules)
        case .map(let element): nested(element, key + ".<name>", change, inert, &rows, &rules)
        case .nullable(let shape): nested(shape, key, change, inert, &rows, &rules)
        case .oneOf(let alternatives): for alternative in alternatives { nested(alternative, key, change, inert, &rows, &rules) }
        case .adapter(let adapters):
            for adapter in adapters {
                let name = "`\(key)`: `{name: \(adapter.name)}`"
                rows.append("| \(name) | | | | \(cell(adapter.text)) |")
                collect(adapter.settings, "\(key).config.", change, inert, &rows, &rules)
            }
        default: break
        }
    }

    private static func row(_ setting: SettingDeclaration, _ key: String, _ change: SettingChange, _ inert: String?) -> String {
        var text = setting.text
        if setting.isSecret { text += " **Secret**: never shown." }
        if let variable = setting.environment { text += " Absent: environment variable `\(variable)`, if set." }
        if let inert { text += " *No effect*: \(inert)." }
        return
            "| `\(key)` | \(cell(type(of: setting.shape, unit: setting.unit))) | \(cell(fallback(of: setting))) | \(change.rawValue) | \(cell(text)) |"
    }

    private static func fallback(of setting: SettingDeclaration) -> String {
        if setting.isRequired { return "required" }
        if let fallback = setting.fallback { return "`\(YAMLText.inline(fallback))`" }
        return setting.absence ?? "–"
    }

    private static func type(of shape: SettingShape, unit: String?) -> String {
        let suffix = unit.map { " \($0)" } ?? ""
        return switch shape {
        case .anything: "any"
        case .boolean: "boolean"
        case .integer(let range): "\(number(range.lowerBound))–\(number(range.upperBound))\(suffix)"
        case .number(let range):
            range.upperBound.isFinite ? "number \(SettingShape.plain(range.lowerBound))–\(SettingShape.plain(range.upperBound))" : "number"
        case .text(let rule): rule.expected == TextRule.nonEmpty.expected ? "text" : rule.expected
        case .choice(let words): words.map { "`\($0)`" }.joined(separator: ", ")
        case .list(let element): "list of: \(type(of: element, unit: unit))"
        case .map(let element): "map of: \(type(of: element, unit: unit))"
        case .object: "map"
        case .adapter(let adapters): "adapter: " + adapters.map { "`\($0.name)`" }.joined(separator: ", ")
        case .oneOf(let alternatives): alternatives.map { type(of: $0, unit: unit) }.joined(separator: "; or ")
        case .nullable(let shape): type(of: shape, unit: unit) + ", or null"
        }
    }

    /// Powers of two that everybody knows by another name.
    private static func number(_ value: Int64) -> String {
        for (power, name) in [(50, "2^50"), (40, "2^40"), (31, "2^31"), (30, "2^30"), (20, "2^20")] where value == 1 << power {
            return name
        }
        if value == Int64(Int32.max) { return "2^31−1" }
        if value == Int64(Int32.min) { return "−2^31" }
        return "\(value)"
    }

    private static func cell(_ text: String) -> String {
        text.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
    }

    // MARK: Texts

    private static let coreWorkers = [
        "## Core workers of your own", "",
        "A program built on `IIIWorker` declares its settings with the same types (`SettingGroup`, see [core-workers.md](core-workers.md)), and takes part",
        "in the check when its entry says so:", "",
        "```yaml", "  - name: ticker", "    exec: [./ticker]", "    core_worker: true     # without it a program is never run by the check",
        "    config: { interval_ms: 500 }",
        "```", "",
        "`iii-core config check` then runs `./ticker --check-configuration`, in the directory and with the environment the entry would have, and gives it the expanded",
        "`config` as JSON on standard input (`null` when there is none):", "",
        "* Exit code 0: accepted. Each line of standard output names a key whose value is secret, such as `api_key` or `targets.0.key`; it is masked.",
        "* Any other exit code: refused. Each line of standard output is a reason; one that begins with a key, `config.interval_ms: …`, is reported at that key's line. The `config` is not listed.",
        "* No end within 10 s: refused; the process group of the program is killed. More than 64 KiB of output is not read.", "",
        "`CoreWorkerProcess.main` answers by the declaration (`CoreWorker.settings`) and by the worker's own `configuration(from:)`; any other program may do the same.",
        "",
    ]

    private static var environment: [String] {
        var lines = ["## Environment variables", "", "| Variable | Read by | |", "|---|---|---|"]
        for variable in EnvironmentVariable.all {
            lines.append("| `\(variable.name)` | \(variable.readers) | \(cell(variable.text))\(variable.isSecret ? " **Secret**." : "") |")
        }
        return lines + [
            "",
            "Besides them: the variables named in the *Absent* notes above, those that the file expands (`${NAME}`), and those whose *names* stand in",
            "`*_env` and `auth.*_key` settings.",
        ]
    }
}
