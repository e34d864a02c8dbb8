import Glibc
import IIICron
import NIOCore
import NIOPosix

/// A clock that a test sets while `iii-cron` runs, line by line through a named pipe: `step MS` as a time service does, which the timer is told at once;
/// `drift MS` as nobody does who can help it: nothing is told. Looks at itself every second instead of every minute.
final class SteeredTickTimer: TickTimer, @unchecked Sendable {
    private let real: SystemTickTimer
    private let pipe: String
    /// Milliseconds. This and what follows on the event loop only.
    private var offset = 0
    private var armed: Int?
    private var onFire: (Bool) -> Void = { _ in }

    init(pipe: String, offsetMilliseconds: Int) {
        real = SystemTickTimer(offsetMilliseconds: offsetMilliseconds)
        self.pipe = pipe
    }

    struct NoPipe: Error { let path: String }

    var now: Int { real.now + offset * 1_000_000 }
    var uptime: Int { real.uptime }

    func arm(at milliseconds: Int?) {
        armed = milliseconds
        real.arm(at: milliseconds.map { $0 - offset })
    }

    func start(on eventLoop: any EventLoop, onFire: @escaping (Bool) -> Void) throws {
        self.onFire = onFire
        try real.start(on: eventLoop, onFire: onFire)
        eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in self.onFire(false) }
        // For writing too, so that it does not end with its first writer.
        let descriptor = open(pipe, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw NoPipe(path: pipe) }
        NIOThreadPool.singleton.submit { _ in self.follow(descriptor, eventLoop) }
    }

    func stop() { real.stop() }

    private func follow(_ descriptor: CInt, _ eventLoop: any EventLoop) {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while read(descriptor, &byte, 1) == 1 {
            guard byte == UInt8(ascii: "\n") else {
                line.append(byte)
                continue
            }
            let words = String(decoding: line, as: UTF8.self).split(separator: " ")
            line = []
            guard words.count == 2, let milliseconds = Int(words[1]) else { continue }
            let isTold = words[0] == "step"
            eventLoop.execute { self.set(by: milliseconds, isTold: isTold) }
        }
    }

    private func set(by milliseconds: Int, isTold: Bool) {
        offset += milliseconds
        // A wait for a time of the day ends at that time, as the clock has it now.
        arm(at: armed)
        if isTold { onFire(true) }
    }
}
