import CLinux
import Glibc

/// Keeps other processes of the same user out of the memory, the environment and the descriptors of one that holds secrets:
/// the core and its built-ins. A protected process cannot be attached to by a debugger and leaves no core dump.
package enum ProcessProtection {
    /// `1` leaves the process open: `iii-core up --debuggable` sets it for itself and its built-ins.
    package static let debuggableVariable = "III_DEBUGGABLE"

    /// To be called before any secret is read. Throws only if the kernel refuses, which no Linux does.
    package static func begin() throws(ConfigurationError) {
        guard environmentValue(debuggableVariable) != "1" else { return }
        guard iii_set_dumpable(0) == 0 else {
            throw ConfigurationError("this process cannot be protected (PR_SET_DUMPABLE): \(String(cString: strerror(errno)))")
        }
    }
}
