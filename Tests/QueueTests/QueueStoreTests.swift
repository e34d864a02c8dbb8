import Glibc
import IIIProtocol
import IIIQueueContract
import IIITestSupport
import IIIWorker
import Testing

@testable import IIIQueue

/// `QueueStoreContract` for every registered store; `AdapterContract` fails for one that is registered and not tried.
@Suite(.serialized) struct QueueStoreTests {
    static let contract = AdapterContract(
        Queue.stores.withLock { $0 },
        configs: [
            "builtin": { ["store_method": "file_based", "file_path": .string(try temporaryDirectory()), "durability": "normal"] },
            "redis": {
                [
                    "redis_url": .string(RedisUnderTest.server.url), "key_prefix": .string(UUIDBits.random().text + ":"), "lease_ms": 1000,
                    "instance": .string("test"),
                ]
            },
            "rabbitmq": { ["amqp_url": .string(try SharedRabbitMQ.server().url), "prefix": .string(SharedRabbitMQ.prefix())] },
        ])

    static func temporaryDirectory() throws -> String {
        var template = Array("/tmp/iii-queue-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CancellationError() }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    @Test(arguments: contract.names, QueueStoreContract.cases) func holds(_ name: String, _ promise: QueueStoreContract.Case) async throws {
        let open = try Self.contract.opener(name)
        try await promise.run(open)
    }
}
