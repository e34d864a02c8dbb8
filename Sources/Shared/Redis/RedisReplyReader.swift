import CHiredis
import NIOCore

/// hiredis' incremental parser of replies. Confined to one thread at a time.
final class RedisReplyReader {
    struct Malformed: Error {
        let reason: String
    }

    private let reader: UnsafeMutablePointer<redisReader>
    private let maximumBytes: Int

    /// `maximumBytes`: the longest reply that is waited for.
    init(maximumBytes: Int) throws(RedisError) {
        guard let reader = redisReaderCreate() else { throw RedisError(.overloaded, "out of memory") }
        self.reader = reader
        self.maximumBytes = maximumBytes
        // Its buffer is kept between replies.
        reader.pointee.maxbuf = 0
    }

    deinit { redisReaderFree(reader) }

    func feed(_ bytes: ByteBuffer) throws(Malformed) {
        let result = bytes.withUnsafeReadableBytes {
            redisReaderFeed(reader, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
        guard result == REDIS_OK else { throw malformed() }
    }

    /// The next whole reply; nil when more bytes are needed.
    func next() throws(Malformed) -> RedisValue? {
        var found: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &found) == REDIS_OK else { throw malformed() }
        guard let found else {
            guard reader.pointee.len - reader.pointee.pos <= maximumBytes else {
                throw Malformed(reason: "a reply is larger than \(maximumBytes) bytes")
            }
            return nil
        }
        defer { freeReplyObject(found) }
        return Self.value(found.assumingMemoryBound(to: redisReply.self))
    }

    private func malformed() -> Malformed {
        Malformed(reason: withUnsafeBytes(of: reader.pointee.errstr) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }

    /// hiredis refuses arrays that nest deeper than seven levels, so this ends.
    private static func value(_ reply: UnsafeMutablePointer<redisReply>) -> RedisValue {
        let bytes = UnsafeRawBufferPointer(start: reply.pointee.str, count: reply.pointee.str == nil ? 0 : Int(reply.pointee.len))
        switch reply.pointee.type {
        case REDIS_REPLY_STRING: return .bytes(Array(bytes))
        case REDIS_REPLY_STATUS: return .status(String(decoding: bytes, as: UTF8.self))
        case REDIS_REPLY_INTEGER: return .integer(Int(reply.pointee.integer))
        case REDIS_REPLY_ERROR: return .error(String(decoding: bytes, as: UTF8.self))
        case REDIS_REPLY_ARRAY:
            let elements = UnsafeBufferPointer(start: reply.pointee.element, count: Int(reply.pointee.elements))
            return .array(elements.map { element in element.map(value) ?? .null })
        default: return .null
        }
    }
}
