import IIIProtocol
import NIOCore
import NIOHTTP1

/// A request that has found its route: all that the payloads of its invocations are made of.
struct RoutedRequest {
    let head: HTTPRequestHead
    let target: RequestTarget
    let match: RouteMatch
    /// The request body when it is valid JSON; spliced unparsed, so numbers stay exact.
    var body: ByteBuffer?
    /// Further members of the payload; nil unless the configuration asks for them.
    var extensions: RequestExtensions?
    /// The route stands for a request that has none: no middleware, and a handler that returns nothing means 404.
    var isUnmatched = false

    var isHead: Bool { head.method == .HEAD }
}

/// Writes the payload objects of docs/reference/http.md#what-a-function-gets, member by member, straight into the outgoing frame.
enum RequestWriter {
    /// The handler's payload: nine members, both channel refs always among them.
    static func writeHandlerPayload(_ request: RoutedRequest, references: ChannelRefMint, to buffer: inout ByteBuffer) {
        writeCommonMembers(request, to: &buffer)
        buffer.writeInteger(UInt8(ascii: ","))
        references.writeMembers(to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// The condition's payload: the same without the channel refs.
    static func writeConditionPayload(_ request: RoutedRequest, to buffer: inout ByteBuffer) {
        writeCommonMembers(request, to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    private static func writeCommonMembers(_ request: RoutedRequest, to buffer: inout ByteBuffer) {
        let route = request.match.route
        buffer.writeStaticString("{\"query_params\":")
        writeQuery(request, to: &buffer)
        buffer.writeStaticString(",\"path_params\":")
        writePathParameters(request, to: &buffer)
        buffer.writeStaticString(",\"headers\":")
        writeHeaders(request.head.headers, to: &buffer)
        buffer.writeBytes(route.pathMembers(isHead: request.isHead))
        buffer.writeStaticString(",\"body\":")
        if let body = request.body {
            buffer.writeImmutableBuffer(body)
        } else {
            buffer.writeStaticString("null")
        }
        buffer.writeBytes(route.triggerMember(isHead: request.isHead))
        if let extensions = request.extensions { extensions.writeMembers(of: request, to: &buffer) }
    }

    /// What middleware sees: no body, no path, no channel refs, and a context that is always empty
    /// (docs/reference/http.md#middleware-and-conditions).
    static func writeMiddlewarePayload(_ request: RoutedRequest, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"phase\":\"preHandler\",\"request\":{\"path_params\":")
        writePathParameters(request, to: &buffer)
        buffer.writeStaticString(",\"query_params\":")
        writeQuery(request, to: &buffer)
        buffer.writeStaticString(",\"headers\":")
        writeHeaders(request.head.headers, to: &buffer)
        buffer.writeStaticString(",\"method\":\"")
        buffer.writeString(request.head.method.rawValue)
        buffer.writeStaticString("\"},\"context\":{}}")
    }

    private static func writeQuery(_ request: RoutedRequest, to buffer: inout ByteBuffer) {
        var uri = request.head.uri
        uri.withUTF8 { text in
            let query = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[request.target.query])
            QueryDecoding.writeObject(query, to: &buffer)
        }
    }

    private static func writePathParameters(_ request: RoutedRequest, to buffer: inout ByteBuffer) {
        guard !request.match.captures.isEmpty else {
            buffer.writeStaticString("{}")
            return
        }
        var uri = request.head.uri
        uri.withUTF8 { text in
            let path = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(text)[request.target.path])
            for (index, range) in request.match.captures.enumerated() {
                buffer.writeInteger(index == 0 ? UInt8(ascii: "{") : UInt8(ascii: ","))
                buffer.writeBytes(request.match.route.parameterKeys[index])
                buffer.writeJSONString(UnsafeRawBufferPointer(rebasing: path[range]))
            }
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// Lower-case names; the last of several equal ones wins, except that `cookie` fields are joined.
    static func writeHeaders(_ headers: HTTPHeaders, to buffer: inout ByteBuffer) {
        buffer.writeInteger(UInt8(ascii: "{"))
        var isFirst = true
        var index = headers.startIndex
        while index != headers.endIndex {
            let (name, value) = headers[index]
            let next = headers.index(after: index)
            defer { index = next }
            if isRepeated(name, in: headers, from: next) { continue }
            if !isFirst { buffer.writeInteger(UInt8(ascii: ",")) }
            isFirst = false
            var text = name
            let isCookie = text.withUTF8 { bytes in
                let bytes = UnsafeRawBufferPointer(bytes)
                // Field names are tokens, checked by the decoder: nothing in them needs escaping.
                buffer.writeInteger(UInt8(ascii: "\""))
                buffer.writeLowercased(bytes)
                buffer.writeStaticString("\":")
                return ASCII.equals(bytes, "cookie")
            }
            if isCookie {
                buffer.writeJSONString(headers["cookie"].joined(separator: "; "))
            } else {
                buffer.writeJSONString(value)
            }
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// Quadratic over at most `max_header_count` fields, and almost always settled by the length alone.
    private static func isRepeated(_ name: String, in headers: HTTPHeaders, from start: HTTPHeaders.Index) -> Bool {
        let count = name.utf8.count
        var index = start
        while index != headers.endIndex {
            let other = headers[index].name
            if other.utf8.count == count, isEqual(name, other) { return true }
            index = headers.index(after: index)
        }
        return false
    }

    private static func isEqual(_ left: String, _ right: String) -> Bool {
        var left = left
        var right = right
        return left.withUTF8 { first in
            right.withUTF8 { ASCII.equalIgnoringCase(UnsafeRawBufferPointer(first), UnsafeRawBufferPointer($0)) }
        }
    }
}
