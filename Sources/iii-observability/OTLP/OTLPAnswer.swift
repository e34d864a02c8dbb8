import IIIProtocol
import IIISignals

/// What a receiver answers to a document it has taken (`ExportTraceServiceResponse` and its like).
package struct OTLPAnswer: Sendable, Equatable {
    /// Spans, log records or data points it did not take.
    package var rejected: Int64
    /// Why, or a warning; for people.
    package var message: String

    package init(rejected: Int64 = 0, message: String = "") {
        self.rejected = rejected
        self.message = message
    }

    private static func rejectedName(_ signal: Signal) -> String {
        switch signal {
        case .traces: "rejectedSpans"
        case .metrics: "rejectedDataPoints"
        case .logs: "rejectedLogRecords"
        }
    }

    package func encoded(as encoding: OTLPEncoding, _ signal: Signal) -> [UInt8] {
        let isEmpty = rejected == 0 && message.isEmpty
        switch encoding {
        case .json:
            guard !isEmpty else { return Array("{}".utf8) }
            var writer = OTLPJSONWriter()
            writer.object { writer in
                writer.member("partialSuccess") { writer in
                    writer.object { writer in
                        writer.member(Self.rejectedName(signal), "\(rejected)")
                        writer.optional("errorMessage", message)
                    }
                }
            }
            return writer.bytes
        case .protobuf:
            guard !isEmpty else { return [] }
            var writer = ProtobufWriter()
            writer.message(1) { writer in
                writer.number(1, UInt64(bitPattern: rejected))
                writer.text(2, message)
            }
            return writer.bytes
        }
    }

    /// Of a response's body; nil where that is no such answer. An empty body is one.
    package init?(_ body: [UInt8], as encoding: OTLPEncoding, _ signal: Signal) {
        self.init()
        do throws(OTLPFault) {
            switch encoding {
            case .json: if !body.isEmpty { try read(json: body, signal) }
            case .protobuf: try read(protobuf: body)
            }
        } catch {
            return nil
        }
    }

    private mutating func read(json body: [UInt8], _ signal: Signal) throws(OTLPFault) {
        let document: JSONValue
        do { document = try JSONValue(parsing: body) } catch { throw .undecodable("\(error)") }
        let success = document["partialSuccess"]
        let number = success?[Self.rejectedName(signal)]
        rejected = number?.integer ?? number?.string.flatMap { Int64($0) } ?? 0
        message = success?["errorMessage"]?.string ?? ""
    }

    private mutating func read(protobuf body: [UInt8]) throws(OTLPFault) {
        let result: Result<OTLPAnswer, OTLPFault> = body.withUnsafeBytes { bytes in
            do throws(OTLPFault) {
                var answer = OTLPAnswer()
                var reader = ProtobufReader(bytes, OTLPBudget(OTLPLimits()))
                while let tag = try reader.next() {
                    guard tag == .bytes(1) else {
                        try reader.skip(tag)
                        continue
                    }
                    var success = try reader.message()
                    while let tag = try success.next() {
                        switch tag {
                        case .varint(1): answer.rejected = Int64(bitPattern: try success.varint())
                        case .bytes(2): answer.message = try success.text()
                        default: try success.skip(tag)
                        }
                    }
                }
                return .success(answer)
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }
}

/// The body of a refusal (`google.rpc.Status`).
package struct OTLPStatus: Sendable, Equatable {
    /// gRPC's numbers for what HTTP's say.
    package enum Code: UInt64, Sendable {
        case invalidArgument = 3, resourceExhausted = 8, unimplemented = 12, unavailable = 14, unauthenticated = 16
    }

    package var code: Code
    package var message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package func encoded(as encoding: OTLPEncoding) -> [UInt8] {
        switch encoding {
        case .json:
            var writer = OTLPJSONWriter()
            writer.object { writer in
                writer.member("code", number: code.rawValue)
                writer.member("message", message)
            }
            return writer.bytes
        case .protobuf:
            var writer = ProtobufWriter()
            writer.number(1, code.rawValue)
            writer.text(2, message)
            return writer.bytes
        }
    }
}
