import IIIProtocol
import NIOCore
import Testing

@testable import IIIEngine

@Suite struct WorkerRegistryTests {
    @Test func departureStopsItsCallsAndForgetsThoseItMade() throws {
        var registry = WorkerRegistry()
        let caller = Worker(id: .random())
        let callee = Worker(id: .random())
        registry.insert(caller)
        registry.insert(callee)
        _ = registry.functions.register(FunctionKey("f"), FunctionRegistration(worker: callee))
        let record = try #require(registry.functions.lookup(FunctionKey("f")))
        let id = UUIDBits.random()
        callee.invocations[id] = PendingInvocation(
            destination: .caller(caller, id: id), function: record, traceContext: [], startedAt: .now())
        caller.callsInFlight = 1

        _ = registry.remove(caller)
        guard case .discard(nil) = callee.invocations[id]?.destination else {
            Issue.record("the departed caller is still kept for an answer")
            return
        }
        let departure = registry.remove(callee)
        #expect(departure?.stopped.count == 1 && departure?.lostFunctions == [FunctionKey("f")])
        let again = registry.remove(callee)
        #expect(again == nil, "a second cleanup is a no-op")
    }

    @Test(
        arguments: [
            ("python", "0.11.6", 1 << 20), ("python", "0.24.6", 1 << 20), ("python", "0.25.0", nil), ("python", "1.0.0", nil),
            ("node", "0.11.6", nil),
            ("python", "odd", nil),
        ] as [(String, String, Int?)])
    func deliveryLimitOfOldPythonSDKs(_ runtime: String, _ version: String, _ limit: Int?) {
        var metadata = WorkerMetadata()
        metadata.merge(["runtime": .string(runtime), "version": .string(version)])
        #expect(metadata.maximumDelivery == limit)
    }

    @Test func metadataMerge() {
        var metadata = WorkerMetadata()
        metadata.merge([
            "runtime": "go", "version": "1", "name": "n", "pid": 7, "description": .string("a\u{1}b" + String(repeating: "x", count: 400)),
        ])
        metadata.merge(["version": "2"])
        #expect(metadata.runtime == "unknown" && metadata.version == "2" && metadata.name == "n" && metadata.pid == 7)
        #expect(metadata.description?.count == 280 && metadata.description?.hasPrefix("abx") == true)
    }

    @Test(arguments: [
        (#"{}"#, #"{"_caller_worker_id":"ID"}"#), (#"{ }"#, #"{"_caller_worker_id":"ID"}"#),
        (#"{"a":1}"#, #"{"a":1,"_caller_worker_id":"ID"}"#),
        ("{\"a\":1 \n}", #"{"a":1,"_caller_worker_id":"ID"}"#), (#"{"_caller_worker_id":"x"}"#, #"{"_caller_worker_id":"ID"}"#),
        (#"{"a":{},"_caller_worker_id":1,"b":[]}"#, #"{"a":{},"b":[],"_caller_worker_id":"ID"}"#),
        (#"{"_caller_worker_id":1,"_caller_worker_id":2}"#, #"{"_caller_worker_id":"ID"}"#),
        (#"{"a":"\"_caller_worker_id\""}"#, #"{"a":"\"_caller_worker_id\"","_caller_worker_id":"ID"}"#),
        (#"{"a_b":"}"}"#, #"{"a_b":"}","_caller_worker_id":"ID"}"#),
    ])
    func callerStamp(_ data: String, _ stamped: String) {
        var buffer = ByteBuffer()
        Array(data.utf8).withUnsafeBytes { CallerStamp.write($0, caller: Array("ID".utf8), to: &buffer) }
        // White space inside the object is the sender's business.
        #expect(String(buffer: buffer).replacingOccurrences(" ") == stamped.replacingOccurrences(" "))
    }
}

extension String {
    fileprivate func replacingOccurrences(_ character: Character) -> String { filter { $0 != character } }
}
