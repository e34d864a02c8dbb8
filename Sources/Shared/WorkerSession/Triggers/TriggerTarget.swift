import IIIProtocol

/// The function a trigger calls, and what goes with every call of it.
///
/// Somebody else chose the id, and whoever fires it does so with its own privileges. So there is no target with an id that
/// `FunctionID` refuses (`core::*`, `builtin::*` …): making one throws.
public struct TriggerTarget: Sendable, Hashable {
    /// The function that is called.
    public let functionID: FunctionID
    /// Where the id is looked up; nil means `default`.
    public let namespace: String?
    /// Raw JSON, delivered beside the payload of every call; nil without.
    public let metadata: [UInt8]?

    /// Throws `trigger_registration_failed`, naming the id, when nobody may have that function called on their behalf.
    public init(function: String, namespace: String? = nil, metadata: [UInt8]? = nil) throws(InvocationError) {
        functionID = try Self.named(function)
        self.namespace = namespace
        self.metadata = metadata
    }

    /// An id that a user chose: for targets, conditions and middleware alike.
    static func named(_ function: String) throws(InvocationError) -> FunctionID {
        guard !function.isEmpty else { throw InvocationError(.triggerRegistrationFailed, "the id of the function is empty") }
        do throws(InvocationError) {
            return try FunctionID(function)
        } catch {
            throw InvocationError(.triggerRegistrationFailed, error.message)
        }
    }
}

/// The function that is asked before a trigger's own is called (`condition_function_id` in a trigger's config).
///
/// It gets the same payload. Only JSON `false` skips the call; an error, or a function that does not exist, means that the call
/// is not made and is logged; every other answer lets it through.
public struct TriggerCondition: Sendable, Hashable {
    /// What a condition's answer means for the event.
    public enum Verdict: Sendable, Equatable { case run, skip, failed(InvocationError) }

    /// The function that is asked.
    public let functionID: FunctionID

    /// The condition a trigger's config names; nil when it names none. Throws `trigger_registration_failed` for what is not an id,
    /// or not one that users may name.
    public init?(config: JSONValue) throws(InvocationError) {
        switch config["condition_function_id"] {
        case nil, .null: return nil
        case .string(let id): functionID = try TriggerTarget.named(id)
        default: throw InvocationError(.triggerRegistrationFailed, "condition_function_id must be the id of a function")
        }
    }

    /// What follows from the answer of the condition.
    public static func verdict(_ outcome: CallOutcome) -> Verdict {
        switch outcome {
        case .failure(let error): .failed(error)
        case .result(let bytes): bytes.map(isFalse) == true ? .skip : .run
        }
    }

    private static func isFalse(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let space: Set<UInt8> = [0x20, 0x09, 0x0A, 0x0D]
        return bytes.drop(while: space.contains).prefix { !space.contains($0) }.elementsEqual("false".utf8)
    }
}
