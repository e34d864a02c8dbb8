import CZlib
import NIOCore

/// Compresses whole bodies in the gzip format with one reused stream: its 256 KiB of state are made once per gateway.
///
/// Confined to the gateway's event loop. A body for which zlib fails goes out as it is.
final class GzipCompressor {
    /// Fast rather than tight: the event loop waits for it.
    private static let level: Int32 = 4
    /// zlib keeps the address of its stream.
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private var isReady = false

    init() { stream.initialize(to: z_stream()) }

    deinit {
        if isReady { deflateEnd(stream) }
        stream.deinitialize(count: 1)
        stream.deallocate()
    }

    func compress(_ body: UnsafeRawBufferPointer) -> ByteBuffer? {
        if isReady {
            guard deflateReset(stream) == Z_OK else { return nil }
        } else {
            guard iii_deflate_init_gzip(stream, Self.level) == Z_OK else { return nil }
            isReady = true
        }
        guard let count = UInt32(exactly: body.count), let bound = UInt32(exactly: deflateBound(stream, UInt(count))) else { return nil }
        var output = ByteBuffer()
        var isDone = false
        output.writeWithUnsafeMutableBytes(minimumWritableBytes: Int(bound)) { target in
            // zlib does not write through `next_in`; only its type says otherwise.
            stream.pointee.next_in = UnsafeMutablePointer(mutating: body.baseAddress?.assumingMemoryBound(to: UInt8.self))
            stream.pointee.avail_in = count
            stream.pointee.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
            stream.pointee.avail_out = bound
            isDone = deflate(stream, Z_FINISH) == Z_STREAM_END
            return Int(bound - stream.pointee.avail_out)
        }
        return isDone ? output : nil
    }
}
