import Testing

@testable import IIIEngine

@Suite struct ByteKeyedTableTests {
    /// Against a dictionary: many inserts, overwrites and removals, with table growth and reuse of deleted places.
    @Test func behavesLikeADictionary() {
        var table = ByteKeyedTable<Int>()
        var model: [String: Int] = [:]
        var generator = SystemRandomNumberGenerator()
        for step in 0..<20_000 {
            let key = "fn::\(Int.random(in: 0..<700, using: &generator))" + (Bool.random() ? "" : "::with a longer tail")
            if Int.random(in: 0..<3, using: &generator) == 0 {
                table.remove(key)
                model[key] = nil
            } else {
                table.insert(step, for: key)
                model[key] = step
            }
        }
        #expect(table.count == model.count)
        #expect(Set(table.values) == Set(model.values))
        for (key, value) in model { #expect(table[key] == value) }
        #expect(table["fn::absent"] == nil && table[""] == nil)
    }

    @Test func emptyAndBinaryKeys() {
        var table = ByteKeyedTable<Int>()
        table.insert(1, for: "")
        table.insert(2, for: "a\u{0}b")
        #expect(table[""] == 1 && table["a\u{0}b"] == 2 && table["a"] == nil)
    }
}
