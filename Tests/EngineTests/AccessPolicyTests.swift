import IIIEngine
import IIIProtocol
import IIISettings
import Testing

@Suite struct AccessPolicyTests {
    private func policy(_ exposed: [JSONValue], grant: JSONValue = [:]) throws -> AccessPolicy {
        var restrictions = AccessRules.Restrictions()
        restrictions.exposed = exposed.compactMap { ExposureFilter($0) }
        return AccessPolicy(rules: AccessRules(restrictions: restrictions), grant: try AccessGrant(result: grant))
    }

    @Test(arguments: [
        ("a::*", "a::b", true), ("a::*", "a::", true), ("a::*", "ab", false), ("*::b", "a::b", true), ("*", "", true), ("a", "ab", false),
        ("a*b*c", "aXbYc", true), ("a*b*c", "abc", true), ("a*b*c", "acb", false), ("a*bc", "abcbc", true), ("a*a", "a", false),
        ("a?[x]", "a?[x]", true), ("a?", "ab", false), ("*ab*ab*", "abab", true), ("*ab*ab*", "aba", false),
    ])
    func anAsteriskIsAnyRunAndEverythingElseItself(_ pattern: String, _ id: String, _ fits: Bool) {
        #expect(FunctionPattern(pattern).matches(id) == fits)
    }

    @Test(arguments: ["a::*", "match(a)", "match(\"\")", "match(\"a')", "match(\"a\"", "Match(\"a\")", ""])
    func onlyTheDocumentedFormIsAPattern(_ text: String) {
        #expect(FunctionPattern(expression: text) == nil)
    }

    @Test(arguments: [["namespace": "a"], ["metadata": [:]], [:], 5, "plain"] as [JSONValue])
    func aFilterThatNamesNothingExposesNothing(_ json: JSONValue) {
        #expect(ExposureFilter(json) == nil)
    }

    @Test func metadataIsComparedWholeAndAllOfIt() throws {
        let policy = try policy([["metadata": ["public": true, "tier": "match(\"free*\")", "deep": ["a": [1, .null]]]]])
        let fits: JSONValue = ["public": true, "tier": "freemium", "deep": ["a": [1, .null]], "more": 1]
        #expect(policy.denial(of: FunctionKey("f")) { fits } == nil)
        for (key, value) in [("public", JSONValue.null), ("public", "true"), ("tier", "gold"), ("tier", 5), ("deep", ["a": [1]])] {
            guard case .object(var members) = fits else { return }
            members[key] = value
            #expect(policy.denial(of: FunctionKey("f")) { .object(members) } == .notExposed)
        }
        #expect(policy.denial(of: FunctionKey("f")) { nil } == .notExposed)
    }

    @Test func namespacesNarrowFiltersAndGrants() throws {
        let policy = try policy(
            [["match": "a::*", "namespace": "blue"], "match(\"b::*\")"],
            grant: ["allowed_functions": ["own"], "namespaces": ["red": ["svc::*", "match(\"x*\")", "exact"]]])
        func isAllowed(_ id: String, _ namespace: String) -> Bool {
            policy.denial(of: FunctionKey(id, namespace: namespace)) { nil } == nil
        }
        #expect(isAllowed("a::f", "blue") && !isAllowed("a::f", "default") && isAllowed("b::f", "blue") && isAllowed("b::f", "default"))
        #expect(isAllowed("own", "default") && !isAllowed("own", "red"))
        #expect(isAllowed("svc::f", "red") && isAllowed("xy", "red") && isAllowed("exact", "red") && !isAllowed("svc::f", "default"))
        #expect(isAllowed("engine::log::info", "default") && !isAllowed("engine::log::info", "red"))
    }

    @Test func forbiddenBeatsEverything() throws {
        let policy = try policy(
            ["match(\"*\")"],
            grant: ["allowed_functions": ["a", "engine::log::info"], "forbidden_functions": ["a", "match(\"engine::*\")"]])
        for id in ["a", "engine::log::info", "engine::workers::register"] {
            #expect(policy.denial(of: FunctionKey(id)) { nil } == .forbidden)
        }
        let text = AccessPolicy.Denial.forbidden.error(for: FunctionKey("a")).message
        #expect(text == "function 'a' not allowed (remove from rbac.forbidden_functions)")
        let elsewhere = AccessPolicy.Denial.notExposed.error(for: FunctionKey("a", namespace: "n")).message
        #expect(elsewhere == "function 'a' not allowed in namespace 'n' (add to rbac.expose_functions)")
    }

    @Test(
        arguments: [
            .null, 5, [], ["allowed_functions": "all"], ["allowed_functions": [1]], ["forbidden_functions": ["a": 1]],
            ["allowed_trigger_types": 1],
            ["allow_function_registration": "false"], ["allow_trigger_type_registration": 1], ["function_registration_prefix": ""],
            ["function_registration_prefix": 5], ["namespaces": ["a": "b"]], ["namespaces": []],
        ] as [JSONValue])
    func aMisunderstoodGrantIsNone(_ result: JSONValue) {
        #expect { try AccessGrant(result: result) } throws: { ($0 as? InvocationError)?.code == "AUTH_ERROR" }
    }

    @Test func absentAndNullAreTheDefaults() throws {
        let nulls: JSONValue = [
            "allowed_functions": .null, "forbidden_functions": .null, "allowed_trigger_types": .null, "allow_function_registration": .null,
            "allow_trigger_type_registration": .null, "function_registration_prefix": .null, "context": .null, "namespaces": .null,
            "new": 1,
        ]
        let grant = try AccessGrant(result: nulls)
        #expect(grant == (try AccessGrant(result: [:])))
        #expect(
            grant.mayRegisterFunctions && !grant.mayRegisterTriggerTypes && grant.context == [:] && AccessGrant().mayRegisterTriggerTypes)
    }

    @Test func withoutRbacOnlyTheMiddlewareCounts() {
        let policy = AccessPolicy(rules: AccessRules(middleware: "mid::ware"))
        #expect(!policy.isRestricted && policy.denial(of: FunctionKey("x")) { nil } == nil)
        #expect(policy.isDiverted("x") && !policy.isDiverted("engine::functions::list"))
        #expect(policy.objection(toFunction: "iii::x", isRemote: true, authenticates: true) == nil)
    }

    @Test func nullKeepsWhatWasThereAndOnlyObjectsAllow() {
        let original = RegistrationHooks.Function(id: "f", description: "d", metadata: Array("1".utf8))
        for answer in [nil, .null, 5, "x", [], true] as [JSONValue?] {
            var copy = original
            let isAllowed = copy.apply(answer)
            #expect(!isAllowed && copy == original)
        }
        var copy = original
        let keeps = copy.apply(["function_id": .null, "description": 5, "metadata": .null])
        #expect(keeps && copy == original)
        let replaces = copy.apply(["function_id": "g", "description": "e", "metadata": ["a": 1]])
        #expect(replaces)
        #expect(copy == RegistrationHooks.Function(id: "g", description: "e", metadata: Array(#"{"a":1}"#.utf8)))
        var trigger = RegistrationHooks.Trigger(id: "t", type: "k", functionID: "f", config: Array("{}".utf8))
        let mapsTarget = trigger.apply(["config": .null, "trigger_id": .null, "function_id": "g"])
        #expect(mapsTarget)
        #expect(trigger == RegistrationHooks.Trigger(id: "t", type: "k", functionID: "g", config: Array("{}".utf8)))
    }

    @Test func aliasesGoBothWaysAndNeverCross() {
        var aliases = IDAliases()
        aliases.set("f", registered: "p::f")
        aliases.set("g", registered: "g")
        #expect(
            aliases.registered("f") == "p::f" && aliases.own("p::f") == "f" && aliases.registered("g") == "g" && aliases.own("x") == "x")
        aliases.set("h", registered: "p::f")
        #expect(aliases.own("p::f") == "h" && aliases.registered("f") == "f")
        aliases.set("h", registered: "q")
        #expect(aliases.own("p::f") == "p::f" && aliases.own("q") == "h")
        aliases.remove("h")
        #expect(aliases.isEmpty)
    }

    @Test func queryIsDecodedAndOddHeadersAreLeftOut() {
        let input = AuthenticationInput.json(
            headers: [("X-A", "1"), ("x-a", "2"), ("x-b", "ü")], query: "a=%41%42&a=%zz&b&=x&c=1%3D2=3&d=%ff", address: "::1")
        #expect(
            input == [
                "headers": ["x-a": "2"], "query_params": ["a": ["AB", "%zz"], "b": [""], "c": ["1=2=3"], "d": ["%ff"]], "ip_address": "::1",
            ])
    }

    @Test func aRestrictedOwnerNeverStandsBelowOneWithoutRules() throws {
        var table = FunctionTable()
        let ruled = Worker(id: UUIDBits.random())
        ruled.access = AccessSession(try policy([]))
        let free = Worker(id: UUIDBits.random())
        let key = FunctionKey("f")
        let outcomes = [ruled, free, ruled].map { table.register(key, FunctionRegistration(worker: $0)) }
        #expect(outcomes == [.added, .tookOver, .refused] && ruled.functionIDs.isEmpty)
        let isGone = table.unregister(key, from: free)
        let again = table.register(key, FunctionRegistration(worker: ruled))
        #expect(isGone && again == .added)
    }

    @Test func aRestrictedProviderNeverStandsBelowOneWithoutRules() throws {
        var table = TriggerTable()
        let ruled = Worker(id: UUIDBits.random())
        ruled.access = AccessSession(try policy([]))
        let free = Worker(id: UUIDBits.random())
        let outcomes = [ruled, free, ruled].map { table.registerType("k", .init(worker: $0, description: "")).0 }
        #expect(outcomes == [.accepted, .accepted, .refused] && ruled.triggerTypeIDs.isEmpty)
        _ = table.unregisterType("k", from: free)
        #expect(table[type: "k"] == nil)
    }
}
