// swift-tools-version: 6.1
import PackageDescription

// One target per folder. Who may import whom is a rule, not a habit: see ARCHITECTURE.md and Tests/ArchitectureTests.
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "CoreMetrics", package: "swift-metrics")
let metricsAPI: Target.Dependency = .product(name: "Metrics", package: "swift-metrics")
let tracing: Target.Dependency = .product(name: "Tracing", package: "swift-distributed-tracing")
let instrumentation: Target.Dependency = .product(name: "Instrumentation", package: "swift-distributed-tracing")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "iii",
    products: [
        .library(name: "IIIWorker", targets: ["IIIWorker"]),
        .library(name: "IIIStorage", targets: ["IIIStorage"]),
        .library(name: "IIIRedis", targets: ["IIIRedis"]),
        .library(name: "IIITestSupport", targets: ["IIITestSupport"]),
        .executable(name: "iii-core", targets: ["iii-core"]),
        .executable(name: "iii-http", targets: ["iii-http"]),
        .executable(name: "iii-queue", targets: ["iii-queue"]),
        .library(name: "IIIQueue", targets: ["IIIQueue"]),
        .library(name: "IIIQueueContract", targets: ["IIIQueueContract"]),
        .library(name: "IIIStream", targets: ["IIIStream", "IIIItems", "IIIItemsContract"]),
        .library(name: "IIIState", targets: ["IIIState", "IIIItems", "IIIItemsContract"]),
        .executable(name: "iii-stream", targets: ["iii-stream"]),
        .executable(name: "visits-worker", targets: ["visits-worker"]),
        .library(name: "IIICron", targets: ["IIICron"]),
        .library(name: "IIICronContract", targets: ["IIICronContract"]),
        .executable(name: "iii-cron", targets: ["iii-cron"]),
        .executable(name: "iii-observability", targets: ["iii-observability"]),
        .library(name: "IIIObservability", targets: ["IIIObservability", "IIISignals"]),
        .executable(name: "hello-worker", targets: ["hello-worker"]),
        .executable(name: "board-worker", targets: ["board-worker"]),
        .executable(name: "iii-load", targets: ["iii-load"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    ],
    targets: [
        // Shared
        .systemLibrary(name: "COpenSSL", path: "Sources/Shared/COpenSSL", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CCurl", path: "Sources/Shared/CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CZlib", path: "Sources/Shared/CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CSQLite", path: "Sources/Shared/CSQLite", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(name: "CHiredis", path: "Sources/Shared/CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "CRabbitMQ", path: "Sources/Shared/CRabbitMQ", providers: [.apt(["librabbitmq-dev"])]),
        .systemLibrary(name: "CLinux", path: "Sources/Shared/CLinux"),
        .target(name: "IIIProtocol", path: "Sources/Shared/Protocol"),
        .target(name: "IIICrypto", dependencies: ["COpenSSL"], path: "Sources/Shared/Crypto"),
        .target(name: "IIISettings", dependencies: ["IIIProtocol"], path: "Sources/Shared/Settings"),
        .target(name: "IIIHTTPClient", dependencies: ["CCurl", nioCore, nioPosix], path: "Sources/Shared/HTTPClient"),
        .target(name: "IIITLS", dependencies: ["COpenSSL", "IIISettings", nioCore], path: "Sources/Shared/TLS"),
        .target(
            name: "IIITelemetry", dependencies: ["IIIProtocol", logging, metrics, tracing, instrumentation],
            path: "Sources/Shared/Telemetry"),
        .target(
            name: "IIIConfiguration", dependencies: ["IIIProtocol", "IIISettings", .product(name: "Yams", package: "Yams")],
            path: "Sources/Shared/Configuration"),
        .target(
            name: "IIITransport", dependencies: ["IIIProtocol", "IIICrypto", "IIITelemetry", nioCore, nioPosix, nioHTTP1, logging],
            path: "Sources/Shared/Transport"),
        .target(
            name: "IIIWorker",
            dependencies: [
                "CLinux", "IIIProtocol", "IIISettings", "IIITelemetry", "IIITransport", nioCore, nioPosix, nioHTTP1, logging, lifecycle,
            ],
            path: "Sources/Shared/WorkerSession"),
        .target(name: "IIIStorage", dependencies: ["CSQLite", "IIIProtocol", "IIITelemetry", logging], path: "Sources/Shared/Storage"),
        .target(
            name: "IIIRedis", dependencies: ["CHiredis", "IIIProtocol", "IIICrypto", "IIITLS", "IIITelemetry", nioCore, nioPosix, logging],
            path: "Sources/Shared/Redis"),
        .target(
            name: "IIIAMQP", dependencies: ["CRabbitMQ", "COpenSSL", .product(name: "NIOConcurrencyHelpers", package: "swift-nio")],
            path: "Sources/Shared/AMQP"),
        .target(
            name: "IIIServer",
            dependencies: ["IIIProtocol", "IIICrypto", "IIITLS", "IIITelemetry", "IIITransport", nioCore, nioPosix, nioHTTP1, logging],
            path: "Sources/Shared/Server"),
        .target(
            name: "IIITestSupport",
            dependencies: ["IIIProtocol", "IIITransport", "IIIWorker", "IIIEngine", nioCore, nioPosix, nioEmbedded, logging],
            path: "Sources/Shared/TestSupport"),

        // iii-core
        .target(name: "CSupervision", path: "Sources/iii-core/CSupervision"),
        .target(
            name: "IIISupervision",
            dependencies: ["CSupervision", "IIIProtocol", "IIISettings", "IIIConfiguration", "IIITelemetry", logging],
            path: "Sources/iii-core/Supervision"),
        .target(
            name: "IIIEngine",
            dependencies: [
                "IIIProtocol", "IIISettings", "IIIServer", "IIITLS", "IIITransport", "IIICrypto", "IIITelemetry", nioCore, nioPosix,
                nioHTTP1,
                logging,
            ],
            path: "Sources/iii-core/Engine"),
        .executableTarget(
            name: "iii-core",
            dependencies: [
                "IIIEngine", "IIISupervision", "IIIConfiguration", "IIISettings", "IIITelemetry", "IIIWorker", "IIICrypto", "IIIProtocol",
                "IIIServer", "IIIStorage", "IIITLS", "IIITransport", argumentParser, logging, nioCore, nioPosix,
            ],
            path: "Sources/iii-core/Command"),

        // iii-http
        .target(
            name: "IIIHTTPGateway",
            dependencies: [
                "IIIProtocol", "IIISettings", "IIIServer", "IIITransport", "IIIWorker", "IIICrypto", "IIITLS", "IIITelemetry", "CZlib",
                nioCore, nioPosix, nioHTTP1, logging,
            ],
            path: "Sources/iii-http/Gateway"),
        .target(
            name: "IIIHTTPFunctions",
            dependencies: [
                "IIIHTTPClient", "IIIProtocol", "IIISettings", "IIIWorker", "IIICrypto", "IIITelemetry", nioCore, nioPosix, logging,
            ],
            path: "Sources/iii-http/Outbound"),
        .executableTarget(
            name: "iii-http", dependencies: ["IIIHTTPGateway", "IIIHTTPFunctions", "IIIWorker", "IIITelemetry", argumentParser, logging],
            path: "Sources/iii-http/Command"),

        // iii-queue
        .target(
            name: "IIIQueue",
            dependencies: [
                "IIIAMQP", "IIICrypto", "IIIProtocol", "IIIRedis", "IIISettings", "IIIStorage", "IIITelemetry", "IIIWorker", nioCore,
                metrics,
                logging,
            ],
            path: "Sources/iii-queue/Queue"),
        .target(
            name: "IIIQueueContract", dependencies: ["IIIQueue", "IIIWorker", nioCore, nioPosix, logging],
            path: "Sources/iii-queue/Contract"),
        .executableTarget(
            name: "iii-queue", dependencies: ["IIIQueue", "IIIWorker", "IIITelemetry", argumentParser, logging],
            path: "Sources/iii-queue/Command"),

        // iii-stream
        .target(
            name: "IIIItems",
            dependencies: ["IIIProtocol", "IIIRedis", "IIISettings", "IIIStorage", "IIITelemetry", "IIIWorker", nioCore, logging],
            path: "Sources/iii-stream/Items"),
        .target(
            name: "IIIState", dependencies: ["IIIItems", "IIIProtocol", "IIISettings", "IIITelemetry", "IIIWorker", nioCore, logging],
            path: "Sources/iii-stream/State"),
        .target(
            name: "IIIStream",
            dependencies: [
                "IIIItems", "IIIProtocol", "IIIServer", "IIISettings", "IIITLS", "IIITelemetry", "IIITransport", "IIIWorker", nioCore,
                nioHTTP1, logging,
            ],
            path: "Sources/iii-stream/Stream"),
        .target(
            name: "IIIItemsContract", dependencies: ["IIIItems", "IIIProtocol", nioCore, nioPosix, logging],
            path: "Sources/iii-stream/Contract"),
        .executableTarget(
            name: "iii-stream", dependencies: ["IIIState", "IIIStream", "IIIWorker", "IIITelemetry", argumentParser, logging],
            path: "Sources/iii-stream/Command"),

        // iii-cron
        .target(
            name: "IIICron",
            dependencies: [
                "CLinux", "IIIProtocol", "IIISettings", "IIICrypto", "IIIStorage", "IIIRedis", "IIITelemetry", "IIIWorker", nioCore,
                logging,
            ],
            path: "Sources/iii-cron/Cron"),
        .target(name: "IIICronContract", dependencies: ["IIICron"], path: "Sources/iii-cron/Contract"),
        .executableTarget(
            name: "iii-cron", dependencies: ["IIICron", "IIIWorker", "IIITelemetry", argumentParser], path: "Sources/iii-cron/Command"),

        // iii-observability
        .target(name: "IIISignals", dependencies: ["IIIProtocol"], path: "Sources/iii-observability/Model"),
        .target(name: "IIIOTLP", dependencies: ["IIIProtocol", "IIISignals"], path: "Sources/iii-observability/OTLP"),
        .target(
            name: "IIIObservability",
            dependencies: [
                "CZlib", "IIIHTTPClient", "IIIOTLP", "IIISignals", "IIIProtocol", "IIIServer", "IIISettings", "IIIStorage", "IIITelemetry",
                "IIIWorker", nioCore,
                nioHTTP1, logging,
            ],
            path: "Sources/iii-observability/Observability"),
        .executableTarget(
            name: "iii-observability", dependencies: ["IIIObservability", "IIIWorker", "IIITelemetry", argumentParser],
            path: "Sources/iii-observability/Command"),

        // Examples and benchmarks
        .executableTarget(name: "board-worker", dependencies: ["IIIWorker"], path: "examples/board"),
        .executableTarget(name: "visits-worker", dependencies: ["IIIWorker"], path: "examples/visits"),
        .executableTarget(
            name: "spool-observability", dependencies: ["IIIObservability", "IIISignals", "IIIWorker"], path: "examples/spool"),
        .executableTarget(name: "queue-example", dependencies: ["IIIWorker"], path: "examples/queue"),
        .executableTarget(name: "hello-worker", dependencies: ["IIIWorker"], path: "examples/hello", exclude: ["config.yaml"]),
        .target(name: "ExampleLocks", dependencies: ["IIICron"], path: "examples/locks"),
        .executableTarget(name: "interval-scheduler", dependencies: ["IIIWorker"], path: "examples/scheduler"),
        .executableTarget(name: "traced-worker", dependencies: ["IIIWorker", metricsAPI, tracing], path: "examples/traced"),
        .executableTarget(name: "redis-bench", dependencies: ["IIIRedis", nioCore, nioPosix], path: "benchmarks/stores/redis"),
        .executableTarget(name: "telemetry-bench", dependencies: ["IIITelemetry", tracing], path: "benchmarks/telemetry"),
        .executableTarget(
            name: "iii-load", dependencies: ["IIIProtocol", "IIITransport", nioCore, nioPosix, argumentParser], path: "benchmarks/load"),

        // Tests
        .testTarget(name: "ProtocolTests", dependencies: ["IIIProtocol"], path: "Tests/ProtocolTests"),
        .testTarget(name: "TLSTests", dependencies: ["IIITLS", "COpenSSL", nioCore, nioEmbedded, nioPosix], path: "Tests/TLSTests"),
        .testTarget(
            name: "TransportTests", dependencies: ["IIITransport", "IIIProtocol", "IIICrypto", nioEmbedded, nioPosix],
            path: "Tests/TransportTests"),
        .testTarget(name: "SettingsTests", dependencies: ["IIISettings", "IIIProtocol"], path: "Tests/SettingsTests"),
        .testTarget(
            name: "ConfigurationTests", dependencies: ["IIIConfiguration", "IIISettings"], path: "Tests/ConfigurationTests",
            exclude: ["Published"]),
        .testTarget(
            name: "SupervisionTests",
            dependencies: ["IIISupervision", "IIIConfiguration", "IIISettings", "IIIProtocol", "IIITelemetry", "CSupervision", logging],
            path: "Tests/SupervisionTests"),
        .testTarget(
            name: "EngineTests", dependencies: ["IIIEngine", "IIISettings", "IIIWorker", "IIITestSupport", nioEmbedded],
            path: "Tests/EngineTests"),
        .testTarget(
            name: "WorkerTests", dependencies: ["IIIWorker", "IIIEngine", "IIITestSupport", "IIITransport", lifecycle, nioPosix],
            path: "Tests/WorkerTests"),
        .testTarget(
            name: "HTTPGatewayTests",
            dependencies: ["IIIHTTPGateway", "IIISettings", "IIIWorker", "IIICrypto", "IIITransport", nioEmbedded],
            path: "Tests/HTTPGatewayTests"),
        .testTarget(
            name: "HTTPFunctionsTests",
            dependencies: ["IIIHTTPFunctions", "IIIHTTPClient", "IIISettings", "IIICrypto", "IIIProtocol", "IIITelemetry", nioPosix],
            path: "Tests/HTTPFunctionsTests"),
        .executableTarget(name: "store-probe", dependencies: ["IIIStorage", "IIIProtocol", logging], path: "Tests/StorageProbe"),
        .testTarget(name: "StorageTests", dependencies: ["IIIStorage", "CSQLite", "IIIProtocol", logging], path: "Tests/StorageTests"),
        .testTarget(
            name: "RedisTests", dependencies: ["IIIRedis", "IIIProtocol", "IIITestSupport", nioCore, nioPosix], path: "Tests/RedisTests"),
        .testTarget(
            name: "ServerTests", dependencies: ["IIIServer", "IIITransport", nioHTTP1, nioPosix, logging],
            path: "Tests/ServerTests"),
        .testTarget(
            name: "QueueTests",
            dependencies: [
                "IIIQueue", "IIIQueueContract", "IIIProtocol", "IIISettings", "IIIStorage", "IIITestSupport", "IIIWorker", nioCore,
                nioEmbedded,
                nioPosix,
                logging,
            ],
            path: "Tests/QueueTests"),
        .testTarget(name: "StreamTests", dependencies: ["IIIStream", "IIIItems"], path: "Tests/StreamTests"),
        .testTarget(
            name: "ItemsTests",
            dependencies: [
                "IIIItems", "IIIItemsContract", "IIIProtocol", "IIIRedis", "IIISettings", "IIIStorage", "IIITelemetry", "IIIWorker",
                "IIITestSupport", nioCore, nioPosix, logging,
            ],
            path: "Tests/ItemsTests"),
        .executableTarget(
            name: "cron-probe",
            dependencies: [
                "ExampleLocks", "IIICron", "IIIWorker", .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ],
            path: "Tests/CronProbe"),
        .testTarget(
            name: "CronTests",
            dependencies: [
                "ExampleLocks", "IIICron", "IIICronContract", "IIIProtocol", "IIISettings", "IIIStorage", "IIITelemetry", "IIIWorker",
                "IIITestSupport",
                nioCore, nioPosix,
                logging,
            ],
            path: "Tests/CronTests"),
        .executableTarget(name: "otlp-probe", dependencies: ["IIIOTLP", "IIISignals"], path: "Tests/OTLPProbe"),
        .testTarget(name: "OTLPTests", dependencies: ["IIIOTLP", "IIISignals", "IIIProtocol"], path: "Tests/OTLPTests"),
        .testTarget(name: "TelemetryTests", dependencies: ["IIITelemetry", metrics, tracing], path: "Tests/TelemetryTests"),
        .testTarget(
            name: "ObservabilityTests",
            dependencies: ["IIIHTTPClient", "IIIObservability", "IIISignals", "IIIProtocol", "IIITestSupport", "IIIWorker"],
            path: "Tests/ObservabilityTests"),
        .testTarget(name: "ArchitectureTests", path: "Tests/ArchitectureTests"),
    ],
    swiftLanguageModes: [.v6]
)
