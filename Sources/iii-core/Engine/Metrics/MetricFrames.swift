import IIIProtocol
import IIITelemetry

/// The newest metrics frame of each connection that sends them, as it came. Pure. Bounded: at most `maximumBytes` in all; a frame that
/// finds no room replaces nothing but the older one of its own connection, and is counted by whoever asked.
package struct MetricFrames {
    package struct Source: Sendable {
        /// Null for a socket that carries telemetry only.
        package var workerID: String?
        package var workerName: String?
        package var isBuiltIn: Bool

        package init(workerID: String?, workerName: String?, isBuiltIn: Bool) {
            self.workerID = workerID
            self.workerName = workerName
            self.isBuiltIn = isBuiltIn
        }
    }

    private var frames: [ObjectIdentifier: [UInt8]] = [:]
    package private(set) var bytes = 0
    package var count: Int { frames.count }

    package init() {}

    /// Keeps the OTLP/JSON body of a frame. False when there is no room.
    package mutating func keep(_ body: UnsafeRawBufferPointer, of connection: ObjectIdentifier, maximumBytes: Int) -> Bool {
        forget(connection)
        guard bytes + body.count <= maximumBytes else { return false }
        frames[connection] = Array(body)
        bytes += body.count
        return true
    }

    package mutating func forget(_ connection: ObjectIdentifier) {
        if let old = frames.removeValue(forKey: connection) { bytes -= old.count }
    }

    package subscript(connection: ObjectIdentifier) -> [UInt8]? { frames[connection] }
}

/// Everything a scrape shows, taken on the engine's loop; made into a document elsewhere, because that takes a while.
package struct MetricsReading: Sendable {
    package let engine: [MetricFamily]
    package let frames: [(source: MetricFrames.Source, body: [UInt8])]

    /// Decodes the frames. Not on the loop. `others`: what else this process counts.
    package func scrape(with others: [MetricFamily] = []) -> MetricScrape {
        var scrape = MetricScrape()
        scrape.add(engine + others, from: .engine)
        for isBuiltIn in [true, false] {
            for (source, body) in frames where source.isBuiltIn == isBuiltIn {
                guard let document = try? JSONValue(parsing: body) else { continue }
                scrape.add(Self.families(document, source), from: isBuiltIn ? .builtIn : .worker)
            }
        }
        return scrape
    }

    private static func families(_ document: JSONValue, _ source: MetricFrames.Source) -> [MetricFamily] {
        if let id = source.workerID, let name = source.workerName {
            return MetricFamily.families(otlp: document, adding: [.init("worker_id", id), .init("worker_name", name)])
        }
        // Nobody vouches for what a telemetry socket says it is.
        let attributes = document["resourceMetrics"]?.array?.first?["resource"]?["attributes"]?.array ?? []
        func attribute(_ key: String) -> String {
            attributes.first { $0["key"]?.string == key }?["value"]?["stringValue"]?.string ?? "unknown"
        }
        return MetricFamily.families(
            otlp: document,
            adding: [.init("worker_id", attribute("service.instance.id")), .init("worker_name", attribute("service.name"))],
            filling: true)
    }
}
