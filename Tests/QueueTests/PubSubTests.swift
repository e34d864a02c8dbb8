import IIIProtocol
import IIIQueueContract
import IIITestSupport
import IIIWorker
import Testing

@testable import IIIQueue

/// `PubSubBusContract` for every registered bus; `AdapterContract` fails for one that is registered and not tried.
@Suite struct PubSubBusTests {
    static let contract = AdapterContract(
        PubSub.buses.withLock { $0 }, configs: ["local": { [:] }, "redis": { ["redis_url": .string(server.url)] }])
    private static let server = RedisUnderTest.server

    @Test(arguments: contract.names, PubSubBusContract.cases) func holds(_ name: String, _ promise: PubSubBusContract.Case) async throws {
        try await promise.run(try Self.contract.opener(name))
    }
}

@Suite struct SubscriptionsTests {
    private static func subscription(_ function: String) throws -> Subscriptions.Subscription {
        .init(target: try TriggerTarget(function: function), condition: nil)
    }

    @Test func eachTriggerIsASubscriptionOfItsOwn() throws {
        var subscriptions = Subscriptions()
        #expect(subscriptions.add("s1", to: "t", try Self.subscription("f")) == .topicAppeared("t"))
        #expect(subscriptions.add("s2", to: "t", try Self.subscription("f")) == .none)
        #expect(subscriptions.of("t").count == 2)
        #expect(subscriptions.remove("s1", from: "t") == .none)
        #expect(subscriptions.of("t").count == 1)
        #expect(subscriptions.remove("s1", from: "t") == .none)
        #expect(subscriptions.remove("s2", from: "t") == .topicEnded("t"))
        #expect(subscriptions.topicCount == 0)
    }

    @Test func aChangedTriggerKeepsItsPlace() throws {
        var subscriptions = Subscriptions()
        _ = subscriptions.add("s1", to: "t", try Self.subscription("old"))
        _ = subscriptions.add("s2", to: "t", try Self.subscription("other"))
        #expect(subscriptions.add("s1", to: "t", try Self.subscription("new")) == .none)
        #expect(subscriptions.of("t").map(\.target.functionID.text) == ["new", "other"])
    }
}

@Suite struct PublicationTests {
    @Test func dataKeepsItsBytesAndMayBeNull() throws {
        let whole = try Publication(
            Array(#"{ "data" : {"a": 1.10,"b":[]} , "topic":"t","_caller_worker_id":"w"}"#.utf8), function: "publish")
        #expect(whole.topic == "t" && String(decoding: whole.data, as: UTF8.self) == #"{"a": 1.10,"b":[]}"#)
        #expect(try Publication(Array(#"{"topic":"t","data":null}"#.utf8), function: "publish").data == Array("null".utf8))
    }

    @Test(arguments: [
        (#"{"topic":"","data":1}"#, "topic_not_set", "Topic is not set"),
        (#"{"data":1}"#, "deserialization_error", "Failed to deserialize input for publish: missing field `topic`"),
        (#"{"topic":"t"}"#, "deserialization_error", "Failed to deserialize input for publish: missing field `data`"),
        (#"{"topic":1,"data":1}"#, "deserialization_error", "Failed to deserialize input for publish: `topic` must be a string"),
        ("[]", "deserialization_error", "Failed to deserialize input for publish: invalid type: expected an object"),
    ])
    func whatIsWrongIsNamed(_ input: String, _ code: String, _ message: String) {
        let error = #expect(throws: InvocationError.self) { try Publication(Array(input.utf8), function: "publish") }
        #expect(error?.code == code && error?.message == message)
    }
}
