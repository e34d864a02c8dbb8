import Foundation
import Testing

/// docs/reference says of every code what it means, and of nothing that does not exist.
@Suite struct ReferenceTests {
    private static func text(_ path: String) throws -> String {
        try String(contentsOf: ImportRulesTests.root.appending(path: path), encoding: .utf8)
    }

    /// The codes in the first column of the tables of one section of errors.md.
    private static func rows(_ section: String) throws -> Set<String> {
        let page = try text("docs/reference/errors.md")
        let start = try #require(page.range(of: "\n## \(section)\n"), "errors.md has no section \(section)")
        let rest = page[start.upperBound...]
        let body = rest.range(of: "\n## ").map { rest[..<$0.lowerBound] } ?? rest
        return Set(body.matches(of: /(?m)^\| (?:<a id="[^"]*"><\/a>)?`([A-Za-z_]+)` \|/).map { String($0.output.1) })
    }

    /// The raw values of a string enum.
    private static func cases(_ path: String, of type: String) throws -> Set<String> {
        let source = try text(path)
        let start = try #require(source.range(of: "enum \(type):"))
        return Set(source[start.upperBound...].matches(of: /case \w+ = "(\w+)"/).map { String($0.output.1) })
    }

    @Test func everyWireCodeHasItsRow() throws {
        #expect(try Self.cases("Sources/Shared/Protocol/InvocationError.swift", of: "ErrorCode") == Self.rows("Wire codes"))
    }

    @Test func everyGatewayCodeHasItsRow() throws {
        let source = try Self.text("Sources/iii-http/Gateway/Mapping/GatewayError.swift")
        let codes = Set(source.matches(of: /"([A-Z][A-Z_]+)"/).map { String($0.output.1) })
        #expect(codes == (try Self.rows("HTTP answers")))
    }

    @Test func everyLogCodeHasItsRow() throws {
        #expect(try Self.cases("Sources/Shared/Protocol/DiagnosticCode.swift", of: "DiagnosticCode") == Self.rows("Log codes"))
    }

    /// A heading as GitHub makes an anchor of it.
    private static func anchor(_ heading: String) -> String {
        String(
            heading.lowercased().unicodeScalars.compactMap { scalar -> Character? in
                switch scalar {
                case "a"..."z", "0"..."9", "_", "-": Character(scalar)
                case " ": "-"
                default: nil
                }
            })
    }

    /// Comments and documents cite sections; those must exist.
    @Test func everyCitationLeadsSomewhere() throws {
        var anchors: [String: Set<String>] = [:]
        let folder = ImportRulesTests.root.appending(path: "docs/reference")
        for page in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where page.pathExtension == "md" {
            let text = try String(contentsOf: page, encoding: .utf8)
            var found = Set(text.matches(of: /(?m)^#+ (.+)$/).map { Self.anchor(String($0.output.1)) })
            found.formUnion(text.matches(of: /<a id="([^"]+)">/).map { String($0.output.1) })
            anchors[page.lastPathComponent] = found
        }
        func check(_ page: Substring, _ anchor: Substring?, _ place: String) {
            guard let known = anchors[String(page)] else { return #expect(Bool(false), "\(place) cites docs/reference/\(page)") }
            if let anchor { #expect(known.contains(String(anchor)), "\(place) cites \(page)#\(anchor)") }
        }
        for folder in ["Sources", "Tests", "examples", "benchmarks"] {
            for file in try ImportRulesTests.swiftFiles(below: ImportRulesTests.root.appending(path: folder)) {
                let text = try String(contentsOf: file, encoding: .utf8)
                for match in text.matches(of: /docs\/reference\/([\w-]+\.md)(?:#([\w-]+))?/) {
                    check(match.output.1, match.output.2, file.lastPathComponent)
                }
            }
        }
        for page in try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
        where page.pathExtension == "md" {
            for match in try String(contentsOf: page, encoding: .utf8).matches(of: /\]\(([\w-]+\.md)?#([\w-]+)\)/) {
                check(match.output.1 ?? Substring(page.lastPathComponent), match.output.2, page.lastPathComponent)
            }
        }
    }
}
