import IIIProtocol
import NIOCore
import NIOHTTP1

/// The payload members beyond the baseline's nine, for configurations with `extended_request`
/// (docs/reference/http.md#members-of-extended_request).
///
/// A class, so that requests without it carry one empty reference.
final class RequestExtensions {
    private let remoteAddress: String
    private let requestID: String?

    init(remoteAddress: String, requestID: String?) {
        self.remoteAddress = remoteAddress
        self.requestID = requestID
    }

    /// Appends `,"raw_path":…` and the others.
    func writeMembers(of request: RoutedRequest, to buffer: inout ByteBuffer) {
        var uri = request.head.uri
        uri.withUTF8 { text in
            let bytes = UnsafeRawBufferPointer(text)
            let query = UnsafeRawBufferPointer(rebasing: bytes[request.target.query])
            buffer.writeStaticString(",\"raw_path\":")
            // The target leaves out the one leading slash; in absolute form there may be none.
            let path = request.target.path
            let start = path.lowerBound > 0 && bytes[path.lowerBound - 1] == UInt8(ascii: "/") ? path.lowerBound - 1 : path.lowerBound
            buffer.writeJSONString(UnsafeRawBufferPointer(rebasing: bytes[start..<path.upperBound]))
            buffer.writeStaticString(",\"raw_query\":")
            buffer.writeJSONString(query)
            buffer.writeStaticString(",\"query_params_all\":")
            QueryDecoding.writeAll(query, to: &buffer)
        }
        buffer.writeStaticString(",\"headers_all\":")
        var headers = TextLists()
        for (name, value) in request.head.headers { headers.add(name.lowercased(), value) }
        headers.write(to: &buffer)
        buffer.writeStaticString(",\"remote_addr\":")
        buffer.writeJSONString(remoteAddress)
        buffer.writeStaticString(",\"request_id\":")
        if let requestID { buffer.writeJSONString(requestID) } else { buffer.writeStaticString("null") }
        buffer.writeStaticString(",\"http_version\":\"")
        buffer.writeString("\(request.head.version.major).\(request.head.version.minor)")
        buffer.writeStaticString("\"")
    }
}

/// Lists of texts by name, in order of first occurrence, as a JSON object of arrays.
struct TextLists {
    private var names: [String] = []
    private var values: [String: [String]] = [:]

    mutating func add(_ name: String, _ value: String) {
        if values[name] == nil { names.append(name) }
        values[name, default: []].append(value)
    }

    func write(to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(ascii: "{"))
        for (index, name) in names.enumerated() {
            if index > 0 { buffer.writeInteger(UInt8(ascii: ",")) }
            buffer.writeJSONString(name)
            buffer.writeInteger(UInt8(ascii: ":"))
            for (position, value) in (values[name] ?? []).enumerated() {
                buffer.writeInteger(position == 0 ? UInt8(ascii: "[") : UInt8(ascii: ","))
                buffer.writeJSONString(value)
            }
            buffer.writeInteger(UInt8(ascii: "]"))
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }
}
