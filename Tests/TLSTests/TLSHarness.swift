import COpenSSL
import Foundation
import NIOCore
import NIOEmbedded

@testable import IIITLS

/// Certificates made by `openssl` once per test run.
struct TestCertificates {
    let directory: String

    static let shared = Result { try TestCertificates() }

    private init() throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "iii-tls-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        for name in ["server", "other"] {
            try run(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "\(name).key", "-out",
                "\(name).pem",
                "-days", "30", "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:localhost")
        }
        try run("req", "-new", "-key", "server.key", "-out", "old.csr", "-subj", "/CN=old")
        try run("x509", "-req", "-in", "old.csr", "-signkey", "server.key", "-out", "old.pem", "-days", "-1")
        try run("pkcs8", "-topk8", "-in", "server.key", "-out", "locked.key", "-passout", "pass:opensesame")
        try "nothing of the kind".write(toFile: path("text.pem"), atomically: true, encoding: .utf8)
    }

    private func run(_ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/openssl")
        process.arguments = arguments
        process.currentDirectoryURL = URL(filePath: directory)
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw TLSFailure("openssl \(arguments) failed") }
    }

    func path(_ name: String) -> String { "\(directory)/\(name)" }

    func settings(_ certificate: String = "server.pem", _ key: String = "server.key") -> TLSServerSettings {
        TLSServerSettings(certificateFile: path(certificate), privateKeyFile: path(key))
    }

    static func settings(_ certificate: String = "server.pem", _ key: String = "server.key") throws -> TLSServerSettings {
        try shared.get().settings(certificate, key)
    }
}

/// A server pipeline on an embedded loop and a client made of OpenSSL, joined by the test.
final class TLSHarness {
    let loop = EmbeddedEventLoop()
    let channel: EmbeddedChannel
    let client: TLSSession
    let endpoint: TLSEndpoint
    let events: Events
    let seen = Recorder()
    let writes = WriteCounter()
    /// What the client has decrypted, and how it ended.
    var received = ByteBuffer()
    var clientOutcome = TLSSession.Outcome.needsMore

    final class Events { var values: [TLSEvent] = [] }

    /// Behind the TLS handler: keeps what it is given.
    final class Recorder: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        var bytes = ByteBuffer()
        var errors: [any Error] = []
        var readsCompleted = 0

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { bytes.writeImmutableBuffer(Self.unwrapInboundIn(data)) }
        func channelReadComplete(context: ChannelHandlerContext) { readsCompleted += 1 }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { errors.append(error) }
    }

    /// In front of it: counts what goes to the socket.
    final class WriteCounter: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        var sizes: [Int] = []

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            sizes.append(Self.unwrapOutboundIn(data).readableBytes)
            context.write(data, promise: promise)
        }
    }

    init(alpn: [String] = [], maximumVersion: CInt = TLS1_3_VERSION) throws {
        let events = Events()
        self.events = events
        let context = try TLSServerContext(try TestCertificates.settings(), environment: { _ in nil })
        endpoint = TLSEndpoint(context, handshakeTimeout: .seconds(10)) { event, _ in events.values.append(event) }
        client = try Self.client(alpn, maximumVersion)
        channel = EmbeddedChannel(loop: loop)
        try channel.pipeline.syncOperations.addHandlers([writes, TLSServerHandler(endpoint), seen])
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    /// `SSL_OP_NO_TLSv1_3`, a macro that Swift cannot see.
    private static let noTLS13: UInt64 = 1 << 29

    private static func client(_ alpn: [String], _ maximumVersion: CInt) throws -> TLSSession {
        guard let context = SSL_CTX_new(TLS_client_method()), let connection = SSL_new(context) else { throw TLSFailure("no client") }
        SSL_CTX_free(context)
        if !alpn.isEmpty {
            let list = alpn.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
            SSL_set_alpn_protos(connection, list, UInt32(list.count))
        }
        if maximumVersion == TLS1_2_VERSION { SSL_set_options(connection, noTLS13) }
        SSL_set_connect_state(connection)
        return try TLSSession(taking: connection)
    }

    /// Delivers bytes to the server, `step` at a time.
    func deliver(_ bytes: ByteBuffer, step: Int = .max) {
        var bytes = bytes
        while bytes.readableBytes > 0, let piece = bytes.readSlice(length: min(step, bytes.readableBytes)) {
            channel.pipeline.fireChannelRead(piece)
            channel.pipeline.fireChannelReadComplete()
        }
        loop.run()
    }

    /// Gives the client what the server has sent; returns how many bytes that were.
    @discardableResult
    func deliverToClient() -> Int {
        var count = 0
        while let bytes = try? channel.readOutbound(as: ByteBuffer.self) {
            count += bytes.readableBytes
            clientOutcome = bytes.withUnsafeReadableBytes { client.receive($0, into: &received) }
        }
        return count
    }

    /// Both talk until neither has anything to say.
    func pump(step: Int = .max) {
        while true {
            let output = client.takeOutput()
            deliver(output, step: step)
            if deliverToClient() == 0, output.readableBytes == 0 { return }
        }
    }

    func handshake(step: Int = .max) {
        _ = client.startHandshake()
        pump(step: step)
    }

    func clientSends(_ text: String, step: Int = .max) {
        _ = client.send(ByteBuffer(string: text))
        pump(step: step)
    }

    var isEstablished: Bool { endpoint.counters.established == 1 }

    /// Lengths of the ciphertext records in what the server has sent.
    func recordLengths() -> [Int] {
        var all = ByteBuffer()
        while let bytes = try? channel.readOutbound(as: ByteBuffer.self) { all.writeImmutableBuffer(bytes) }
        var lengths: [Int] = []
        while let header = all.readBytes(length: 5) {
            let length = Int(header[3]) << 8 | Int(header[4])
            all.moveReaderIndex(forwardBy: length)
            lengths.append(length)
        }
        return lengths
    }
}
