import IIISignals

/// The spans of one trace, as they are kept.
struct StoredTrace: Sendable {
    let id: TraceID
    private(set) var spans: [Span] = []
    private(set) var bytes = 160
    /// Positions by id, once there are many.
    private var positions: [SpanID: Int] = [:]

    private static let fewSpans = 24

    init(id: TraceID) { self.id = id }

    private func position(of id: SpanID) -> Int? {
        positions.isEmpty ? spans.firstIndex { $0.spanID == id } : positions[id]
    }

    /// What became of a span.
    enum Change { case added, replaced, repeated }

    mutating func add(_ span: Span) -> Change {
        guard let known = position(of: span.spanID) else {
            append(span)
            return .added
        }
        switch span.arriving(after: spans[known]) {
        case .repeats: return .repeated
        case .replaces:
            bytes += span.cost - spans[known].cost
            spans[known] = span
            return .replaced
        case .standsBeside:
            // The other side under the same id may have come before.
            if let twin = spans.firstIndex(where: { $0.spanID == span.spanID && span.arriving(after: $0) != .standsBeside }) {
                guard span.arriving(after: spans[twin]) == .replaces else { return .repeated }
                bytes += span.cost - spans[twin].cost
                spans[twin] = span
                return .replaced
            }
            append(span)
            return .added
        }
    }

    private mutating func append(_ span: Span) {
        spans.append(span)
        bytes += span.cost
        if !positions.isEmpty {
            if positions[span.spanID] == nil { positions[span.spanID] = spans.count - 1 }
        } else if spans.count > Self.fewSpans {
            for (index, span) in spans.enumerated() where positions[span.spanID] == nil { positions[span.spanID] = index }
        }
    }

    /// Whether a span has its parent here. One that is its own parent has none.
    private func hasParent(_ span: Span) -> Bool {
        guard let parent = span.parentID, parent != span.spanID else { return false }
        return position(of: parent) != nil
    }

    /// The row that stands for the trace: the span without a parent, else one whose parent is not here, else (in a circle) any; of several
    /// the one that started first.
    var root: Span? {
        let candidates = spans.filter { $0.parentID == nil }
        if let first = candidates.min(by: Self.startsBefore) { return first }
        return spans.filter { !hasParent($0) }.min(by: Self.startsBefore) ?? spans.min(by: Self.startsBefore)
    }

    static func startsBefore(_ left: Span, _ right: Span) -> Bool {
        (left.startNanoseconds, left.spanID) < (right.startNanoseconds, right.spanID)
    }
}

/// A trace as a tree: children below their parents, siblings in the order of their starts. Every span appears exactly once.
struct TraceTree {
    struct Node {
        let span: Span
        var children: [Int] = []
    }

    /// By start.
    private(set) var nodes: [Node]
    private(set) var roots: [Int] = []

    /// Deepest level that an answer has; what lies below stands beside its parent there.
    static let maximumDepth = 100

    init(_ spans: [Span]) {
        nodes = spans.sorted(by: StoredTrace.startsBefore).map { Node(span: $0) }
        var first: [SpanID: Int] = [:]
        for (index, node) in nodes.enumerated() where first[node.span.spanID] == nil { first[node.span.spanID] = index }
        var parents = nodes.enumerated().map { index, node -> Int? in
            guard let id = node.span.parentID, let parent = first[id], parent != index, nodes[parent].span.spanID != node.span.spanID else {
                return nil
            }
            return parent
        }
        cutCircles(&parents)
        // Parents before children, so that depths are known.
        var depths = [Int?](repeating: nil, count: nodes.count)
        for index in nodes.indices {
            var path = [index]
            while let last = path.last, depths[last] == nil, let parent = parents[last], depths[parent] == nil { path.append(parent) }
            for member in path.reversed() where depths[member] == nil {
                guard let parent = parents[member] else {
                    depths[member] = 0
                    continue
                }
                let depth = depths[parent] ?? 0
                if depth >= Self.maximumDepth { parents[member] = parents[parent] }
                depths[member] = min(depth + 1, Self.maximumDepth)
            }
        }
        for index in nodes.indices {
            if let parent = parents[index] { nodes[parent].children.append(index) } else { roots.append(index) }
        }
    }

    /// A circle is cut at the member that started first: it becomes a root.
    private func cutCircles(_ parents: inout [Int?]) {
        var state = [UInt8](repeating: 0, count: nodes.count)
        for start in nodes.indices where state[start] == 0 {
            var path: [Int] = []
            var current: Int? = start
            while let index = current, state[index] == 0 {
                state[index] = 1
                path.append(index)
                current = parents[index]
            }
            // Nodes are in the order of their starts, so the smallest position is the earliest.
            if let index = current, state[index] == 1, let begin = path.firstIndex(of: index), let earliest = path[begin...].min() {
                parents[earliest] = nil
            }
            for index in path { state[index] = 2 }
        }
    }
}
