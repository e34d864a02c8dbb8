import IIIConfiguration
import IIIProtocol
import IIISettings
import Testing

@Suite struct ConfigurationReportTests {
    @Test func masksSecretsAndReadsBack() throws {
        let configuration = try load(
            """
            workers:
              - name: mine
                exec: ./mine --flag
                env: {API_TOKEN: hunter2, PLAIN: "yes"}
                config: {password: hunter2, url: "redis://user:hunter2@host:1/0", list: [{a: 1, b: [x]}], empty: {}, text: "a: b"}
            """)
        let text = ConfigurationReport(configuration).text
        #expect(!text.contains("hunter2"))
        #expect(text.contains("redis://********@host:1/0"))
        let again = try load(text)
        #expect(again.entry("mine")?.config?["list"] == [["a": 1, "b": ["x"]]])
        #expect(again.entry("mine")?.config?["text"] == "a: b")
        #expect(again.entry("mine")?.environment["PLAIN"] == "yes")
    }

    @Test func namesDuplicatesAndClashes() throws {
        let configuration = try load("workers: [{name: iii-http}, {name: iii-http}, {name: iii-stream, config: {port: 3111}}]")
        let remarks = ConfigurationReport(configuration).remarks
        #expect(configuration.portClashes.contains { $0.message.contains("iii-http#1 and iii-http both listen on port 3111") })
        #expect(remarks.contains { $0.contains("this one is 'iii-http#1'") })
    }

    @Test(arguments: [
        ("redis://a:b@h", "redis://********@h"), ("http://h/p?x=a@b", "http://h/p?x=a@b"), ("plain", "plain"),
        ("amqp://u@h/v", "amqp://********@h/v"),
    ]) func urls(text: String, masked: String) { #expect(SecretMask.maskedText(text) == masked) }
}
