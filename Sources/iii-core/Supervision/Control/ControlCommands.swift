import Glibc
import IIIConfiguration
import IIIProtocol
import IIITelemetry

/// The commands of the CLI that talk to a running engine. Each writes to stdout and stderr and returns its exit code
/// (docs/reference/errors.md#exit-codes): 0 done, 1 not ready, failed or unknown name, 4 no engine answers, 5 timeout.
package struct ControlCommands: Sendable {
    package var client: ControlClient
    /// Where text goes; stdout and stderr unless a test listens.
    package var output: @Sendable (String) -> Void
    package var errors: @Sendable (String) -> Void

    package init(
        socketPath: String, hint: String? = nil, timeout: Duration = .seconds(120),
        output: @escaping @Sendable (String) -> Void = { Self.write($0, to: 1) },
        errors: @escaping @Sendable (String) -> Void = { Self.write($0, to: 2) }
    ) {
        client = ControlClient(path: socketPath, timeout: timeout, hint: hint)
        self.output = output
        self.errors = errors
    }

    package func ps(json: Bool) -> Int32 {
        guarded { () throws(FleetError) in
            let result = try client.call(.list)
            output(json ? result.pretty() : FleetTable.ps((result["children"]?.array ?? []).compactMap(ChildStatus.init)))
            return 0
        }
    }

    /// With `waitReady` asks again until everything is ready, an entry has given up for good, or `timeout` is over.
    package func status(name: String? = nil, json: Bool = false, waitReady: Bool = false, timeout: Duration = .seconds(30)) -> Int32 {
        let end = MonotonicClock.now + timeout
        while true {
            var lastError: FleetError?
            do throws(FleetError) {
                let result = try client.call(.status(name: name))
                if result["ready"]?.bool == true || !waitReady { return show(result, json) }
                let hasGivenUp = (result["children"]?.array ?? []).contains { $0["state"]?.string == ChildMachine.State.failed.rawValue }
                if hasGivenUp || MonotonicClock.now >= end { return show(result, json) }
            } catch {
                lastError = error
            }
            if let lastError, !waitReady || lastError.code != FleetError.Code.noEngine.rawValue || MonotonicClock.now >= end {
                return report(lastError)
            }
            usleep(100_000)
        }
    }

    package func restart(name: String?) -> Int32 { perform(.restart(name: name), done: "restarted") }
    package func stop(name: String) -> Int32 { perform(.stop(name: name), done: "stopped") }
    package func start(name: String) -> Int32 { perform(.start(name: name), done: "started") }
    package func reset(name: String) -> Int32 { perform(.reset(name: name), done: "reset") }
    package func reload() -> Int32 { perform(.reload, done: "configuration reloaded") }
    package func shutdown() -> Int32 { perform(.shutdown, done: "shutting down") }

    /// `since`: how far back, nil for everything the ring holds. Following ends with the engine.
    package func logs(names: [String], count: Int = 100, since: Duration? = nil, follow: Bool = false, json: Bool = false) -> Int32 {
        let oldest = since.map { LogTimestamp.nowNanoseconds() - $0.wholeMilliseconds * 1_000_000 }
        return guarded { () throws(FleetError) in
            do throws(FleetError) {
                _ = try client.call(.logs(names: names, count: count, since: oldest, follow: follow)) { line in
                    if json { return output(String(decoding: LogText.json(line), as: UTF8.self)) }
                    let time = line["timestamp"]?.string.map { String($0.dropFirst(11).prefix(12)) } ?? ""
                    output("\(time) \(line["target"]?.string ?? "") | \(LogText.singleLine(LogLine.text(of: line)))")
                }
            } catch {
                // Followed to the end: the engine has stopped.
                if follow, error.message.hasSuffix("closed the connection") { return 0 }
                throw error
            }
            return 0
        }
    }

    /// The metrics of core, built-ins and workers.
    package func metrics(_ format: MetricsFormat) -> Int32 {
        guarded { () throws(FleetError) in
            _ = try client.call(.metrics(format)) { line in
                // Whole lines come; `output` ends them with one more.
                if let text = line["text"]?.string { output(String(text.dropLast())) }
            }
            return 0
        }
    }

    private func show(_ result: JSONValue, _ json: Bool) -> Int32 {
        let isReady = result["ready"]?.bool ?? false
        let children = (result["children"]?.array ?? []).compactMap(ChildStatus.init)
        if json {
            output(result.pretty())
        } else {
            let up = FleetTable.duration(.milliseconds(result["uptime_ms"]?.integer ?? 0))
            output(
                "iii-core \(result["version"]?.string ?? "") on port \(result["port"]?.text ?? "?"): \(result["phase"]?.string ?? "?"), "
                    + "\(isReady ? "ready" : "not ready"), pid \(result["pid"]?.text ?? "?"), up \(up)")
            if let reload = result["last_reload"], !reload.isNull {
                output("last reload: \(reload["at"]?.string ?? "") " + (reload["error"]?.string.map { "refused: \($0)" } ?? "ok"))
            }
            for child in children { output(FleetTable.status(child)) }
        }
        return isReady ? 0 : 1
    }

    private func perform(_ request: FleetRequest, done: String) -> Int32 {
        guarded { () throws(FleetError) in
            let result = try client.call(request)
            output(result["name"]?.string.map { "\($0): \(done)" } ?? done)
            return 0
        }
    }

    private func guarded(_ body: () throws(FleetError) -> Int32) -> Int32 {
        do throws(FleetError) { return try body() } catch { return report(error) }
    }

    private func report(_ error: FleetError) -> Int32 {
        // A configuration's errors come with the word.
        errors(error.message.hasPrefix("Error: ") ? error.message : "Error: \(error.message)")
        return error.exitCode
    }

    package static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array(text.utf8) + [UInt8(ascii: "\n")]
        var start = 0
        while start < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress.map { $0 + start }, bytes.count - start) }
            if count <= 0 { return }
            start += count
        }
    }
}
