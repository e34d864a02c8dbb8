import CHiredis
import IIIProtocol

/// Why a Redis command did not succeed.
package struct RedisError: Error, Sendable {
    package let description: String
}
