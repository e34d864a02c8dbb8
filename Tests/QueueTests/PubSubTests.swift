import IIIProtocol
import IIITestSupport
import IIIWorker
import NIOEmbedded
import Testing

@testable import IIIQueue

/// What holds for every pub/sub bus; `AdapterContract` fails for one that is registered and not tried.
@Suite struct PubSubBusContract {
    static let contract = AdapterContract(PubSub.buses.withLock { $0 }, configs: ["local": { [:] }])

    private final class Heard {
        var messages: [(topic: String, payload: String)] = []
    }

    private static func run(_ name: String, _ body: (any PubSubBus, Heard) throws -> Void) async throws {
        try await contract.run(name) { bus in
            let heard = Heard()
            try bus.start(on: EmbeddedEventLoop()) { heard.messages.append(($0, String(decoding: $1, as: UTF8.self))) }
            try body(bus, heard)
        }
    }

    private static func publish(_ bus: any PubSubBus, _ topic: String, _ payload: String) {
        var outcome: InvocationError??
        bus.publish(topic, Array(payload.utf8)) { outcome = $0 }
        #expect(outcome == .some(nil))
    }

    @Test(arguments: contract.names) func messagesReachTheirTopicOnlyAndKeepOrderAndBytes(_ name: String) async throws {
        try await Self.run(name) { bus, heard in
            bus.subscribe("a")
            bus.subscribe("b")
            Self.publish(bus, "a", #"{"n": 1.10, "items": []}"#)
            Self.publish(bus, "A", "2")
            Self.publish(bus, "b", "null")
            Self.publish(bus, "a", "3")
            #expect(heard.messages.map(\.topic) == ["a", "b", "a"])
            #expect(heard.messages.map(\.payload) == [#"{"n": 1.10, "items": []}"#, "null", "3"])
        }
    }

    @Test(arguments: contract.names) func whatNobodyHearsIsGoneAndNoError(_ name: String) async throws {
        try await Self.run(name) { bus, heard in
            Self.publish(bus, "a", "1")
            bus.subscribe("a")
            bus.unsubscribe("a")
            Self.publish(bus, "a", "2")
            bus.subscribe("a")
            Self.publish(bus, "a", "3")
            #expect(heard.messages.map(\.payload) == ["3"])
        }
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
