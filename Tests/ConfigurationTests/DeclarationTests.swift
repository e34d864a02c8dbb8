import Foundation
import IIIConfiguration
import IIIProtocol
import IIISettings
import Testing

/// What the declarations promise: defaults and examples fit, the reference page and the example file are made of them.
@Suite struct DeclarationTests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    static let names = WorkerCatalogue.types.map(\.name)

    /// Every setting below a group with the path that leads there.
    private static func settings(_ shape: SettingShape, _ path: String) -> [(path: String, setting: SettingDeclaration)] {
        switch shape {
        case .object(let group):
            group.settings.flatMap { [("\(path).\($0.key)", $0)] + settings($0.shape, "\(path).\($0.key)") }
        case .list(let inner), .map(let inner), .nullable(let inner): settings(inner, path)
        case .oneOf(let alternatives): alternatives.flatMap { settings($0, path) }
        case .adapter(let adapters): adapters.flatMap { settings(.object($0.settings), "\(path).\($0.name)") }
        default: []
        }
    }

    private static var everything: [(path: String, setting: SettingDeclaration)] {
        WorkerCatalogue.types.flatMap { settings(.object($0.settings), $0.name) } + settings(.object(EntrySettings.group), "entry")
            + settings(.object(FileSettings.group), "file")
    }

    @Test func everyDefaultAndExampleFits() {
        for (path, setting) in Self.everything {
            for value in [setting.fallback, setting.example].compactMap({ $0 }) {
                var check = SettingCheck(context: SettingContext())
                _ = check.normalise(LocatedValue(value), as: setting.shape, at: path)
                #expect(check.problems.isEmpty, "\(path): \(value.text): \(check.problems)")
            }
        }
    }

    @Test func everySettingSaysWhatItIs() {
        for (path, setting) in Self.everything {
            #expect(setting.text.hasSuffix("."), "\(path) has no sentence")
            #expect(
                setting.isRequired || setting.fallback != nil || setting.absence != nil || path.contains("rbac") || path.contains("alerts"),
                "\(path): neither a default nor what absence means")
        }
    }

    @Test func theReferencePageIsUpToDate() throws {
        let page = try String(contentsOf: Self.root.appending(path: "docs/reference/configuration.md"), encoding: .utf8)
        #expect(page == ConfigurationReference.markdown, "run `make docs-reference`")
    }

    @Test(arguments: names) func theExampleOfAWorkerPassesTheCheck(name: String) throws {
        let type = try #require(WorkerCatalogue.type(named: name))
        let text = ConfigurationExample.text(of: type) { _ in true }
        #expect(try load(text).entries.contains { $0.id == name })
    }

    @Test(arguments: names) func theExamplePassesWithEveryKeyWritten(name: String) throws {
        let type = try #require(WorkerCatalogue.type(named: name))
        let lines = ConfigurationExample.text(of: type) { _ in true }.split(separator: "\n").map { line -> String in
            line.wholeMatch(of: /( +)# ([a-z_]+: .*)/).map { "\($0.output.1)\($0.output.2)" } ?? String(line)
        }
        let entry = try #require(load(lines.joined(separator: "\n")).entry(name))
        let written = entry.config?.object.map { Array($0.keys) } ?? []
        #expect(Set(written).isSubset(of: type.settings.settings.map(\.key)))
        #expect(written.isEmpty == type.settings.settings.isEmpty)
    }

    @Test func theWholeExamplePassesTheCheck() throws {
        let configuration = try load(ConfigurationExample.text(of: nil) { $0 == "iii-http" })
        #expect(configuration.entries.prefix(4).map(\.id) == ["iii-worker-manager", "iii-http", "iii-http-functions", "iii-exec"])
    }

    @Test(arguments: names) func theSchemaNamesEveryKey(name: String) throws {
        let type = try #require(WorkerCatalogue.type(named: name))
        let schema = type.settings.jsonSchema
        #expect(Set(schema["properties"]?.object.map { Array($0.keys) } ?? []) == Set(type.settings.settings.map(\.key)))
        #expect(schema["type"] == "object")
    }

    @Test func theSchemaCarriesTypeUnitRangeDefaultAndChange() {
        let schema = HTTPSettings.group.jsonSchema["properties"]
        #expect(schema?["max_head_bytes"]?["minimum"] == 1024 && schema?["max_head_bytes"]?["default"] == 65_536)
        #expect(schema?["max_head_bytes"]?["x-unit"] == "bytes" && schema?["max_head_bytes"]?["x-change"] == "live")
        #expect(schema?["port"]?["x-change"] == "restart")
        #expect(schema?["tls"]?["required"] == ["cert_file", "key_file"])
    }

    @Test func everyEnvironmentVariableThatIsReadIsListed() throws {
        let listed = Set(EnvironmentVariable.all.map(\.name) + Self.everything.compactMap(\.setting.environment))
        let files =
            FileManager.default.enumerator(at: Self.root.appending(path: "Sources"), includingPropertiesForKeys: nil)?
            .compactMap { $0 as? URL }.filter { $0.pathExtension == "swift" } ?? []
        #expect(!files.isEmpty)
        for file in files {
            let text = try String(contentsOf: file, encoding: .utf8)
            let read = text.matches(of: /(?:getenv|environmentValue|variable|environment)(?:\(|\[)"([A-Za-z_]+)"/).map {
                String($0.output.1)
            }
            for name in read {
                #expect(listed.contains(name), "\(file.lastPathComponent) reads \(name): add it to EnvironmentVariable.all")
            }
        }
    }
}
