import IIIProtocol
import IIIWorker
import Testing

@testable import IIIHTTPGateway

@Suite struct RouteTableTests {
    private func route(_ method: RouteMethod, _ path: String, _ trigger: String, function: String = "f") throws -> Route {
        Route(triggerID: trigger, method: method, pattern: try RoutePattern(path), functionID: FunctionID(own: function))
    }

    /// Function, and parameters in order; nil without a route.
    private func match(_ table: RouteTable, _ method: RouteMethod, _ path: String) -> (trigger: String, values: [String])? {
        let bytes = Array(path.utf8.dropFirst())
        return bytes.withUnsafeBytes { bytes in
            table.match(method, bytes).map { match in
                (match.route.triggerID, match.captures.map { String(decoding: bytes[$0], as: UTF8.self) })
            }
        }
    }

    @Test(arguments: [
        ("/", "root", []), ("/items/copy", "copy", []), ("/items/copyx", "item", ["copyx"]), ("/items/cop", "item", ["cop"]),
        ("/items/hello%20world", "item", ["hello%20world"]), ("/items/7/parts", "parts", ["7"]), ("/items/copy/parts", "parts", ["copy"]),
        ("/files/a/b/c", "files", ["a/b/c"]), ("/files/readme", "readme", []), ("/files/readme/x", "files", ["readme/x"]),
        ("/Users", "Users", []), ("/a/1/2", "pair", ["1", "2"]), ("/a/1/two", "two", ["1"]),
    ])
    func literalBeatsParameterBeatsCatchAll(_ path: String, _ trigger: String, _ values: [String]) throws {
        let patterns = [
            ("/", "root"), ("/items/:id", "item"), ("/items/copy", "copy"), ("/items/:id/parts", "parts"), ("/files/{*rest}", "files"),
            ("/files/readme", "readme"), ("/Users", "Users"), ("/a/:x/:y", "pair"), ("/a/:x/two", "two"),
        ]
        for order in [patterns, patterns.reversed()] {
            var table = RouteTable()
            for (pattern, trigger) in order { try table.add(route(.get, pattern, trigger)) }
            let found = match(table, .get, path)
            #expect(found?.trigger == trigger)
            #expect(found?.values == values)
        }
    }

    @Test(arguments: ["/users", "/Users/", "//Users", "/items/", "/items", "/files", "/files/", "/a//2", "/nope"])
    func nothingIsNormalised(_ path: String) throws {
        var table = RouteTable()
        for pattern in ["/Users", "/items/:id", "/files/{*rest}", "/a/:x/:y"] { try table.add(route(.get, pattern, pattern)) }
        #expect(match(table, .get, path) == nil)
    }

    @Test func headFallsBackToGet() throws {
        var table = RouteTable()
        try table.add(route(.get, "/a", "get"))
        #expect(match(table, .head, "/a")?.trigger == "get")
        try table.add(route(.head, "/a", "head"))
        #expect(match(table, .head, "/a")?.trigger == "head")
        #expect(match(table, .post, "/a") == nil)
    }

    @Test func allowListsMethodsOfThePath() throws {
        var table = RouteTable()
        try table.add(route(.get, "/a/:x", "1"))
        try table.add(route(.post, "/a/:y", "2"))
        try table.add(route(.delete, "/b", "3"))
        #expect(Array("a/1".utf8).withUnsafeBytes { table.methods(for: $0).allowHeader } == "GET,HEAD,POST")
        #expect(Array("c".utf8).withUnsafeBytes { table.methods(for: $0).isEmpty })
    }

    @Test func sameShapeUnderAnotherSpellingIsRefused() throws {
        var table = RouteTable()
        try table.add(route(.get, "/a/:x/:y", "first"))
        let refused = #expect(throws: RouteConflict.self) { try table.add(self.route(.get, "/a/:y/:x", "second")) }
        #expect(
            refused?.message
                == "Route 'GET /a/:y/:x' conflicts with already-registered route 'GET /a/:x/:y': "
                + "routes with identical structure but different path-parameter names are not supported")
        #expect(match(table, .get, "/a/1/2")?.trigger == "first")
        #expect(table.count == 1)
        try table.add(route(.post, "/a/:y/:x", "post"))
        #expect(throws: RouteConflict.self) { try table.add(self.route(.get, "/a/{x}/:y", "braces")) }
    }

    @Test func laterTriggerTakesOverAndEarlierReturns() throws {
        var table = RouteTable()
        try table.add(route(.get, "/same", "old"))
        try table.add(route(.get, "same", "new"))
        #expect(match(table, .get, "/same")?.trigger == "new")
        table.remove(triggerID: "new")
        #expect(match(table, .get, "/same")?.trigger == "old")
    }

    @Test func staleCleanupKeepsSuccessorsRoute() throws {
        var table = RouteTable()
        try table.add(route(.get, "/same", "old"))
        try table.add(route(.get, "/same", "new"))
        table.remove(triggerID: "old")
        #expect(match(table, .get, "/same")?.trigger == "new")
        table.remove(triggerID: "old")
        table.remove(triggerID: "new")
        #expect(match(table, .get, "/same") == nil)
        #expect(table.count == 0)
    }

    @Test func replayKeepsThePlaceAndMovingKeepsOneRoute() throws {
        var table = RouteTable()
        try table.add(route(.get, "/same", "old"))
        try table.add(route(.get, "/same", "new"))
        try table.add(route(.get, "/same", "old", function: "g"))
        #expect(match(table, .get, "/same")?.trigger == "new")
        try table.add(route(.get, "/elsewhere", "new"))
        #expect(match(table, .get, "/same")?.trigger == "old")
        #expect(match(table, .get, "/elsewhere")?.trigger == "new")
        #expect(table.count == 2)
    }

    @Test func refusedMoveKeepsTheOldRoute() throws {
        var table = RouteTable()
        try table.add(route(.get, "/a/:x", "one"))
        try table.add(route(.get, "/b", "two"))
        #expect(throws: RouteConflict.self) { try table.add(self.route(.get, "/a/:y", "two")) }
        #expect(match(table, .get, "/b")?.trigger == "two")
    }

    /// The trie against the plainest matcher there is, over random patterns, removals and paths.
    @Test(arguments: 0..<40) func agreesWithNaiveMatcher(seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed) &+ 0x9E37_79B9)
        var table = RouteTable()
        var naive: [(trigger: String, pattern: RoutePattern)] = []
        let literals = ["a", "ab", "abc", "b", "ba", "", "a:b", "%20"]
        func segment(_ index: Int) -> String {
            Int.random(in: 0..<3, using: &random) == 0 ? ":p\(index)" : literals.randomElement(using: &random) ?? ""
        }
        for number in 0..<60 {
            let count = Int.random(in: 1...4, using: &random)
            var path = (0..<count).map(segment).joined(separator: "/")
            if Int.random(in: 0..<8, using: &random) == 0 { path += "/{*rest}" }
            let pattern = try RoutePattern(path)
            do {
                try table.add(route(.get, path, "t\(number)"))
                naive.append(("t\(number)", pattern))
            } catch {
                // Leading empty segments are dropped, so equal shapes can carry other names: exactly those are refused.
                #expect(naive.contains { $0.pattern.segments == pattern.segments && $0.pattern.key != pattern.key })
            }
            if Int.random(in: 0..<4, using: &random) == 0, let victim = naive.indices.randomElement(using: &random) {
                table.remove(triggerID: naive[victim].trigger)
                naive.remove(at: victim)
            }
            for _ in 0..<20 {
                let segments = (0..<Int.random(in: 1...5, using: &random)).map { _ in literals.randomElement(using: &random) ?? "" }
                let path = segments.joined(separator: "/")
                let expected = NaiveMatcher.match(path, naive)
                let found = match(table, .get, "/" + path)
                #expect(found?.trigger == expected, "seed \(seed), path '\(path)'")
            }
        }
        for entry in naive { table.remove(triggerID: entry.trigger) }
        #expect(table.count == 0)
    }
}

/// Compares segment by segment and prefers literal to parameter to catch-all at the first difference.
enum NaiveMatcher {
    static func match(_ path: String, _ routes: [(trigger: String, pattern: RoutePattern)]) -> String? {
        let segments = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map(Array.init)
        var best: (rank: [Int], trigger: String)?
        for route in routes {
            guard let rank = rank(segments, route.pattern.segments) else { continue }
            // A later registration of the same shape wins.
            if best.map({ !$0.rank.lexicographicallyPrecedes(rank) }) ?? true { best = (rank, route.trigger) }
        }
        return best?.trigger
    }

    private static func rank(_ path: [[UInt8]], _ pattern: [RoutePattern.Segment]) -> [Int]? {
        // The root pattern has no segments; its path is one empty segment.
        let pattern = pattern.isEmpty ? [.literal([])] : pattern
        var rank: [Int] = []
        for (index, segment) in pattern.enumerated() {
            switch segment {
            case .literal(let bytes):
                guard index < path.count, path[index] == bytes else { return nil }
                rank.append(0)
            case .parameter:
                guard index < path.count, !path[index].isEmpty else { return nil }
                rank.append(1)
            case .catchAll:
                guard index < path.count, !(path.count == index + 1 && path[index].isEmpty) else { return nil }
                return rank + [2]
            }
        }
        return path.count == pattern.count ? rank : nil
    }
}
