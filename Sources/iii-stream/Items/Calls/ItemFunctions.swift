import IIIProtocol
import IIIWorker

/// Serves functions whose input is an object, with the reference's words for one that cannot be read.
package struct ItemFunctions {
    private let link: WorkerLink

    package init(on link: WorkerLink) { self.link = link }

    /// `serve` answers the call, now or later; what it throws is the answer.
    package func register(
        _ id: String, _ description: String, hasInput: Bool = true, serve: @escaping (InputObject, IncomingCall) throws -> Void
    ) {
        link.registerFunction(id, description: description) { call in
            do {
                let input = hasInput ? try InputObject(call.payload[...]) : try InputObject(optional: call.payload)
                try serve(input, call)
            } catch let problem as InputProblem {
                call.fail(
                    InvocationError(.deserializationError, "Failed to deserialize input for \(id): \(problem.message)"))
            } catch {
                call.fail(InvocationError(thrown: error))
            }
        }
    }
}

extension InvocationError {
    /// What a caller is told when a store has failed; an error that a function has made is told as it is.
    package static func store(_ error: any Error, _ code: ErrorCode, _ prefix: String) -> InvocationError {
        error as? InvocationError ?? InvocationError(code, "\(prefix): \(error)")
    }
}
