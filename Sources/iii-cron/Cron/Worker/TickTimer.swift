import CLinux
import Glibc
import IIITelemetry
import NIOCore
import Synchronization

/// The one timer of `iii-cron`, and the clock it follows. Tests have their own.
///
/// Besides what it is asked for it calls `onFire` at least once a minute, measured by a clock that nobody sets: a clock that was set and told
/// nobody is noticed then.
public protocol TickTimer: AnyObject {
    /// Nanoseconds since 1970.
    var now: Int { get }
    /// Nanoseconds on a clock that nobody sets: what `now` gains on it, it was set by.
    var uptime: Int { get }
    /// Calls `onFire` at this time (milliseconds since 1970), or at once when it is past; the time before is forgotten. nil: never.
    func arm(at milliseconds: Int?)
    /// On the event loop. `clockWasSet`: the clock was, by hand or by a time service, and a wait may have been for another time than it seems.
    func start(on eventLoop: any EventLoop, onFire: @escaping (_ clockWasSet: Bool) -> Void) throws
    func stop()
}

/// A `timerfd` on the clock of the day: it sleeps until its time, wakes at once when the clock is set, and costs nothing meanwhile.
///
/// One thread waits for it and hands every wake-up to the event loop. `offset` moves the clock, for tests of instances whose clocks differ.
public final class SystemTickTimer: TickTimer, @unchecked Sendable {
    private let offset: Int
    private var descriptor: CInt = -1
    private let isStopping = Atomic<Bool>(false)
    private var look: RepeatedTask?

    /// TFD_CLOEXEC; TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET. (Macros that Swift does not see.)
    private static let createFlags = CInt(O_CLOEXEC)
    private static let setFlags: CInt = 1 | 2

    public init(offsetMilliseconds: Int = 0) { offset = offsetMilliseconds }

    deinit { if descriptor >= 0 { close(descriptor) } }

    public var now: Int { WallClock.nanoseconds() + offset * 1_000_000 }

    public var uptime: Int { Int(NIODeadline.now().uptimeNanoseconds) }

    public struct Failure: Error, CustomStringConvertible { public let description: String }

    public func start(on eventLoop: any EventLoop, onFire: @escaping (_ clockWasSet: Bool) -> Void) throws {
        descriptor = timerfd_create(CLOCK_REALTIME, Self.createFlags)
        guard descriptor >= 0 else { throw Failure(description: "no timer: \(String(cString: strerror(errno)))") }
        let fire = NIOLoopBound(onFire, eventLoop: eventLoop)
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        let waiter = Unmanaged.passRetained(Waiter(timer: self) { wasSet in eventLoop.execute { fire.value(wasSet) } })
        var thread = pthread_t()
        let result = pthread_create(
            &thread, &attributes,
            { context in
                guard let context else { return nil }
                Unmanaged<Waiter>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, waiter.toOpaque())
        guard result == 0 else {
            waiter.release()
            throw Failure(description: "no thread for the timer: \(String(cString: strerror(result)))")
        }
        look = eventLoop.scheduleRepeatedTask(initialDelay: .minutes(1), delay: .minutes(1)) { _ in fire.value(false) }
    }

    public func arm(at milliseconds: Int?) {
        guard descriptor >= 0 else { return }
        var time = itimerspec()
        if let milliseconds {
            // Zero would mean never.
            let real = max(1, milliseconds - offset)
            time.it_value.tv_sec = real / 1_000
            time.it_value.tv_nsec = real % 1_000 * 1_000_000
        }
        timerfd_settime(descriptor, Self.setFlags, &time, nil)
    }

    public func stop() {
        guard descriptor >= 0 else { return }
        look?.cancel()
        isStopping.store(true, ordering: .relaxed)
        arm(at: 1 + offset)
    }

    private final class Waiter {
        private let timer: SystemTickTimer
        private let wake: (Bool) -> Void

        init(timer: SystemTickTimer, wake: @escaping (Bool) -> Void) {
            self.timer = timer
            self.wake = wake
        }

        func run() {
            var expirations: UInt64 = 0
            while !timer.isStopping.load(ordering: .relaxed) {
                let count = read(timer.descriptor, &expirations, MemoryLayout<UInt64>.size)
                if timer.isStopping.load(ordering: .relaxed) { return }
                if count > 0 {
                    wake(false)
                } else if errno == ECANCELED {
                    wake(true)
                } else if errno != EINTR && errno != EAGAIN {
                    return
                }
            }
        }
    }
}
