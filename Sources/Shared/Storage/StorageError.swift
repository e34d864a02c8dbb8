import CSQLite
import IIIProtocol

/// Why a store could not do what was asked of it.
package struct StorageError: Error, Sendable {
    package let description: String
}
