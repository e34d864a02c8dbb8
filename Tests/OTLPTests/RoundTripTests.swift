import IIIProtocol
import IIISignals
import Testing

@testable import IIIOTLP

@Suite struct RoundTripTests {
    private func reading(_ document: [UInt8], _ signal: Signal, _ encoding: OTLPEncoding) throws -> TelemetryBatch {
        if encoding == .json { _ = try JSONValue(parsing: document) }
        let batch = try OTLPDocument.read(document, signal, as: encoding)
        #expect(batch.rejected == 0, "\(batch.firstRejection ?? "")")
        return batch
    }

    @Test func whateverIsWrittenIsReadAgain() throws {
        for seed in 1...150 as ClosedRange<UInt64> {
            var random = RandomDocuments(seed: seed)
            let (spans, metrics) = (random.records { $0.span($1) }, random.records { $0.metric($1) })
            let logs = random.records { $0.log($1) }
            for encoding in OTLPEncoding.allCases {
                #expect(try reading(OTLPDocument.encode(spans, as: encoding), .traces, encoding).spans == spans, "seed \(seed)")
                #expect(try reading(OTLPDocument.encode(metrics, as: encoding), .metrics, encoding).metrics == metrics, "seed \(seed)")
                #expect(try reading(OTLPDocument.encode(logs, as: encoding), .logs, encoding).logs == logs, "seed \(seed)")
            }
        }
    }

    /// Bytes that are cut, flipped, doubled: an error or another document, never a trap, and never more records than bytes.
    @Test func damagedBytesAreAnErrorOrADocument() {
        for seed in 1...150 as ClosedRange<UInt64> {
            var random = RandomDocuments(seed: seed)
            let (spans, metrics) = (random.records { $0.span($1) }, random.records { $0.metric($1) })
            for encoding in OTLPEncoding.allCases {
                let document = OTLPDocument.encode(spans, as: encoding) + OTLPDocument.encode(metrics, as: encoding)
                for _ in 0..<40 where !document.isEmpty {
                    let bytes = random.damaged(document)
                    for signal in Signal.allCases {
                        let batch = (try? OTLPDocument.read(bytes, signal, as: encoding)) ?? TelemetryBatch()
                        #expect(batch.spans.count + batch.metrics.count + batch.logs.count <= bytes.count)
                    }
                }
            }
        }
    }
}

extension RandomDocuments {
    fileprivate mutating func damaged(_ document: [UInt8]) -> [UInt8] {
        var bytes = document
        for _ in 0..<number(1..<4) where !bytes.isEmpty {
            let index = number(0..<bytes.count)
            switch number(0..<4) {
            case 0: bytes[index] = UInt8(truncatingIfNeeded: bits())
            case 1: bytes[index] ^= 1 << UInt8(number(0..<8))
            case 2: bytes.insert(contentsOf: bytes[index...].prefix(number(0..<40)), at: index)
            default: bytes.removeSubrange(index..<min(bytes.count, index + number(1..<40)))
            }
        }
        return bytes
    }
}
