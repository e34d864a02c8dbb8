import Glibc
import IIIConfiguration
import IIIProtocol
import IIISettings

/// Asks the programs of `core_worker: true` entries whether they would accept their `config` (`--check-configuration`): only they
/// know its keys (docs/reference/configuration.md#core-workers-of-your-own).
///
/// The question is the `config` as JSON on standard input. Exit code 0 accepts it, and every line of the output names a key whose value is
/// not to be shown; any other code refuses it, and every line is a reason.
struct CoreWorkerCheck {
    /// What the programs object to, at the line of the key they name.
    private(set) var problems: [ConfigurationProblem] = []
    /// Dotted paths in the `config` of entries, by id, whose values are secret; the empty one stands for all of it.
    private(set) var secrets: [String: Set<String>] = [:]

    private static let flag = "--check-configuration"

    init(of plan: FleetPlan, environment: [String: String]) {
        for child in plan.children where child.entry.checksItsConfig {
            guard let program = Self.program(of: child) else { continue }
            do throws(SpawnError) {
                let answer = try program.answer(
                    to: (child.entry.config ?? .null).bytes, environment: environment.merging(child.entry.environment) { $1 })
                judge(answer, of: child.entry, by: program.name)
            } catch {
                hideAll(of: child.entry)
                problems.append(
                    Self.problem(
                        "'\(program.name) \(Self.flag)' \(error); is it built on IIIWorker's CoreWorkerProcess.main? "
                            + "If it is not, remove `core_worker: true`", of: child.entry))
            }
        }
    }

    private mutating func judge(_ answer: ProgramQuestion.Answer, of entry: WorkerEntry, by program: String) {
        let lines = String(decoding: answer.output, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
        if answer.code == 0 {
            secrets[entry.id] = Set(lines)
            return
        }
        hideAll(of: entry)
        if lines.isEmpty {
            problems.append(
                Self.problem("refused by '\(program) \(Self.flag)' without a reason (exit code \(answer.code)\(answer.errors))", of: entry))
        } else {
            problems += lines.map { Self.problem($0, of: entry) }
        }
    }

    /// Only the program knows what is secret in its `config`, and has not said.
    private mutating func hideAll(of entry: WorkerEntry) { secrets[entry.id] = [""] }

    /// At the line of the key that the reason begins with, `config.limits.orders: …`, or at that of the whole `config`.
    private static func problem(_ reason: String, of entry: WorkerEntry) -> ConfigurationProblem {
        let reason = SecretMask.maskedSentence(String(reason.prefix(1000)), about: entry.config ?? .null)
        let line = entry.configLine > 0 ? entry.configLine : entry.line
        guard reason == "config" || reason.hasPrefix("config.") || reason.hasPrefix("config:") || reason.hasPrefix("config[") else {
            return ConfigurationProblem(line: line, message: "\(entry.id).config: \(reason)")
        }
        var path = reason.prefix { $0 != ":" && $0 != " " }.split { ".[]".contains($0) }.dropFirst()
        while !path.isEmpty {
            if let place = entry.configPlaces[path.joined(separator: ".")] {
                return ConfigurationProblem(line: place, message: "\(entry.id).\(reason)")
            }
            path.removeLast()
        }
        return ConfigurationProblem(line: line, message: "\(entry.id).\(reason)")
    }

    /// A command line is one word for the shell.
    private static func program(of child: ChildSpecification) -> ProgramQuestion? {
        guard case .executable(let path, let arguments) = child.program else { return nil }
        guard path == "/bin/sh", arguments.count == 2, arguments[0] == "-c" else {
            return ProgramQuestion(name: path, path: path, arguments: arguments + [flag])
        }
        return ProgramQuestion(name: arguments[1], path: path, arguments: ["-c", arguments[1] + " " + flag])
    }
}
