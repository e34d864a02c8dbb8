import IIITelemetry
import IIIWorker
import NIOCore

/// The time of one process, on its event loop.
public final class LoopClock: QueueClock {
    private let eventLoop: any EventLoop
    private let startedAt = NIODeadline.now()
    private let startedAtWall: Int

    public init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        startedAtWall = WallClock.milliseconds()
    }

    public var now: Int { startedAtWall + Int((NIODeadline.now() - startedAt).nanoseconds / 1_000_000) }
    public var wallNow: Int { WallClock.milliseconds() }

    public func schedule(at time: Int, _ work: @escaping () -> Void) -> () -> Void {
        let work = NIOLoopBound(work, eventLoop: eventLoop)
        // Never early: the millisecond that has begun counts as not over.
        let task = eventLoop.scheduleTask(in: .milliseconds(Int64(max(0, time - now + (time > now ? 1 : 0))))) { work.value() }
        return { task.cancel() }
    }
}
