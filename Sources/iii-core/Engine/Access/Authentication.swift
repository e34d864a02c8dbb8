import IIIProtocol
import IIIServer
import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// A connection to a listener with access rules, before anybody has decided about it.
struct Admission {
    let rules: AccessRules
    /// What the auth function is asked.
    let input: [UInt8]

    init(_ request: UpgradeRequest, _ rules: AccessRules) {
        self.rules = rules
        input =
            AuthenticationInput.json(
                headers: request.headers.map { ($0.name, $0.value) }, query: request.query, address: request.remoteAddress?.ipAddress ?? ""
            ).bytes
    }
}

/// What an auth function is asked (docs/reference/access.md#the-auth-function). Pure.
package enum AuthenticationInput {
    package static func json(headers: [(name: String, value: String)], query: String, address: String) -> JSONValue {
        var fields: [String: JSONValue] = [:]
        for (name, value) in headers where value.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { fields[name.lowercased()] = .string(value) }
        var parameters: [String: [JSONValue]] = [:]
        for part in query.split(separator: "&") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = pair.first, !name.isEmpty else { continue }
            parameters[decoded(name), default: []].append(.string(pair.count > 1 ? decoded(pair[1]) : ""))
        }
        return ["headers": .object(fields), "query_params": .object(parameters.mapValues(JSONValue.array)), "ip_address": .string(address)]
    }

    /// With each `%XX` turned back; what is none, or no UTF-8 then, stays as it is. A `+` is one: tokens have them.
    private static func decoded(_ text: Substring) -> String {
        func digit(_ byte: UInt8) -> UInt8? { Character(Unicode.Scalar(byte)).hexDigitValue.map(UInt8.init) }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            let pair = rest.prefix(2).compactMap(digit)
            if byte == UInt8(ascii: "%"), pair.count == 2 {
                bytes.append(pair[0] << 4 | pair[1])
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self) ?? String(text)
    }
}

extension Engine {
    /// Has the auth function decide about a connection, which is not read meanwhile; without one it is let in at once. Whoever is
    /// refused gets the reason and a close. Other connections notice nothing of it, however long it takes.
    func authenticate(_ connection: WebSocketConnection, _ admission: Admission, admitted: @escaping (AccessGrant) -> Void) {
        guard let restrictions = admission.rules.restrictions, let function = restrictions.authentication else {
            return admitted(AccessGrant())
        }
        connection.isGated = true
        authenticating[ObjectIdentifier(connection)] = connection
        ask(function, admission.input, within: restrictions.timeout) { [self] outcome in
            authenticating[ObjectIdentifier(connection)] = nil
            // It has left, and what it had sent before is nobody's.
            guard connection.phase == .open else { return connection.cut() }
            do throws(InvocationError) {
                admitted(try AccessGrant(result: try outcome.get()))
                connection.isGated = false
            } catch {
                refuse(connection, function, error)
            }
        }
    }

    private func refuse(_ connection: WebSocketConnection, _ function: FunctionID, _ error: InvocationError) {
        counters.authenticationsFailed += 1
        if let leftOut = authenticationWarnings.take(now: .now()) {
            var metadata: Logger.Metadata = [
                "function": .string(function.text), "reason": .string(Self.short(error.message)),
                "address": .string(connection.remoteAddress?.ipAddress ?? ""),
            ]
            if leftOut > 0 { metadata["left_out"] = "\(leftOut)" }
            logger.warning(.authenticationFailed, "a connection was refused by the auth function of its listener", metadata: metadata)
        }
        let message: JSONValue = [
            "type": "error", "error": ["code": .string(ErrorCode.authError.rawValue), "message": .string(error.message)],
        ]
        connection.sendText(message.bytes)
        connection.close(.policyViolation, reason: "authentication failed")
    }

    /// Calls a function that decides about access. `completion` runs once, with the error where there is no answer in time; a later one
    /// is dropped.
    func ask(
        _ function: FunctionID, _ input: [UInt8], within limit: TimeAmount,
        _ completion: @escaping (Result<JSONValue?, InvocationError>) -> Void
    ) {
        var isAnswered = false
        func answer(_ outcome: Result<JSONValue?, InvocationError>) {
            guard !isAnswered else { return }
            isAnswered = true
            completion(outcome)
        }
        var timeout: Scheduled<Void>?
        let call = call(function, data: input) { outcome in
            timeout?.cancel()
            switch outcome {
            case .result(let bytes): answer(.success(bytes.flatMap { try? JSONValue(parsing: $0) }))
            case .failure(let error): answer(.failure(error))
            }
        }
        guard !isAnswered else { return }
        let late = LoopBoxed {
            // Forgotten, so that a function that never answers holds nothing.
            if let call { call.callee.invocations[call.id] = nil }
            let milliseconds = limit.nanoseconds / 1_000_000
            answer(.failure(InvocationError(.timeout, "Function \(function) did not answer within \(milliseconds) ms")))
        }
        timeout = eventLoop.scheduleTask(in: limit) { late.value() }
    }
}

/// A call of the engine's own that waits for a worker.
struct EngineCall {
    let id: UUIDBits
    let callee: Worker
}
