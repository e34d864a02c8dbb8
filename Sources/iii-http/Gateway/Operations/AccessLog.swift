import IIIProtocol
import IIISettings
import IIIWorker
import Logging
import NIOCore
import NIOHTTP1

/// What is known of a request when it begins; exists only while the log is on and has chosen this request.
struct AccessRecord {
    let method: HTTPMethod
    /// Request target; its query is logged by keys only.
    let uri: String
    let startedAt: NIODeadline
    let remoteAddress: String
    let host: String
}

/// Writes one line per request. Values of queries, headers and bodies never reach it.
///
/// A request is chosen when it begins, by a random draw against `access_log_sample`. Confined to the gateway's event loop.
final class AccessLog {
    private let format: AccessLogFormat
    private let threshold: UInt64
    private let logger: Logger
    private let writeLine: ([UInt8]) -> Void
    private var generator: SeededGenerator

    /// nil when nothing is to be logged, so that a request pays one comparison. `writeLine` takes the JSON lines.
    init?(format: AccessLogFormat, sample: Double, logger: Logger, seed: UInt64, writeLine: @escaping ([UInt8]) -> Void) {
        guard format != .off, sample > 0 else { return nil }
        if format == .text, logger.logLevel > .info { return nil }
        self.format = format
        threshold = sample >= 1 ? .max : UInt64(sample * Double(UInt64.max))
        self.logger = logger
        self.writeLine = writeLine
        generator = SeededGenerator(seed: seed)
    }

    var takesNext: Bool { threshold == .max || generator.next() < threshold }

    /// `byteCount` counts the response with its head.
    func write(_ record: AccessRecord, route: Route?, status: Int, byteCount: Int, requestID: String?, now: NIODeadline) {
        let (path, keys) = Self.split(record.uri)
        let microseconds = (now - record.startedAt).nanoseconds / 1000
        switch format {
        case .off: break
        case .text:
            var metadata: Logger.Metadata = ["bytes": "\(byteCount)", "remote_addr": "\(record.remoteAddress)"]
            if let route { metadata["route"] = "\(route.description)" }
            if let requestID { metadata["request_id"] = "\(requestID)" }
            if !keys.isEmpty { metadata["query_keys"] = "\(keys.joined(separator: ","))" }
            let target = route?.functionID.text ?? "<no route>"
            logger.info(
                "[CALLED] Endpoint \(record.method.rawValue) \(path) → \(target) \(status) (\(microseconds / 1000)ms)", metadata: metadata)
        case .json:
            let line: JSONValue = [
                "type": "access", "ts_ms": .integer(Int64(HTTPDate.now().nanoseconds / 1_000_000)),
                "method": .string(record.method.rawValue),
                "path": .string(path), "query_keys": .array(keys.map(JSONValue.string)), "host": .string(record.host),
                "route": JSONValue(route?.description), "function_id": JSONValue(route?.functionID.text), "status": JSONValue(status),
                "bytes": JSONValue(byteCount), "duration_ms": .double(Double(microseconds) / 1000), "request_id": JSONValue(requestID),
                "remote_addr": .string(record.remoteAddress),
            ]
            writeLine(line.bytes + [UInt8(ascii: "\n")])
        }
    }

    /// Path and the names of the query's members, still percent-encoded.
    static func split(_ uri: String) -> (path: String, keys: [String]) {
        let target = uri.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let query = parts.count > 1 ? parts[1] : ""
        let keys = query.split(separator: "&").map { String($0.prefix { $0 != "=" }) }
        return (String(parts[0]), keys)
    }
}
