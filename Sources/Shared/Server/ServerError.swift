import IIIProtocol
import NIOCore

/// Why a server could not be started.
package struct ServerError: Error, Sendable {
    package let description: String
}
