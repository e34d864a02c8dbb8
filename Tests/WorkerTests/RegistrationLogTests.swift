import IIIProtocol
import NIOCore
import Testing

@testable import IIIWorker

@Suite struct RegistrationLogTests {
    @Test func replaysTypesThenFunctionsThenTriggers() throws {
        var log = RegistrationLog()
        _ = log.addTrigger("t1", type: "http", function: "f", config: ["api_path": "/x"], metadata: nil)
        _ = log.addFunction("f", description: "d", requestFormat: nil, responseFormat: nil, metadata: ["a": 1])
        _ = log.addTriggerType(TriggerTypeDeclaration(id: "kind", description: "k"))
        _ = log.addFunction("f", description: "new", requestFormat: nil, responseFormat: nil, metadata: nil)
        let replay = try log.replay.map { try JSONValue(parsing: $0) }
        #expect(replay.map { $0["type"]?.string } == ["registertriggertype", "registerfunction", "registertrigger"])
        #expect(replay[1]["description"] == "new" && replay[1]["metadata"] == nil)
        #expect(replay[2]["config"] == ["api_path": "/x"])
    }

    @Test func whatIsTakenBackIsNotSaidAgain() throws {
        var log = RegistrationLog()
        _ = log.addFunction("f", description: nil, requestFormat: nil, responseFormat: nil, metadata: nil)
        #expect(try log.removeFunction("f").map { try JSONValue(parsing: $0) } == ["type": "unregisterfunction", "id": "f"])
        #expect(log.removeFunction("f") == nil && log.removeTrigger("t") == nil && log.replay.isEmpty)
    }
}
