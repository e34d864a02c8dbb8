import Glibc

/// The directories that decide what a path leads to, and the name that counts in each: every element of the path, and of every
/// symlink on the way.
///
/// When one of these names appears, vanishes or is replaced, the path leads somewhere else. The chain ends at the first name that
/// does not exist, so it also tells where a missing path would begin to be.
enum PathChain {
    struct Link: Equatable {
        /// As it can be opened from the working directory.
        var directory: String
        var name: String
    }

    /// More symlinks than the kernel follows.
    private static let maximumSymlinks = 40

    static func links(of path: String) -> [Link] {
        var links: [Link] = []
        var directory = path.hasPrefix("/") ? "/" : "."
        var rest = elements(of: path)[...]
        var symlinks = 0
        while let name = rest.popFirst() {
            links.append(Link(directory: directory, name: name))
            let next = join(directory, name)
            if let target = target(of: next) {
                symlinks += 1
                guard symlinks <= maximumSymlinks else { break }
                if target.hasPrefix("/") { directory = "/" }
                rest = (elements(of: target) + rest)[...]
                continue
            }
            guard access(next, F_OK) == 0 else { break }
            directory = next
        }
        return links
    }

    static func join(_ directory: String, _ name: String) -> String {
        directory == "." ? name : directory.hasSuffix("/") ? directory + name : directory + "/" + name
    }

    private static func elements(of path: String) -> [String] { path.split(separator: "/").map(String.init).filter { $0 != "." } }

    private static func target(of path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = readlink(path, &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
    }
}
