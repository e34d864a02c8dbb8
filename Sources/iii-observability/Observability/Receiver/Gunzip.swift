import CZlib

/// Unpacks gzip of one or several members, and never more than it is allowed to.
enum Gunzip {
    enum Failure: Error, Equatable { case damaged, tooLarge }

    static func unpack(_ packed: UnsafeRawBufferPointer, maximumBytes: Int) throws(Failure) -> [UInt8] {
        var stream = z_stream()
        guard iii_inflate_init_gzip(&stream) == Z_OK else { throw .damaged }
        defer { inflateEnd(&stream) }
        var unpacked: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        stream.next_in = UnsafeMutablePointer(mutating: packed.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(clamping: packed.count)
        var isWhole = false
        while !isWhole || stream.avail_in > 0 {
            // Another member, or nothing but what pads the file.
            if isWhole {
                guard inflateReset(&stream) == Z_OK else { throw .damaged }
                isWhole = false
            }
            let (status, count) = chunk.withUnsafeMutableBufferPointer { buffer in
                stream.next_out = buffer.baseAddress
                stream.avail_out = UInt32(buffer.count)
                let status = inflate(&stream, Z_NO_FLUSH)
                return (status, buffer.count - Int(stream.avail_out))
            }
            guard unpacked.count + count <= maximumBytes else { throw .tooLarge }
            unpacked.append(contentsOf: chunk[..<count])
            switch status {
            case Z_STREAM_END: isWhole = true
            case Z_OK where count > 0 || stream.avail_in > 0: break
            default: throw .damaged
            }
        }
        return unpacked
    }
}
