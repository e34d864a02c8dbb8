import IIIProtocol

/// The input of a `cron::*` function; null counts as absent.
struct CronInput {
    let json: JSONValue

    init(_ json: JSONValue) throws(InvocationError) {
        guard var members = json.isNull ? [:] : json.object else {
            throw InvocationError(.invalidArguments, "the input must be an object")
        }
        // The engine's own addition to a call.
        members["_caller_worker_id"] = nil
        self.json = .object(members)
    }

    subscript(key: String) -> JSONValue? {
        guard let value = json[key], !value.isNull else { return .none }
        return value
    }

    /// Throws for any other member, so that a misspelt filter does not pass for none.
    func allow(_ keys: String...) throws(InvocationError) {
        guard let unknown = (json.object ?? [:]).keys.filter({ !keys.contains($0) }).min() else { return }
        let near = EditDistance.nearest(to: unknown, among: keys).map { "; did you mean '\($0)'?" } ?? ""
        let known = keys.map { "'\($0)'" }.joined(separator: ", ")
        throw InvocationError(.invalidArguments, "'\(unknown.prefix(64))' is not known here: there are \(known)\(near)")
    }

    func text(_ key: String) throws(InvocationError) -> String? {
        guard let value = self[key] else { return nil }
        guard let text = value.string else { throw InvocationError(.invalidArguments, "'\(key)' must be a string") }
        return text
    }

    func flag(_ key: String) throws(InvocationError) -> Bool? {
        guard let value = self[key] else { return nil }
        guard let flag = value.bool else { throw InvocationError(.invalidArguments, "'\(key)' must be true or false") }
        return flag
    }

    func integer(_ key: String, _ range: ClosedRange<Int64>) throws(InvocationError) -> Int? {
        guard let value = self[key] else { return nil }
        guard let number = value.integer, range.contains(number) else {
            throw InvocationError(.invalidArguments, "'\(key)' must be an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return Int(number)
    }

    func time(_ key: String) throws(InvocationError) -> Int? {
        guard let value = self[key] else { return nil }
        guard let time = CronTime.milliseconds(value) else {
            throw InvocationError(.invalidArguments, "'\(key)' must be \(CronTime.expectation)")
        }
        return time
    }
}
