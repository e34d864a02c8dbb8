import Foundation
import IIIConfiguration
import Testing

/// Shapes of configurations that people published for the reference (names, hosts and secrets replaced).
@Suite struct PublishedConfigurationTests {
    static let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Published")
    static let environment = ["AMQP_URL": "amqp://h", "OTEL_ENDPOINT": "http://h:4318", "REDIS_URL": "redis://h"]

    /// Why this build does not run a file of today's form; the others pass.
    static let refusals: [String: [String]] = [
        "018-new.yaml": [streamAdapter],
        "054-new.yaml": [external], "060-new.yaml": [external], "072-new.yaml": [external], "104-new.yaml": [external],
        "108-new.yaml": [external],
        "066-new.yaml": ["the engine port is `config.port` of the `iii-worker-manager` entry"],
        // Opening fewer ports than the file asks for, or without their rules, would be worse.
        "126-new.yaml": ["one `iii-worker-manager` entry for each listener"],
    ]
    private static let streamAdapter = "iii-stream.config.adapter.name: invalid value: string"
    private static let external = "name its program with `exec:`"

    private static func files(_ suffix: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(suffix) }.sorted()
    }

    private func problems(of name: String) throws -> [String] {
        let text = try String(contentsOf: Self.folder.appending(path: name), encoding: .utf8)
        do throws(ConfigurationErrors) {
            _ = try load(text, Self.environment)
            return []
        } catch {
            #expect(error.problems.allSatisfy { $0.line != nil }, "a problem without its line")
            return error.problems.map(\.message)
        }
    }

    @Test(arguments: files("-new.yaml")) func filesOfTodaysFormPassOrNameTheCure(name: String) throws {
        let problems = try problems(of: name)
        let expected = Self.refusals[name] ?? []
        #expect(problems.count == expected.count && zip(problems, expected).allSatisfy { $0.contains($1) }, "\(problems)")
    }

    @Test(arguments: files("-old.yaml")) func filesOfTheOlderFormNameTheCure(name: String) throws {
        let problems = try problems(of: name)
        #expect(!problems.isEmpty)
        for problem in problems where !problem.hasPrefix("unknown field `port`") {
            #expect(problem.contains("is the form before 0.11") && problem.contains("write `name: iii-"), "\(problem)")
        }
    }

    @Test func bothFormsAreThere() {
        #expect(Self.files("-new.yaml").count > 40 && Self.files("-old.yaml").count > 10)
    }
}
