import IIIItems
import NIOCore
import Testing

@testable import IIIStream

@Suite struct ClientInputTests {
    @Test(arguments: [
        ("/", StreamPath.root), ("", .root), ("/stream/chat/room-1", .group(stream: "chat", group: "room-1", item: nil)),
        ("/stream/chat/room-1/", .group(stream: "chat", group: "room-1", item: nil)),
        ("/stream/chat/room-1/m1", .group(stream: "chat", group: "room-1", item: "m1")),
        ("/stream/caf%C3%A9/a%2Fb/", .group(stream: "café", group: "a/b", item: nil)),
        ("/stream/caf%C3%A9/a%252Fb/", .group(stream: "café", group: "a%2Fb", item: nil)), ("/stream/a/%zz", .malformed),
        ("/stream/a/%", .malformed), ("/stream/a/%FF", .malformed), ("/stream/a/..", .malformed), ("/stream/./a", .malformed),
        ("/stream//a", .malformed), ("/stream/a//", .malformed), ("/stream/a/b/c/d", .malformed), ("/stream/a", .unknown),
        ("/stream", .unknown), ("/other", .unknown), ("/streams/a/b", .unknown),
    ]) func paths(_ text: String, _ path: StreamPath) { #expect(StreamPath(text) == path) }

    private static func parsed(_ text: String) throws(InputProblem) -> ClientMessage {
        let bytes = Array(text.utf8)
        let result = bytes.withUnsafeBytes { bytes in Result { () throws(InputProblem) in try ClientMessage(bytes) } }
        return try result.get()
    }

    @Test func joinsAreRead() throws {
        let text = #"{"type":"join","extra":[1],"data":{"subscriptionId":"s","streamName":"a","groupId":"g","id":null,"more":1}}"#
        guard case .join(let target) = try Self.parsed(text) else { throw InputProblem("no join") }
        #expect(target.subscription == "s" && target.group == ItemGroup(stream: "a", name: "g") && target.id == nil)
        guard case .blank = try Self.parsed(" \n ") else { throw InputProblem("not blank") }
        guard case .ping = try Self.parsed(#"{"type":"ping"}"#) else { throw InputProblem("no ping") }
    }

    @Test(arguments: [
        ("x", "no JSON"), (#"{"type":"jump"}"#, "unknown type"), (#"{"type":"join"}"#, "missing field `data`"),
        (#"{"type":"join","data":{"streamName":"a"}}"#, "missing field `subscriptionId`"),
        (#"{"type":"join","data":{"subscriptionId":5,"streamName":"a","groupId":"g"}}"#, "expected a string"), ("[1]", "a message"),
        (#"{"type":"join","x":"# + String(repeating: "[", count: 100_000), "nested too deeply"),
    ]) func whatIsNoMessageIsNamed(_ text: String, _ words: String) {
        let problem = #expect(throws: InputProblem.self) { _ = try Self.parsed(text) }
        #expect(problem?.message.contains(words) == true, "\(problem?.message ?? "")")
    }

    @Test func joinsAreLimitedByTheSecond() {
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        var allowance = JoinAllowance(now: start)
        var taken = 0
        while allowance.take(start) { taken += 1 }
        #expect(taken == JoinAllowance.perSecond)
        let isFree = allowance.take(start + .milliseconds(20))
        #expect(isFree)
        let isSpent = !allowance.take(start + .milliseconds(20))
        #expect(isSpent)
    }
}
