import CSupervision
import Glibc

/// Whether this process was started on a terminal: it has a controlling one, one of its standard descriptors is a terminal,
/// and nobody (`nohup`) has had SIGHUP ignored for it. To be asked before handlers are installed.
package enum StartingTerminal {
    package static var isPresent: Bool {
        guard csup_signal_is_ignored(SIGHUP) == 0 else { return false }
        let terminal = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC)
        guard terminal >= 0 else { return false }
        close(terminal)
        return (0...2).contains { isatty($0) == 1 }
    }
}
