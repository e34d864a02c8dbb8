import NIOCore

/// The words of a command, written as RESP straight into the outgoing buffer.
public struct RedisArguments {
    var buffer: ByteBuffer
    private(set) var count = 0

    /// A mark, nineteen digits and two line ends.
    private static let overhead = 24

    init(_ buffer: consuming ByteBuffer) { self.buffer = buffer }

    /// A constant word, usually the command's name.
    public mutating func add(_ word: StaticString) {
        add(UnsafeRawBufferPointer(start: word.utf8Start, count: word.utf8CodeUnitCount))
    }

    /// A word as UTF-8.
    public mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { add(UnsafeRawBufferPointer($0)) }
    }

    /// A word of any bytes.
    public mutating func add(_ bytes: [UInt8]) { bytes.withUnsafeBytes { add($0) } }
    /// A word of the buffer's readable bytes.
    public mutating func add(_ bytes: ByteBuffer) { bytes.withUnsafeReadableBytes { add($0) } }
    /// A number in decimal.
    public mutating func add(_ number: Int) { add(String(number)) }

    /// A word of any bytes, copied at once.
    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        count += 1
        // One access to the buffer for all of a word: its checks cost more than the bytes.
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: bytes.count + Self.overhead) { target in
            var length = Self.write(mark: 0x24, bytes.count, to: target)
            UnsafeMutableRawBufferPointer(rebasing: target[length...]).copyMemory(from: bytes)
            length += bytes.count
            target[length] = 0x0d
            target[length + 1] = 0x0a
            return length + 2
        }
    }

    /// Begins a command of so many words.
    mutating func head(_ words: Int) {
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.overhead) { Self.write(mark: 0x2a, words, to: $0) }
    }

    /// The mark, the number and a line end; answers their length.
    private static func write(mark: UInt8, _ number: Int, to target: UnsafeMutableRawBufferPointer) -> Int {
        target[0] = mark
        var end = 2
        var rest = number / 10
        while rest > 0 {
            rest /= 10
            end += 1
        }
        rest = number
        for position in stride(from: end - 1, to: 0, by: -1) {
            target[position] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        target[end] = 0x0d
        target[end + 1] = 0x0a
        return end + 2
    }
}
