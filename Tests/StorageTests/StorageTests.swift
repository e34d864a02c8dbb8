import Testing

@testable import IIIStorage

@Suite struct StorageTests {
}
