import IIIProtocol
import IIITelemetry
import IIIWorker

/// The functions `engine::baggage::*`: what travels with a call beside its trace (docs/reference/observability.md#baggage).
struct BaggageFunctions {
    func register(on link: WorkerLink) {
        link.registerFunction(
            "engine::baggage::get", description: "One entry of the caller's baggage",
            requestFormat: InputSchema.object(["key": "string"], required: ["key"])
        ) { call in
            answer(call) { () throws(InvocationError) in
                let key = try FunctionInput(call.data, of: "engine::baggage::get").required("key")
                return ["value": JSONValue(BaggageEntries(call.trace.baggage)[key])]
            }
        }
        link.registerFunction(
            "engine::baggage::set", description: "Nothing lasting: baggage is set by whoever makes a call",
            requestFormat: InputSchema.object(["key": "string", "value": "string"], required: ["key", "value"])
        ) { call in
            answer(call) { () throws(InvocationError) in
                let input = try FunctionInput(call.data, of: "engine::baggage::set")
                _ = (try input.required("key"), try input.required("value"))
                return ["success": true, "note": "Baggage set in new context. For propagation, use SDK-level baggage headers."]
            }
        }
        link.registerFunction(
            "engine::baggage::get_all", description: "All entries of the caller's baggage", requestFormat: InputSchema.object([:])
        ) { call in
            answer(call) { () throws(InvocationError) in
                _ = try FunctionInput(call.data, of: "engine::baggage::get_all")
                return ["baggage": .object(BaggageEntries(call.trace.baggage).entries.mapValues { .string($0) })]
            }
        }
    }

    private func answer(_ call: IncomingCall, _ body: () throws(InvocationError) -> JSONValue) {
        do throws(InvocationError) { call.reply(try body()) } catch { call.fail(error) }
    }
}

/// W3C baggage, read: percent-decoded, a plus is a plus, properties (`;…`) are left out. What is no entry is passed over.
struct BaggageEntries {
    let entries: [String: String]

    init(_ header: String?) {
        var entries: [String: String] = [:]
        for member in (header ?? "").utf8.split(separator: UInt8(ascii: ",")) {
            let pair = member.prefix { $0 != UInt8(ascii: ";") }
            guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { continue }
            let key = Self.decoded(pair[..<equals])
            if !key.isEmpty { entries[key] = Self.decoded(pair[pair.index(after: equals)...]) }
        }
        self.entries = entries
    }

    subscript(key: String) -> String? { entries[key] }

    private static func decoded(_ text: Substring.UTF8View) -> String {
        let bytes = Array(text)
        let trimmed = bytes.drop { $0 == 0x20 || $0 == 0x09 }.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed()
        let source = Array(trimmed)
        var decoded: [UInt8] = []
        var index = 0
        while index < source.count {
            if source[index] == UInt8(ascii: "%"), index + 2 < source.count, let high = hexDigit(source[index + 1]),
                let low = hexDigit(source[index + 2])
            {
                decoded.append(high << 4 | low)
                index += 3
            } else {
                decoded.append(source[index])
                index += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }
}
