import IIISignals

/// OTLP documents of the three signals, in both encodings (docs/reference/observability.md#otlp).
package enum OTLPDocument {
    /// Reads a document. Records that break the rules are left out and counted in the batch; throws only for what is no such document.
    package static func read(
        _ bytes: UnsafeRawBufferPointer, _ signal: Signal, as encoding: OTLPEncoding, limits: OTLPLimits = OTLPLimits()
    ) throws(OTLPFault) -> TelemetryBatch {
        let budget = OTLPBudget(limits)
        var batch = TelemetryBatch()
        switch signal {
        case .traces: batch.spans = try items(bytes, encoding, budget)
        case .metrics: batch.metrics = try items(bytes, encoding, budget)
        case .logs: batch.logs = try items(bytes, encoding, budget)
        }
        batch.rejected = budget.rejected
        batch.firstRejection = budget.firstRejection
        return batch
    }

    /// The same from bytes that are held.
    package static func read(
        _ bytes: [UInt8], _ signal: Signal, as encoding: OTLPEncoding, limits: OTLPLimits = OTLPLimits()
    ) throws(OTLPFault) -> TelemetryBatch {
        let result: Result<TelemetryBatch, OTLPFault> = bytes.withUnsafeBytes { bytes in
            do throws(OTLPFault) { return .success(try read(bytes, signal, as: encoding, limits: limits)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    private static func items<Item: OTLPItem>(
        _ bytes: UnsafeRawBufferPointer, _ encoding: OTLPEncoding, _ budget: OTLPBudget
    ) throws(OTLPFault) -> [Item] {
        switch encoding {
        case .json:
            var reader = OTLPJSONReader(bytes, budget)
            return try reader.document()
        case .protobuf:
            var reader = ProtobufReader(bytes, budget)
            return try reader.document()
        }
    }

    // MARK: Writing

    package static func encode(_ spans: [Span], as encoding: OTLPEncoding) -> [UInt8] { document(spans, encoding) }
    package static func encode(_ metrics: [Metric], as encoding: OTLPEncoding) -> [UInt8] { document(metrics, encoding) }
    package static func encode(_ logs: [LogRecord], as encoding: OTLPEncoding) -> [UInt8] { document(logs, encoding) }

    private static func document<Item: OTLPItem>(_ items: [Item], _ encoding: OTLPEncoding) -> [UInt8] {
        switch encoding {
        case .json:
            var writer = OTLPJSONWriter()
            writer.document(OTLPGroups(items))
            return writer.bytes
        case .protobuf:
            var writer = ProtobufWriter()
            writer.document(OTLPGroups(items))
            return writer.bytes
        }
    }
}
