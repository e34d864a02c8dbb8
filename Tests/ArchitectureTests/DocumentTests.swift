import Foundation
import Testing

/// Documents must not drift: what they name exists. `Tests/Documents` holds what needs no build: citations, links, codes.
@Suite struct DocumentTests {
    private static let root = ImportRulesTests.root
    private static let documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]

    private static func allDocuments() throws -> [URL] {
        let docs = (FileManager.default.enumerator(at: root.appending(path: "docs"), includingPropertiesForKeys: nil)?.allObjects ?? [])
            .compactMap { $0 as? URL }
        return documents.map { root.appending(path: $0) } + docs.filter { $0.pathExtension == "md" }
    }

    /// Every make target and script that a document tells the reader to run.
    @Test func namedCommandsExist() throws {
        let makefile = try String(contentsOf: Self.root.appending(path: "Makefile"), encoding: .utf8)
        for document in try Self.allDocuments() {
            let text = try String(contentsOf: document, encoding: .utf8)
            for match in text.matches(of: /`make ([a-z-]+)`|^\s*make ([a-z-]+)/.anchorsMatchLineEndings()) {
                let target = String(match.output.1 ?? match.output.2 ?? "")
                #expect(makefile.contains("\n\(target):"), "\(document.lastPathComponent) names 'make \(target)'")
            }
            for match in text.matches(of: /`((?:scripts|examples|benchmarks|Tests|deploy|Sources)\/[\w\-.\/]+)`/) {
                let path = Self.root.appending(path: String(match.output.1)).path
                #expect(FileManager.default.fileExists(atPath: path), "\(document.lastPathComponent) names \(match.output.1)")
            }
        }
    }

    @Test func theReadmeShowsTheExampleAsItIs() throws {
        let example = try String(contentsOf: Self.root.appending(path: "examples/hello/EntryPoint.swift"), encoding: .utf8)
        #expect(try String(contentsOf: Self.root.appending(path: "README.md"), encoding: .utf8).contains("```swift\n\(example)```"))
    }

    /// A target that is declared without a rule ends with 0 and has done nothing.
    @Test func everyDeclaredTargetHasARule() throws {
        let makefile = try String(contentsOf: Self.root.appending(path: "Makefile"), encoding: .utf8)
        let declared = makefile.split(separator: "\n").filter { $0.hasPrefix(".PHONY:") }.flatMap { $0.split(separator: " ").dropFirst() }
        #expect(declared.count > 5)
        for target in declared {
            let rule = try Regex("(?m)^\(target):.*\\n\\t\\S")
            #expect(makefile.contains(rule), "'make \(target)' has no recipe")
        }
        for match in makefile.matches(of: /(?m)^([a-z-]+):/) {
            #expect(declared.contains(match.output.1), "'\(match.output.1)' is missing in .PHONY")
        }
    }

    /// docs/compatibility.md gives a reason for every test of the official suites that is expected to fail.
    @Test func everyExpectedFailureIsExplained() throws {
        let page = try String(contentsOf: Self.root.appending(path: "docs/compatibility.md"), encoding: .utf8)
        let folder = Self.root.appending(path: "Tests/Conformance/sdk")
        for file in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where file.lastPathComponent.hasPrefix("expectations-") {
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") where !line.hasPrefix("#") {
                let item = String(line.split(separator: " ")[0])
                #expect(page.contains("`\(item)`"), "docs/compatibility.md does not mention \(item)")
                #expect(line.contains("#"), "\(item) has no reason in \(file.lastPathComponent)")
            }
        }
    }

    @Test func unfinishedWorkIsNotCommitted() throws {
        for folder in ["Sources", "Tests", "examples", "benchmarks"] {
            for file in try ImportRulesTests.swiftFiles(below: Self.root.appending(path: folder))
            where file.lastPathComponent != "DocumentTests.swift" {
                let text = try String(contentsOf: file, encoding: .utf8)
                for word in ["TODO", "FIXME"] { #expect(!text.contains(word), "\(file.lastPathComponent) contains \(word)") }
            }
        }
    }
}
