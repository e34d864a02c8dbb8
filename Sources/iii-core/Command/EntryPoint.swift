import Glibc
import IIIEngine
import IIIProtocol
import Logging
import NIOPosix

@main struct EntryPoint {
    static func main() throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let logger = Logger(label: "iii-core")
        let port = UInt16(CommandLine.arguments.count > 1 ? CommandLine.arguments[1] : "49134") ?? 49134
        let engine = Engine(eventLoop: group.next(), options: EngineOptions(), version: "0.1.0", channelKey: "00", logger: logger)
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var one: Int32 = 1
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let status = withUnsafePointer(to: &address) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, 16) } }
        print("bind", status, listen(fd, 4096))
        _ = try engine.serve(socket: fd, listener: EngineOptions()).wait()
        print("listening")
        pause()
    }
}
