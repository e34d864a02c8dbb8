import Glibc
import NIOConcurrencyHelpers
import NIOCore

/// How many descriptors this process may have, and how many of them connections leave to everything else.
package struct DescriptorLimit: Sendable, Equatable {
    package enum Share: Sendable {
        /// Stops while `reserve` descriptors are left.
        case ordinary
        /// For those without whom the process cannot work: stops at a quarter of that.
        case essential
    }

    /// `RLIMIT_NOFILE`.
    package let limit: Int

    package init(limit: Int) { self.limit = limit }

    /// Raises the soft limit to the hard one, for this process and what it starts, and reads it.
    package static func raised() -> DescriptorLimit {
        var value = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &value) == 0 else { return DescriptorLimit(limit: 1024) }
        if value.rlim_cur < value.rlim_max {
            var wanted = value
            wanted.rlim_cur = wanted.rlim_max
            if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &wanted) == 0 { value = wanted }
        }
        return DescriptorLimit(limit: Int(clamping: value.rlim_cur))
    }

    /// What ordinary connections leave: a sixteenth, at least 24 and at most 512. Starting a child takes ten at a time, a command three.
    package var reserve: Int { min(512, max(24, limit / 16)) }

    package func reserve(for share: Share) -> Int { share == .ordinary ? reserve : reserve / 4 }
}

/// The descriptors of this process that connections may still take. One for all its listeners; locked, for listeners may have
/// loops of their own.
///
/// Counting the table costs microseconds per thousand entries, so it is counted when the estimate is used up or old, and accepted
/// and closed connections are added up in between. What others take meanwhile is noticed by the lowest free number, which the
/// kernel always hands out first: where it lies in the reserve, everything below is taken.
package final class DescriptorBudget: Sendable {
    private struct State {
        var free = 0
        var countedAt: NIODeadline?
    }

    /// Until when an estimate holds that is not used up, and how soon one that is may be made anew.
    private static let lifetime = TimeAmount.seconds(5)
    private static let pause = TimeAmount.milliseconds(50)

    package static let process = DescriptorBudget(.raised())

    package let limit: DescriptorLimit
    private let state = NIOLockedValueBox(State())

    package init(_ limit: DescriptorLimit) { self.limit = limit }

    /// How many connections may be accepted before asking again; 0 = none now.
    package func room(for share: DescriptorLimit.Share, now: NIODeadline) -> Int {
        let reserve = limit.reserve(for: share)
        guard lowestFree < limit.limit - reserve else { return 0 }
        // What is asked for now is accepted whenever somebody connects: never more than a part of the reserve.
        let batch = max(1, reserve / 4)
        return state.withLockedValue { state in
            let age = state.countedAt.map { now - $0 }
            let isOld = age.map { $0 >= (state.free > reserve ? Self.lifetime : Self.pause) } ?? true
            if isOld {
                state.free = limit.limit - Self.openCount
                state.countedAt = now
            }
            return min(max(0, state.free - reserve), batch)
        }
    }

    package func taken() { state.withLockedValue { $0.free -= 1 } }
    package func givenBack() { state.withLockedValue { $0.free += 1 } }

    private var lowestFree: Int {
        let descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == EMFILE || errno == ENFILE ? .max : 0 }
        close(descriptor)
        return Int(descriptor)
    }

    /// Open descriptors, the one that looks not counted. More than any limit if there is none left to look with; 0
    /// where the table cannot be looked at, so that the lowest free number decides alone.
    private static var openCount: Int {
        guard let directory = opendir("/proc/self/fd") else { return errno == EMFILE || errno == ENFILE ? .max / 2 : 0 }
        defer { closedir(directory) }
        var count = 0
        while let entry = readdir(directory) {
            // `.` and `..` begin with what no number begins with.
            if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
        }
        return count - 1
    }
}
