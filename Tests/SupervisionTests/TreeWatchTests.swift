import Glibc
import Testing

@testable import IIISupervision

@Suite struct TreeWatchTests {
    /// A directory with a watch on it, and what both have to say.
    final class Tree {
        let directory = TestFleet.makeDirectory()
        private(set) var watch: TreeWatch

        init(_ patterns: [String], directories: [String] = [], files: [String] = [], links: [(String, String)] = []) throws {
            for name in directories { mkdir("\(directory)/\(name)", 0o755) }
            for name in files { try TestFleet.write("1", to: "\(directory)/\(name)") }
            for (target, name) in links { symlink(target, "\(directory)/\(name)") }
            watch = TreeWatch(pattern: WatchPattern(patterns: patterns, ignored: ["node_modules"]), base: directory)
        }

        deinit { system("rm -rf '\(directory)'") }

        /// The paths that a change is reported by.
        func after(_ change: (String) throws -> Void) rethrows -> Set<String> {
            try change(directory)
            return Set(watch.received())
        }

        func write(_ name: String) throws -> Set<String> { try after { try TestFleet.write("2", to: "\($0)/\(name)") } }
        func move(_ old: String, _ new: String) -> Set<String> { after { _ = rename("\($0)/\(old)", "\($0)/\(new)") } }
        func remove(_ name: String) -> Set<String> { after { _ = system("rm -rf '\($0)/\(name)'") } }
        func make(_ name: String) -> Set<String> { after { _ = mkdir("\($0)/\(name)", 0o755) } }
        func link(_ target: String, _ name: String) -> Set<String> { after { _ = symlink(target, "\($0)/\(name)") } }
    }

    @Test func savesRenamesAndNewDirectoriesAreSeen() throws {
        let tree = try Tree(["src/**/*.ts"], directories: ["src", "src/node_modules"], files: ["src/a.ts"])
        #expect(tree.watch.takeComplaints().isEmpty)
        #expect(try tree.write("src/a.ts") == ["src/a.ts"])
        #expect(try tree.write("src/a.js") == [])
        #expect(try tree.write("src/node_modules/a.ts") == [])
        #expect(tree.move("src/a.js", "src/b.ts") == ["src/b.ts"])
        #expect(tree.remove("src/b.ts") == ["src/b.ts"])
        let deep = try tree.after {
            mkdir("\($0)/src/deep", 0o755)
            try TestFleet.write("1", to: "\($0)/src/deep/c.ts")
        }
        #expect(deep == ["src/deep/c.ts"])
        #expect(try tree.write("src/deep/c.ts") == ["src/deep/c.ts"])
    }

    @Test func aRootThatComesLaterIsSeen() throws {
        let tree = try Tree(["a/b/src/**/*.ts"])
        #expect(tree.watch.takeComplaints() == ["watch: 'a/b/src' does not exist; it is watched from when it does"])
        #expect(tree.make("a") == [])
        #expect(tree.make("a/b") == [])
        #expect(tree.make("a/b/src") == [])
        #expect(try tree.write("a/b/src/x.ts") == ["a/b/src/x.ts"])
        #expect(tree.watch.takeComplaints() == [])
    }

    @Test(arguments: ["src", "a"]) func aRootThatIsMadeAnewIsSeen(what: String) throws {
        let tree = try Tree(["a/src/**/*.ts"], directories: ["a", "a/src"], files: ["a/src/x.ts"])
        let path = what == "a" ? "a" : "a/src"
        for round in 1...3 {
            #expect(tree.move(path, "away\(round)") == ["a/src"])
            // What has moved away is nobody's business any more.
            #expect(try tree.write("away\(round)/" + (what == "a" ? "src/x.ts" : "x.ts")) == [])
            let made = try tree.after { directory in
                mkdir("\(directory)/a", 0o755)
                mkdir("\(directory)/a/src", 0o755)
                try TestFleet.write("1", to: "\(directory)/a/src/x.ts")
            }
            #expect(made == ["a/src/x.ts"])
            #expect(try tree.write("a/src/x.ts") == ["a/src/x.ts"])
        }
        #expect(tree.remove(path).contains("a/src/x.ts"))
        _ = tree.make("a")
        _ = tree.make("a/src")
        #expect(try tree.write("a/src/y.ts") == ["a/src/y.ts"])
    }

    @Test func aRemovedAndARemadeDirectoryInsideIsSeen() throws {
        let tree = try Tree(["**/*.ts"], directories: ["a", "a/b"], files: ["a/b/x.ts"])
        #expect(tree.move("a/b", "c") == ["a/b", "c/x.ts"])
        #expect(try tree.write("c/x.ts") == ["c/x.ts"])
        #expect(tree.make("a/b") == [])
        #expect(try tree.write("a/b/x.ts") == ["a/b/x.ts"])
    }

    @Test func aPlainDirectoryMeansEverythingBelowIt() throws {
        let tree = try Tree(["src"], directories: ["src", "src/deep", "lib"])
        #expect(try tree.write("src/x") == ["src/x"])
        #expect(try tree.write("src/deep/y") == ["src/deep/y"])
        #expect(try tree.write("lib/z") == [])
    }

    @Test func aPlainFileIsWatchedWithoutWhatIsBesideIt() throws {
        let tree = try Tree(["conf/a.ini"], directories: ["conf", "conf/deep"], files: ["conf/a.ini"])
        #expect(try tree.write("conf/a.ini") == ["conf/a.ini"])
        #expect(try tree.write("conf/b.ini") == [])
        _ = try tree.write("conf/new")
        #expect(tree.move("conf/new", "conf/a.ini") == ["conf/a.ini"])
        #expect(tree.remove("conf/a.ini") == ["conf/a.ini"])
        #expect(try tree.write("conf/a.ini") == ["conf/a.ini"])
        #expect(tree.move("conf", "away") == ["conf/a.ini"])
    }

    @Test func symlinksAreFollowed() throws {
        let tree = try Tree(
            ["src/**/*.ts"], directories: ["src", "real", "real/deep", "other"], files: ["real/deep/x.ts", "other/y.ts"],
            links: [("../real", "src/linked"), ("../other/y.ts", "src/y.ts"), ("..", "src/round")])
        #expect(try tree.write("real/deep/x.ts").contains("src/linked/deep/x.ts"))
        #expect(try tree.write("other/y.ts").contains("src/y.ts"))
        // Renamed over, as editors do.
        _ = try tree.write("other/new")
        #expect(tree.move("other/new", "other/y.ts").contains("src/y.ts"))
        #expect(try tree.write("other/y.ts").contains("src/y.ts"))
    }

    @Test func symlinksThatComeAndGoAreSeen() throws {
        let tree = try Tree(["src"], directories: ["src", "v1", "v2"], files: ["v1/x", "v2/x"])
        #expect(tree.link("../v1", "src/now") == ["src/now/x"])
        #expect(try tree.write("v1/x") == ["src/now/x"])
        // Turned to another directory, in one step.
        _ = tree.after { _ = symlink("../v2", "\($0)/turned") }
        #expect(tree.move("turned", "src/now").contains("src/now/x"))
        #expect(try tree.write("v1/x") == [])
        #expect(try tree.write("v2/x") == ["src/now/x"])
        #expect(tree.remove("src/now") == ["src/now"])
        #expect(try tree.write("v2/x") == [])
    }

    @Test func aRootBehindASymlinkFollowsIt() throws {
        let tree = try Tree(["src/**/*.ts"], directories: ["v1", "v2"], files: ["v1/x.ts", "v2/x.ts"], links: [("v1", "src")])
        #expect(try tree.write("v1/x.ts") == ["src/x.ts"])
        _ = tree.link("v2", "turned")
        #expect(tree.move("turned", "src") == ["src/x.ts"])
        #expect(try tree.write("v2/x.ts") == ["src/x.ts"])
        #expect(try tree.write("v1/x.ts") == [])
    }

    @Test func nothingBesideThePatternIsLookedInto() throws {
        let tree = try Tree(["*.ts"], directories: ["deep"])
        #expect(try tree.write("deep/a.ts") == [])
        #expect(try tree.write("a.ts") == ["a.ts"])
    }
}
