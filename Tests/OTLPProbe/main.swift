import Glibc
import IIIOTLP
import IIISignals

// otlp-probe SIGNAL FROM TO: reads documents (four bytes of length, big endian, then the document) in one encoding from standard input and writes
// them in the other, likewise. A document that cannot be read is answered by one of length 0xFFFFFFFF without content.

func readExactly(_ count: Int) -> [UInt8]? {
    var bytes: [UInt8] = []
    while bytes.count < count {
        var chunk = [UInt8](repeating: 0, count: min(count - bytes.count, 1 << 16))
        let received = read(STDIN_FILENO, &chunk, chunk.count)
        guard received > 0 else { return nil }
        bytes += chunk[..<received]
    }
    return bytes
}

func writeAll(_ bytes: [UInt8]) {
    var offset = 0
    while offset < bytes.count {
        let sent = bytes.withUnsafeBytes { write(STDOUT_FILENO, $0.baseAddress! + offset, bytes.count - offset) }
        guard sent > 0 else { exit(1) }
        offset += sent
    }
}

func convert(_ document: [UInt8], _ signal: Signal, _ from: OTLPEncoding, _ to: OTLPEncoding) -> [UInt8]? {
    guard let batch = try? OTLPDocument.read(document, signal, as: from) else { return nil }
    return switch signal {
    case .traces: OTLPDocument.encode(batch.spans, as: to)
    case .metrics: OTLPDocument.encode(batch.metrics, as: to)
    case .logs: OTLPDocument.encode(batch.logs, as: to)
    }
}

let names: [String: OTLPEncoding] = ["json": .json, "protobuf": .protobuf]
guard CommandLine.arguments.count == 4, let signal = Signal(rawValue: CommandLine.arguments[1]),
    let from = names[CommandLine.arguments[2]], let to = names[CommandLine.arguments[3]]
else {
    print("usage: otlp-probe traces|metrics|logs json|protobuf json|protobuf")
    exit(64)
}
while let head = readExactly(4) {
    guard let document = readExactly(head.reduce(0) { $0 << 8 | Int($1) }) else { exit(1) }
    let converted = convert(document, signal, from, to)
    let length = UInt32(converted?.count ?? Int(UInt32.max))
    writeAll(withUnsafeBytes(of: length.bigEndian) { Array($0) } + (converted ?? []))
}
