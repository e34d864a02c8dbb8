import Glibc
import IIIWorker
import NIOCore

/// The time of one process, on its event loop.
final class LoopClock: QueueClock {
    private let eventLoop: any EventLoop
    private let startedAt = NIODeadline.now()
    private let startedAtWall: Int

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        startedAtWall = Self.wall()
    }

    var now: Int { startedAtWall + Int((NIODeadline.now() - startedAt).nanoseconds / 1_000_000) }
    var wallNow: Int { Self.wall() }

    func schedule(at time: Int, _ work: @escaping () -> Void) -> () -> Void {
        let work = NIOLoopBound(work, eventLoop: eventLoop)
        // Never early: the millisecond that has begun counts as not over.
        let task = eventLoop.scheduleTask(in: .milliseconds(Int64(max(0, time - now + (time > now ? 1 : 0))))) { work.value() }
        return { task.cancel() }
    }

    private static func wall() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }
}
