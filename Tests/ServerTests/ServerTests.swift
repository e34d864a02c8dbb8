import Testing

@testable import IIIServer

@Suite struct ServerTests {
}
