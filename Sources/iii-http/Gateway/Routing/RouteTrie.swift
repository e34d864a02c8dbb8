/// A radix trie over the patterns of one method.
///
/// Literal beats parameter beats catch-all, decided left to right with backtracking (docs/reference/http.md#routes). A
/// match visits every node at most once and follows one literal edge per byte, so its cost grows with the path, not with
/// the routes. Nodes are reference types behind a value interface that is not copied; confined to the owner's event loop.
struct RouteTrie {
    private final class Node {
        /// Literal bytes consumed on the way into this node.
        var prefix: [UInt8]
        /// First byte of each literal child, parallel to `children`.
        var firstBytes: [UInt8] = []
        var children: [Node] = []
        /// Exists only where a segment starts.
        var parameter: Node?
        /// Routes that end here, oldest first; the last is live, the others are shadowed.
        var routes: [Route] = []
        /// Routes whose catch-all starts here, in the same order.
        var catchAllRoutes: [Route] = []

        init(prefix: [UInt8]) { self.prefix = prefix }

        var isEmpty: Bool { routes.isEmpty && catchAllRoutes.isEmpty && parameter == nil && children.isEmpty }
    }

    private let root = Node(prefix: [])

    /// The routes of the same shape as `pattern`, oldest first.
    func routes(shapedLike pattern: RoutePattern) -> [Route] {
        guard let (node, isCatchAll) = find(pattern) else { return [] }
        return isCatchAll ? node.catchAllRoutes : node.routes
    }

    /// Replaces the list of routes of `pattern`'s shape, making or pruning nodes as needed.
    func setRoutes(_ routes: [Route], shapedLike pattern: RoutePattern) {
        if routes.isEmpty {
            remove(pattern)
            return
        }
        var node = root
        var literal: [UInt8] = []
        for (index, segment) in pattern.segments.enumerated() {
            if index > 0 { literal.append(UInt8(ascii: "/")) }
            switch segment {
            case .literal(let bytes): literal.append(contentsOf: bytes)
            case .parameter:
                node = Self.descend(from: node, literal: literal)
                literal.removeAll()
                if let parameter = node.parameter {
                    node = parameter
                } else {
                    let parameter = Node(prefix: [])
                    node.parameter = parameter
                    node = parameter
                }
            case .catchAll:
                node = Self.descend(from: node, literal: literal)
                node.catchAllRoutes = routes
                return
            }
        }
        Self.descend(from: node, literal: literal).routes = routes
    }

    /// The live route for `path` (without its leading slash), captures included.
    func match(_ path: UnsafeRawBufferPointer) -> RouteMatch? {
        var captures: [Range<Int>] = []
        guard let route = Self.match(root, path, from: 0, &captures) else { return nil }
        return RouteMatch(route: route, captures: captures)
    }

    // MARK: Matching

    private static func match(_ node: Node, _ path: UnsafeRawBufferPointer, from start: Int, _ captures: inout [Range<Int>]) -> Route? {
        guard start < path.count else { return node.routes.last }
        let byte = path[start]
        if let index = node.firstBytes.firstIndex(of: byte) {
            let child = node.children[index]
            if hasPrefix(path, child.prefix, at: start), let route = match(child, path, from: start + child.prefix.count, &captures) {
                return route
            }
        }
        if let parameter = node.parameter, byte != UInt8(ascii: "/") {
            var end = start + 1
            while end < path.count, path[end] != UInt8(ascii: "/") { end += 1 }
            captures.append(start..<end)
            if let route = match(parameter, path, from: end, &captures) { return route }
            captures.removeLast()
        }
        if let route = node.catchAllRoutes.last {
            captures.append(start..<path.count)
            return route
        }
        return nil
    }

    @inline(__always)
    private static func hasPrefix(_ path: UnsafeRawBufferPointer, _ prefix: [UInt8], at start: Int) -> Bool {
        let count = prefix.count
        guard start + count <= path.count else { return false }
        return prefix.withUnsafeBufferPointer { bytes in
            for index in 0..<count where bytes[index] != path[start + index] { return false }
            return true
        }
    }

    // MARK: Building

    /// The node at the end of `literal`, splitting and creating edges on the way.
    private static func descend(from start: Node, literal: [UInt8]) -> Node {
        var node = start
        var rest = literal[...]
        while let first = rest.first {
            guard let index = node.firstBytes.firstIndex(of: first) else {
                let child = Node(prefix: Array(rest))
                node.firstBytes.append(first)
                node.children.append(child)
                return child
            }
            let child = node.children[index]
            let common = zip(child.prefix, rest).prefix(while: { $0 == $1 }).count
            if common < child.prefix.count {
                let upper = Node(prefix: Array(child.prefix[..<common]))
                child.prefix.removeFirst(common)
                upper.firstBytes = [child.prefix[0]]
                upper.children = [child]
                node.children[index] = upper
                node = upper
            } else {
                node = child
            }
            rest = rest.dropFirst(common)
        }
        return node
    }

    /// Walks `pattern` without changing anything. The flag says that its routes are the catch-all ones of the node.
    private func find(_ pattern: RoutePattern) -> (Node, Bool)? {
        var isCatchAll = false
        let node = walk(pattern, isCatchAll: &isCatchAll).last
        return node.map { ($0, isCatchAll) }
    }

    /// All nodes on the way to the end of `pattern`, root first; empty when the way does not exist.
    private func walk(_ pattern: RoutePattern, isCatchAll: inout Bool) -> [Node] {
        var path = [root]
        var literal: [UInt8] = []
        func consumeLiteral() -> Bool {
            var rest = literal[...]
            while let first = rest.first {
                guard let node = path.last, let index = node.firstBytes.firstIndex(of: first) else { return false }
                let child = node.children[index]
                guard rest.starts(with: child.prefix) else { return false }
                rest = rest.dropFirst(child.prefix.count)
                path.append(child)
            }
            literal.removeAll()
            return true
        }
        for (index, segment) in pattern.segments.enumerated() {
            if index > 0 { literal.append(UInt8(ascii: "/")) }
            switch segment {
            case .literal(let bytes): literal.append(contentsOf: bytes)
            case .parameter:
                guard consumeLiteral(), let parameter = path.last?.parameter else { return [] }
                path.append(parameter)
            case .catchAll:
                guard consumeLiteral() else { return [] }
                isCatchAll = true
                return path
            }
        }
        return consumeLiteral() ? path : []
    }

    /// Empties the end of `pattern` and drops nodes that lead nowhere any more, so that churn leaves nothing behind.
    private func remove(_ pattern: RoutePattern) {
        var isCatchAll = false
        let path = walk(pattern, isCatchAll: &isCatchAll)
        guard let end = path.last else { return }
        if isCatchAll { end.catchAllRoutes = [] } else { end.routes = [] }
        for (parent, child) in zip(path, path.dropFirst()).reversed() {
            guard child.isEmpty else { return }
            if parent.parameter === child {
                parent.parameter = nil
            } else if let index = parent.children.firstIndex(where: { $0 === child }) {
                parent.firstBytes.remove(at: index)
                parent.children.remove(at: index)
            }
        }
    }
}
