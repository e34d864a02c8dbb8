import NIOCore

/// Time that never jumps, since some moment before the start.
enum Uptime {
    static var now: Duration { .nanoseconds(Int64(NIODeadline.now().uptimeNanoseconds)) }
}
