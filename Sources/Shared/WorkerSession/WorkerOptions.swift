import Glibc
import IIIProtocol
import IIITelemetry
import IIITransport
import NIOCore

/// How a worker connects and what it tells about itself.
public struct WorkerOptions: Sendable {
    /// Default: `$III_URL`, else `ws://127.0.0.1:49134`.
    public var url: WebSocketURL
    /// Shown in listings. Default: `$III_WORKER_NAME`, else `hostname:pid`.
    public var name: String
    /// One sentence for listings.
    public var description: String?
    /// Extra headers of the upgrade request, e.g. `Authorization` for listeners with access rules.
    public var headers: [(String, String)] = []
    /// Limit for TCP connect and handshake. Default 10 s.
    public var connectTimeout = TimeAmount.seconds(10)
    /// First delay before a reconnect; it doubles up to `maximumReconnectDelay`, ± 30 %. Defaults 1 s and 30 s.
    public var reconnectDelay = TimeAmount.seconds(1)
    /// The longest of these pauses.
    public var maximumReconnectDelay = TimeAmount.seconds(30)
    /// Limit of a call that names none. Default 30 s.
    public var callTimeout = TimeAmount.seconds(30)
    /// Calls that may wait for a connection while offline; further ones fail with `DISCONNECTED`. Default 1 000.
    public var maximumWaitingCalls = 1_000
    /// The engine is pinged after this much silence, and given up after `silenceTimeout`. Defaults 20 s and 60 s.
    public var pingInterval = TimeAmount.seconds(20)
    /// An engine that sends nothing for so long is given up and connected to again.
    public var silenceTimeout = TimeAmount.seconds(60)
    /// Whether `WorkerClient.run` ends on SIGTERM and SIGINT. Off where somebody else watches signals. Default true.
    public var handlesSignals = true
    /// Which traces a `WorkerClient` records; nil for none. Default: those that its callers record (`Sampler.following`), and with
    /// `$OTEL_TRACES_SAMPLER_ARG` that share of those that begin here; `$OTEL_ENABLED=false` for none.
    public var sampler = WorkerOptions.samplerFromEnvironment()
    /// Whether `engine::workers::register` is sent after each connect. Built-ins say `core::builtin::hello` instead.
    public var reportsMetadata = true

    /// The rest has the defaults that stand at each property.
    public init(url: WebSocketURL, name: String? = nil) {
        self.url = url
        self.name = name ?? environmentValue("III_WORKER_NAME") ?? "\(hostName()):\(getpid())"
    }

    /// From the environment; throws when `III_URL` is not an address.
    public init(name: String? = nil) throws(WebSocketURL.Invalid) {
        self.init(url: try WebSocketURL(environmentValue("III_URL") ?? "ws://127.0.0.1:49134"), name: name)
    }
}

extension WorkerOptions {
    private static func samplerFromEnvironment() -> Sampler? {
        if let isEnabled = environmentValue("OTEL_ENABLED"), isEnabled != "true", isEnabled != "1" { return nil }
        return environmentValue("OTEL_TRACES_SAMPLER_ARG").flatMap { Double($0) }.map { Sampler(ratio: $0) } ?? .following
    }

    /// What a worker's spans and metrics say about where they come from.
    var resource: [(key: String, value: TelemetryValue)] {
        [
            ("service.name", .string(environmentValue("OTEL_SERVICE_NAME") ?? name)),
            ("service.version", .string(environmentValue("SERVICE_VERSION") ?? "unknown")),
            ("service.instance.id", .string(UUIDBits.random().text)),
            ("telemetry.sdk.name", "iii-swift"), ("telemetry.sdk.language", "swift"),
        ]
    }
}

/// The version this library reports.
public let workerLibraryVersion = "0.1.0"

package func environmentValue(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
}

func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return buffer.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "localhost" }
}
