import IIIConfiguration
import Testing

@Suite struct VariableExpansionTests {
    static let environment = ["SET": "value", "EMPTY": "", "NESTED": "${SET}"]
    static let cases: [(String, String)] = [
        ("a: ${SET}", "a: value"),
        ("a: ${UNSET:b}", "a: b"),
        ("a: ${EMPTY:b}", "a: "),
        ("a: ${UNSET:}", "a: "),
        ("a: ${U:redis://h:1/0}", "a: redis://h:1/0"),
        ("${SET}${EMPTY:x}${U:y}", "valuey"),
        ("$SET stays, as do ${} and ${:x}", "$SET stays, as do ${} and ${:x}"),
        ("a: ${UNSET:-x}", "a: -x"),
        ("a: ${NESTED}", "a: ${SET}"),
        ("${A:${B:x}}", "${B:x}"),
        ("a: $${SET}", "a: ${SET}"),
        ("v: ${V:__III_ENGINE_VERSION__}", "v: 1.2.3"),
        ("# ${MISSING}\n  # ${MISSING}\na: 1", "# ${MISSING}\n  # ${MISSING}\na: 1"),
        ("a: ${SET", "a: ${SET"),
        ("a: 1\n", "a: 1\n"),
        ("é ${SET} ü\r\nx", "é value ü\r\nx"),
    ]

    @Test(arguments: cases) func expands(text: String, expected: String) throws {
        let expansion = VariableExpansion(environment: Self.environment, engineVersion: "1.2.3")
        #expect(try expansion.expand(text) == expected)
    }

    @Test func reportsAllMissingVariablesWithTheirLines() throws {
        let expansion = VariableExpansion(environment: [:], engineVersion: "1")
        let error = #expect(throws: ConfigurationErrors.self) { try expansion.expand("a: ${ONE}\nb: 2\nc: ${TWO} ${ONE}\n") }
        #expect(error?.problems.map(\.line) == [1, 3, 3])
        #expect(error?.problems.first?.message.contains("Environment variable 'ONE' not set and no default provided") == true)
    }
}
