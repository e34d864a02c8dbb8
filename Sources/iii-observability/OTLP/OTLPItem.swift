import IIISignals

/// A record of one of the three signals, as documents carry it.
protocol OTLPItem {
    static var signal: Signal { get }
    var resource: Resource { get set }
    var scope: InstrumentationScope { get set }

    /// nil for what was left out and has been counted. Resource and scope are set by whoever reads the document around it.
    static func read(_ reader: inout OTLPJSONReader) throws(OTLPFault) -> Self?
    static func read(_ reader: inout ProtobufReader) throws(OTLPFault) -> Self?
    func write(to writer: inout OTLPJSONWriter)
    func write(to writer: inout ProtobufWriter)
    /// Puts right what some senders are known to get wrong.
    mutating func correct()
}

extension Span: OTLPItem {
    static var signal: Signal { .traces }

    /// The Python SDK of iii sends the numbers of OpenTelemetry's API, which are one below those of the protocol.
    mutating func correct() {
        guard resource.countsKindsFromZero || scope.name.hasPrefix("iii-py") else { return }
        kind = SpanKind(rawValue: kind.rawValue + 1) ?? kind
    }
}

extension LogRecord: OTLPItem {
    static var signal: Signal { .logs }

    /// Senders give the level's number, or its text, or both: whichever is missing follows from the other.
    mutating func correct() {
        if severityText.isEmpty {
            severityText = Severity(number: severityNumber)?.text ?? ""
        } else if severityNumber == 0 {
            severityNumber = Severity(text: severityText)?.rawValue ?? 0
        }
    }
}

extension Metric: OTLPItem {
    static var signal: Signal { .metrics }
    mutating func correct() {}

    static func unsupported(_ name: String, _ kind: String) -> String { "metric '\(name.prefix(128))': \(kind) are not stored" }
}

extension HistogramValue {
    /// Why it cannot be, or nil.
    var fault: String? {
        if !counts.isEmpty, counts.count != bounds.count + 1 { return "a histogram has \(counts.count) counts for \(bounds.count) bounds" }
        return zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 } ? nil : "a histogram's bounds do not ascend"
    }
}

extension Resource {
    /// Until the real one has been read.
    static let unread = Resource()
}

/// The records of one sender and one library. Documents are written in such groups.
struct OTLPGroups<Item: OTLPItem> {
    private(set) var groups: [(resource: Resource, scopes: [(scope: InstrumentationScope, items: [Item])])] = []

    init(_ items: [Item]) {
        // Senders are told apart by the object, which costs nothing; by value only where it is another one.
        var objects: [ObjectIdentifier: Int] = [:]
        var known: [Resource: Int] = [:]
        var libraries: [Library: Int] = [:]
        for item in items {
            let object = ObjectIdentifier(item.resource)
            let group: Int
            if let index = objects[object] ?? known[item.resource] {
                group = index
            } else {
                group = groups.count
                known[item.resource] = group
                groups.append((item.resource, []))
            }
            objects[object] = group
            let library = Library(group: group, scope: item.scope)
            if let index = libraries[library] {
                groups[group].scopes[index].items.append(item)
            } else {
                libraries[library] = groups[group].scopes.count
                groups[group].scopes.append((item.scope, [item]))
            }
        }
    }

    private struct Library: Hashable {
        let group: Int
        let scope: InstrumentationScope
    }
}
