import IIIProtocol
import NIOCore

extension ByteBuffer {
    /// Appends the canonical 36 bytes of a UUID.
    @inline(__always)
    package mutating func writeUUID(_ id: UUIDBits) {
        writeWithUnsafeMutableBytes(minimumWritableBytes: UUIDBits.textLength) { target in
            id.write(to: target.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: UInt8.self))
            return UUIDBits.textLength
        }
    }
}
