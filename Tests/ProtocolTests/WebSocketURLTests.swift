import IIIProtocol
import Testing

@Suite struct WebSocketURLTests {
    @Test(arguments: [
        ("ws://localhost:49134", "localhost", 49134, "/"), ("ws://h", "h", 80, "/"), ("ws://h:1/a?b=c", "h", 1, "/a?b=c"),
        ("ws://h?b", "h", 80, "/?b"),
        ("ws://[::1]:7", "::1", 7, "/"), ("ws://[::1]", "::1", 80, "/"),
    ])
    func reads(_ text: String, _ host: String, _ port: Int, _ target: String) throws {
        #expect(try WebSocketURL(text) == WebSocketURL(host: host, port: port, target: target))
    }

    @Test(arguments: ["", "http://x", "wss://x", "ws://", "ws://:1", "ws://h:0", "ws://h:99999", "ws://h:x"])
    func refuses(_ text: String) {
        #expect(throws: WebSocketURL.Invalid.self) { try WebSocketURL(text) }
    }

    /// A path may admit whoever knows it.
    @Test func pathsAndUsersAreNotShown() throws {
        #expect(try WebSocketURL("ws://h:1/hunter2?k=hunter2").description == "ws://h:1/…")
        for text in [
            "ws://u:hunter2@h:1", "wss://u:hunter2@h/hunter2", "http://hunter2@h", "ws://h:x/hunter2", "ws://?hunter2", "hunter2@",
        ] {
            let error = #expect(throws: WebSocketURL.Invalid.self) { try WebSocketURL(text) }
            #expect(error?.description.contains("hunter2") == false, "\(error?.description ?? "")")
        }
    }
}
