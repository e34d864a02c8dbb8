import Glibc
import Synchronization

/// The system's zone files, read once each. Names are the IANA ones, exactly as spelled there.
public final class ZoneFiles: Sendable {
    /// Why a name gives no zone.
    public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        case unknown(String)
        case noZoneData(String)

        public var description: String {
            switch self {
            case .unknown(let name): "unknown timezone '\(name)': use an IANA name such as 'Europe/Berlin', exactly as spelled there"
            case .noZoneData(let name):
                "timezone '\(name)' cannot be used: this host has no zone data (install the package tzdata)"
            }
        }
    }

    private let directory: String
    private let known = Mutex<[String: ZoneRules]>(["UTC": .utc])

    public init(directory: String = "/usr/share/zoneinfo") { self.directory = directory }

    public func rules(named name: String) throws(Failure) -> ZoneRules {
        if let rules = known.withLock({ $0[name] }) { return rules }
        guard Self.isPlausible(name) else { throw .unknown(name) }
        guard access("\(directory)/tzdata.zi", R_OK) == 0 || access("\(directory)/Etc/UTC", R_OK) == 0 else { throw .noZoneData(name) }
        guard let bytes = Self.contents("\(directory)/\(name)"), let rules = ZoneRules(tzif: bytes) else { throw .unknown(name) }
        known.withLock { $0[name] = rules }
        return rules
    }

    /// Letters, digits and `+-_` in parts between slashes; never a path out of the directory, nor one of its other files.
    private static func isPlausible(_ name: String) -> Bool {
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard (1...3).contains(parts.count), name.utf8.count <= 64, !["posix", "right"].contains(parts[0]) else { return false }
        return parts.allSatisfy { part in
            guard let first = part.utf8.first, (0x41...0x5A).contains(first) else { return false }
            return part.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || [0x2B, 0x2D, 0x5F].contains(byte)
            }
        }
    }

    private static func contents(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size < 1 << 20 else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        return read(file, &bytes, bytes.count) == bytes.count ? bytes : nil
    }
}
