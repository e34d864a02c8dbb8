import Testing

@testable import IIIServer

@Suite struct InheritedSocketsTests {
    @Test(
        arguments: [
            (["LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "stream:http"], 4), (["LISTEN_PID": "7", "LISTEN_FDS": "1"], nil),
            (["LISTEN_PID": "8", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"], nil), ([:], nil),
            (["LISTEN_PID": "7", "LISTEN_FDS": "x", "LISTEN_FDNAMES": "http"], nil),
            (["LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"], 3),
        ] as [([String: String], CInt?)])
    func inheritedSockets(_ environment: [String: String], _ descriptor: CInt?) {
        #expect(InheritedSockets(environment: { environment[$0] }, pid: 7).descriptor(named: "http") == descriptor)
    }
}
