import IIISignals

extension Signal {
    /// Where OTLP/HTTP takes it, behind the endpoint.
    package var path: String { "/v1/\(rawValue)" }

    /// The lists of a document, from the outermost.
    var names: (resources: String, scopes: String, items: String) {
        switch self {
        case .traces: ("resourceSpans", "scopeSpans", "spans")
        case .metrics: ("resourceMetrics", "scopeMetrics", "metrics")
        case .logs: ("resourceLogs", "scopeLogs", "logRecords")
        }
    }
}

/// How a document is written.
package enum OTLPEncoding: Sendable, Equatable, CaseIterable {
    case json, protobuf

    /// The media type without parameters.
    package var mediaType: String { self == .json ? "application/json" : "application/x-protobuf" }

    /// Of a `Content-Type`; parameters and case do not matter. nil for any other type.
    package init?(contentType: String) {
        let essence = contentType.prefix { $0 != ";" }.lowercased().drop { $0 == " " || $0 == "\t" }
        switch essence.prefix(while: { $0 != " " && $0 != "\t" }) {
        case "application/json": self = .json
        case "application/x-protobuf": self = .protobuf
        default: return nil
        }
    }
}

/// Why something cannot be read.
package enum OTLPFault: Error, Sendable, Equatable {
    /// The bytes are no document of this kind; nothing of it can be used.
    case undecodable(String)
    /// One record breaks the rules; its neighbours are not concerned.
    case rejected(String)
}

/// What one document may hold and cost. Everything beyond is cut or left out, and said so.
package struct OTLPLimits: Sendable {
    /// Records of one document; further ones are rejected. Default 100,000.
    package var maximumItems = 100_000
    /// Attributes, elements, events, links and points of one document together. Default 1,000,000.
    package var maximumValues = 1_000_000
    /// Attributes of one record, and members of one list; further ones are left out. Default 1,024.
    package var maximumAttributes = 1_024
    /// Events of one span, and links of one span. Default 1,024.
    package var maximumEvents = 1_024
    /// Exemplars of one point. Default 8.
    package var maximumExemplars = 8
    /// Longest text, in bytes of UTF-8; a longer one is cut at a character and says so. Default 64 KiB.
    package var maximumTextBytes = 65_536

    package init() {}
}

/// What is left of the limits while one document is read, and what was left out of it.
final class OTLPBudget {
    let limits: OTLPLimits
    private(set) var rejected = 0
    private(set) var firstRejection: String?
    private var items: Int
    private var values: Int

    init(_ limits: OTLPLimits) {
        self.limits = limits
        items = limits.maximumItems
        values = limits.maximumValues
    }

    func takeItem() throws(OTLPFault) {
        guard items > 0 else { throw .rejected("more than \(limits.maximumItems) records in one request") }
        items -= 1
    }

    func takeValue() throws(OTLPFault) {
        guard values > 0 else { throw .rejected("more than \(limits.maximumValues) values in one request") }
        values -= 1
    }

    func reject(_ number: Int, _ reason: String) {
        rejected += number
        if firstRejection == nil { firstRejection = reason }
    }

    /// UTF-8 as text; repaired where it is none, cut where it is too long.
    func text(_ bytes: UnsafeRawBufferPointer) -> String {
        guard bytes.count > limits.maximumTextBytes else { return String(decoding: bytes, as: UTF8.self) }
        var end = limits.maximumTextBytes
        while end > 0, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        return String(decoding: bytes[..<end], as: UTF8.self) + "… [cut from \(bytes.count) bytes]"
    }
}
