import COpenSSL
import NIOCore

/// The two ends of a connection in memory, as OpenSSL sees them: it reads straight from the bytes that the socket delivered and
/// writes straight into the buffer that goes to the socket.
///
/// A BIO of our own instead of OpenSSL's memory BIOs: those copy every byte once more and keep their largest size for ever.
final class TLSWire {
    /// Ciphertext to be read; set only while its buffer is borrowed.
    var input = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Ciphertext to be sent.
    var output = ByteBuffer()

    /// A new BIO on this object, which must outlive it.
    func makeBIO() -> OpaquePointer? {
        guard let bio = BIO_new(Self.method.pointer) else { return nil }
        BIO_set_data(bio, Unmanaged.passUnretained(self).toOpaque())
        BIO_set_init(bio, 1)
        return bio
    }

    /// Made once; immutable from then on.
    private struct Method: @unchecked Sendable {
        let pointer: OpaquePointer
    }

    private static let method: Method = {
        guard let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "iii wire") else {
            fatalError("OpenSSL is out of memory")
        }
        BIO_meth_set_read(method) { bio, target, count in
            guard let bio, let target, count > 0, let wire = TLSWire.of(bio) else { return 0 }
            iii_bio_clear_retry(bio)
            guard !wire.input.isEmpty else {
                iii_bio_set_retry_read(bio)
                return -1
            }
            let taken = UnsafeRawBufferPointer(rebasing: wire.input.prefix(Int(count)))
            UnsafeMutableRawBufferPointer(start: target, count: taken.count).copyMemory(from: taken)
            wire.input = UnsafeRawBufferPointer(rebasing: wire.input.dropFirst(taken.count))
            return CInt(taken.count)
        }
        BIO_meth_set_write(method) { bio, source, count in
            guard let bio, let source, count > 0, let wire = TLSWire.of(bio) else { return 0 }
            iii_bio_clear_retry(bio)
            wire.output.writeBytes(UnsafeRawBufferPointer(start: source, count: Int(count)))
            return count
        }
        // Flushing has nothing to do and must not fail; everything else is not offered.
        BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
        return Method(pointer: method)
    }()

    private static func of(_ bio: OpaquePointer) -> TLSWire? {
        BIO_get_data(bio).map { Unmanaged<TLSWire>.fromOpaque($0).takeUnretainedValue() }
    }
}
