import IIIAMQP
import NIOCore

/// Takes delayed messages out of the ladder when their time has come, and puts them where they go then: confirmed there before they leave
/// here, so that they may come twice and never get lost. Every instance does it; what one has published another may move.
///
/// Confined to its event loop; the moving happens on the thread of `jobs`.
final class DelayPump {
    private let topology: RabbitMQTopology
    private let jobs: AMQPJobs
    private let eventLoop: any EventLoop
    private let clock: any QueueClock
    /// When the first message of each level leaves it, as far as is known.
    private var next: [DelayLadder.Level: Int] = [:]
    private var timer: (at: Int, cancel: () -> Void)?
    private var cancelSweep: (() -> Void)?
    private var isPumping = false
    private var isClosed = false
    /// How many have arrived in each queue.
    private let arrived: ([String: Int]) -> Void

    /// Between two looks at what others have put there, in milliseconds.
    static let sweepInterval = 5000
    private static let troublePause = 1000
    /// Messages moved at a time, and their bytes.
    private static let batch = 100
    private static let batchBytes = 8 << 20

    init(
        _ topology: RabbitMQTopology, _ jobs: AMQPJobs, _ eventLoop: any EventLoop, _ clock: any QueueClock,
        arrived: @escaping ([String: Int]) -> Void
    ) {
        self.topology = topology
        self.jobs = jobs
        self.eventLoop = eventLoop
        self.clock = clock
        self.arrived = arrived
    }

    func start() { sweep() }

    func close() {
        isClosed = true
        timer?.cancel()
        cancelSweep?()
    }

    private func sweep() {
        guard !isClosed else { return }
        for level in DelayLadder.levels { note(level, clock.now) }
        cancelSweep = clock.schedule(at: clock.now + Self.sweepInterval) { [weak self] in self?.sweep() }
    }

    /// Something that is due then was put into the ladder just now.
    func added(due: Int) {
        let now = clock.now
        guard let level = DelayLadder.level(remaining: due - now) else { return note(DelayLadder.levels[0], now) }
        note(level, DelayLadder.release(level, entered: now, due: due))
    }

    private func note(_ level: DelayLadder.Level, _ time: Int) {
        if let known = next[level], known <= time { return }
        next[level] = time
        arm()
    }

    private func arm() {
        guard !isPumping, !isClosed, let first = next.values.min() else { return }
        if let timer, timer.at <= first { return }
        timer?.cancel()
        timer = (first, clock.schedule(at: first) { [weak self] in self?.pump() })
    }

    private func pump() {
        timer = nil
        let now = clock.now
        let due = next.filter { $0.value <= now }.keys.sorted { $0.hold > $1.hold }
        guard !isPumping, !isClosed, !due.isEmpty else { return arm() }
        isPumping = true
        for level in due { next[level] = nil }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        jobs.submit { [topology] session throws(AMQPError) in
            try Self.move(due, from: now, topology, session)
        } completion: { [eventLoop] result in
            eventLoop.execute { bound.value.pumped(due, result) }
        }
    }

    private func pumped(_ levels: [DelayLadder.Level], _ result: Result<Moved, AMQPError>) {
        isPumping = false
        switch result {
        case .failure: for level in levels { note(level, clock.now + Self.troublePause) }
        case .success(let moved):
            for (level, time) in moved.next { note(level, time) }
            if !moved.arrived.isEmpty { arrived(moved.arrived) }
        }
        arm()
    }

    struct Moved: Sendable {
        var next: [DelayLadder.Level: Int] = [:]
        var arrived: [String: Int] = [:]
    }

    private static func move(
        _ levels: [DelayLadder.Level], from start: Int, _ topology: RabbitMQTopology, _ session: AMQPJobs.Session
    ) throws(AMQPError) -> Moved {
        let began = ContinuousClock.now
        func now() -> Int { start + (ContinuousClock.now - began).milliseconds }
        var moved = Moved()
        let (broker, channel) = (session.broker, AMQPJobs.Session.channel)
        for level in levels {
            var isDone = false
            // One level does not hold up the others for long.
            for _ in 0..<50 where !isDone {
                var (batch, bytes): ([(AMQPMessage, AMQPPublisher.Address)], Int) = ([], 0)
                var last: UInt64?
                while batch.count < Self.batch, bytes < Self.batchBytes {
                    guard let delivery = try broker.get(topology.delay(level), on: channel) else {
                        isDone = true
                        break
                    }
                    let headers = delivery.message.headers
                    let due = headers[RabbitMQCodec.Header.due]?.integer ?? 0
                    let release = DelayLadder.release(
                        level, entered: headers[RabbitMQCodec.Header.entered]?.integer ?? 0, due: due)
                    guard release <= now() else {
                        try broker.giveBack(delivery.tag, on: channel)
                        moved.next[level] = min(release, moved.next[level] ?? release)
                        isDone = true
                        break
                    }
                    var message = delivery.message
                    message.headers[RabbitMQCodec.Header.copy] = .text(
                        RabbitMQCodec.successor(of: headers[RabbitMQCodec.Header.copy]?.text) { "\(start)-\(delivery.tag)" })
                    let destination = headers[RabbitMQCodec.Header.destination]?.text ?? topology.undeliverable
                    let time = now()
                    batch.append(RabbitMQCodec.delayed(message, until: due, then: destination, now: time, topology))
                    if let level = DelayLadder.level(remaining: due - time) {
                        let release = DelayLadder.release(level, entered: time, due: due)
                        moved.next[level] = min(release, moved.next[level] ?? release)
                    } else {
                        moved.arrived[destination, default: 0] += 1
                    }
                    bytes += message.cost
                    last = delivery.tag
                }
                for index in try session.publish(batch) {
                    _ = try session.publish([(batch[index].0, AMQPPublisher.Address(exchange: "", key: topology.undeliverable))])
                }
                if let last { try broker.acknowledge(last, isMultiple: true, on: channel) }
            }
            if !isDone { moved.next[level] = now() }
        }
        return moved
    }
}
