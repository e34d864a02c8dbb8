import IIIProtocol
import IIITelemetry
import Logging

/// Carries out what `HTTPFunctionTable` decides: the core's half of `iii-http-functions`
/// (docs/reference/worker-protocol.md#http-functions).
extension Engine {
    /// Whether an entry of the configuration is one that provides HTTP functions.
    private static func providesHTTPFunctions(_ entry: String) -> Bool {
        entry == "iii-http-functions" || entry.hasPrefix("iii-http-functions#")
    }

    func httpFunctionsConfigured(_ name: String, _ isConfigured: Bool) {
        guard Self.providesHTTPFunctions(name) else { return }
        if isConfigured { httpFunctionEntries.insert(name) } else { httpFunctionEntries.remove(name) }
        perform(httpFunctions.configured(!httpFunctionEntries.isEmpty))
    }

    func registerHTTPFunction(_ key: FunctionKey, _ registration: FunctionRegistration, _ invocation: JSONValue) {
        if let objection = registry.functions.objection(to: key, of: registration.worker) {
            return refused(key, registration.worker, objection)
        }
        if let limit = httpFunctions.objection(to: key, registration) { return refused(key, registration.worker, .noRoom(limit)) }
        perform(httpFunctions.register(key, registration, invocation))
    }

    /// `core::http_functions::attach`: functions go to `worker` from now on. False when it cannot take any.
    func attachHTTPFunctions(_ worker: Worker) -> Bool {
        guard let name = worker.builtinName, worker.functionIDs.contains(FunctionKey(Self.registerFunction(of: name).text)) else {
            return false
        }
        logger.info("HTTP functions are provided", metadata: ["builtin": .string(name), "functions": "\(httpFunctions.count)"])
        perform(httpFunctions.attached(worker))
        return true
    }

    /// A connection ended that may have provided HTTP functions, and may have registered some.
    func httpFunctionsLost(_ worker: Worker) {
        if worker.isPrivileged { perform(httpFunctions.detached(worker)) }
        perform(httpFunctions.workerLeft(worker))
    }

    func perform(_ effects: [HTTPFunctionTable.Effect]) {
        for effect in effects {
            switch effect {
            case .offer(let key, let invocation, let ticket, let isReplay, let provider):
                offer(key, invocation, ticket, isReplay, to: provider)
            case .withdraw(let key, let provider):
                let input: JSONValue = ["function_id": .string(key.id), "namespace": .string(key.namespace)]
                call(FunctionID(own: "builtin::\(provider.builtinName ?? "")::unregister_function"), data: input.bytes)
            case .list(let key, let registration):
                if !list(key, registration) { perform(httpFunctions.remove(key, of: registration.worker)) }
            case .unlist(let key, let worker):
                unlist(key, worker)
            case .assign(let key, let callee):
                registry.functions.assign(key, to: callee)
                if callee != nil { held.release(key.id) }
            case .refused(let key, let worker, let invocation, let reason):
                counters.registrationsRefused += 1
                logger.warning(
                    .httpFunctionRefused, "an HTTP function was refused",
                    metadata: [
                        "function": .string(key.id), "worker": .string(worker.id.text), "reason": .string("\(reason)"),
                        "host": .string(Self.host(ofURL: invocation["url"]?.string ?? "")),
                    ])
                held.release(key.id)
            case .dropped(let key, let worker):
                counters.registrationsRefused += 1
                logger.warning(
                    .httpFunctionsMissing, "HTTP functions module not loaded",
                    metadata: [
                        "function": .string(key.id), "worker": .string(worker.id.text),
                        "cure": "add '- name: iii-http-functions' to the config",
                    ])
                held.release(key.id)
            }
        }
    }

    private func offer(_ key: FunctionKey, _ invocation: JSONValue, _ ticket: Int, _ isReplay: Bool, to provider: Worker) {
        let input: JSONValue = [
            "function_id": .string(key.id), "namespace": .string(key.namespace), "invocation": invocation, "is_replay": .bool(isReplay),
        ]
        call(Self.registerFunction(of: provider.builtinName ?? ""), data: input.bytes) { [self] outcome in
            guard case .failure(let error) = outcome else {
                return perform(httpFunctions.answered(key, ticket: ticket, error: nil))
            }
            // An offer that did not arrive is no refusal: it is made again to the next provider.
            let lost = [ErrorCode.invocationStopped, .channelSendFailed].map(\.rawValue)
            if !lost.contains(error.code) { perform(httpFunctions.answered(key, ticket: ticket, error: error)) }
        }
    }

    private static func registerFunction(of builtin: String) -> FunctionID { FunctionID(own: "builtin::\(builtin)::register_function") }

    /// The host of a URL nobody has checked, for a log line: without user, password, path and query, and short.
    static func host(ofURL text: String) -> String {
        guard let scheme = text.firstRange(of: "://") else { return "" }
        let authority = text[scheme.upperBound...].prefix { !"/?#\\".contains($0) }
        let host = authority.split(separator: "@", omittingEmptySubsequences: false).last ?? ""
        return String(host.filter { $0.isASCII && !$0.isWhitespace }.prefix(253))
    }
}
