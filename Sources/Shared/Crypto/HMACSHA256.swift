import COpenSSL

/// HMAC-SHA256 under one fixed key, for many short messages.
///
/// Algorithm and key are set up once and only rewound per message, so a MAC costs neither a fetch nor a key schedule.
/// Confined to one thread at a time: the owner's event loop. Not `Sendable` on purpose.
package final class HMACSHA256 {
    /// Length of a MAC in bytes.
    package static let byteCount = 32

    private let algorithm: OpaquePointer
    private let context: OpaquePointer

    /// Takes any key length, the empty key included. Without HMAC in libcrypto there is no safe way on: that ends the process.
    package init(key: [UInt8]) {
        guard let algorithm = EVP_MAC_fetch(nil, "HMAC", nil), let context = EVP_MAC_CTX_new(algorithm) else {
            fatalError("OpenSSL offers no HMAC")
        }
        self.algorithm = algorithm
        self.context = context
        // OpenSSL reads a nil key as "keep the old one", so the empty key needs an address too.
        let keyBytes = key.isEmpty ? [0] : key
        var digestName = Array("SHA256\0".utf8CString)
        let isKeyed = digestName.withUnsafeMutableBufferPointer { name in
            "digest".withCString { parameterName in
                let parameters = [
                    OSSL_PARAM(
                        key: parameterName, data_type: CUnsignedInt(OSSL_PARAM_UTF8_STRING), data: name.baseAddress, data_size: 6,
                        return_size: 0),
                    OSSL_PARAM(),
                ]
                return EVP_MAC_init(context, keyBytes, key.count, parameters)
            }
        }
        precondition(isKeyed == 1, "OpenSSL offers no HMAC-SHA256")
    }

    deinit {
        EVP_MAC_CTX_free(context)
        EVP_MAC_free(algorithm)
    }

    /// Writes the 32 bytes of the MAC of `message` to the start of `output`, which must have room for them.
    package func authenticate(_ message: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count >= Self.byteCount)
        var length = 0
        let isDone =
            EVP_MAC_init(context, nil, 0, nil) == 1
            && EVP_MAC_update(context, message.baseAddress?.assumingMemoryBound(to: UInt8.self), message.count) == 1
            && EVP_MAC_final(context, output.baseAddress?.assumingMemoryBound(to: UInt8.self), &length, output.count) == 1
        precondition(isDone && length == Self.byteCount, "HMAC-SHA256 failed")
    }

    /// The MAC of `message`.
    package func authenticate(_ message: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            message.withUnsafeBytes { authenticate($0, into: UnsafeMutableRawBufferPointer(buffer)) }
            count = Self.byteCount
        }
    }
}
