import IIIItems
import IIIProtocol
import IIIWorker
import NIOCore

/// The functions `state::*`; docs/reference/state.md.
struct StateFunctions {
    private let worker: StateWorker
    private let groups: GroupCalls

    init(_ worker: StateWorker) {
        self.worker = worker
        groups = GroupCalls(
            GroupCalls.Words(id: "key", ids: "keys", value: "value"), on: worker.context.eventLoop, store: { try worker.store },
            changed: { worker.changed($0, $1, by: $2) })
    }

    func register(on link: WorkerLink) {
        let functions = ItemFunctions(on: link)
        functions.register("state::set", "Stores a value under a scope and a key", serve: set)
        functions.register("state::get", "The value under a scope and a key", serve: get)
        functions.register("state::delete", "Removes a value and answers with it", serve: delete)
        functions.register("state::update", "Changes a value by operations, atomically", serve: update)
        functions.register("state::list", "The values of a scope", serve: list)
        functions.register("state::set_many", "Stores values of a scope in one step", serve: setMany)
        functions.register("state::get_many", "Values of a scope by their keys") { [self] input, call in
            try groups.getMany(input, scope(input), call, (.getError, "Failed to get value"))
        }
        functions.register("state::list_keys", "The keys of a scope, page by page") { [self] input, call in
            try groups.listNames(scope(input), as: "keys", PageRequest(input), call, (.listError, "Failed to list values"))
        }
        functions.register("state::count", "How many values a scope has") { [self] input, call in
            try groups.count(scope(input), call, (.listError, "Failed to list values"))
        }
        functions.register("state::delete_group", "Removes all values of a scope") { [self] input, call in
            try groups.deleteGroup(scope(input), call, (.deleteError, "Failed to delete value"))
        }
        functions.register("state::list_groups", "The scopes that have values", hasInput: false, serve: listGroups)
    }

    // MARK: Changes

    private func set(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        guard try input.raw("value") == nil || input.raw("data") == nil else { throw InputProblem("duplicate field `value`") }
        let value = Array(try input.raw("data") != nil ? input.value("data") : input.value("value"))
        let options = try ChangeOptions(input, expiry: .never)
        try worker.settings.valueLimit.check(value)
        try change(address, value.count, ItemEdits.set(value, options), call, .setError, "Failed to set value") { change in
            ItemResults.change(change, options)
        }
    }

    private func update(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        let operations = try operations(input)
        let options = try ChangeOptions(input, expiry: .unchanged)
        let edit = ItemEdits.update(operations, isAtomic: try input.flag("atomic"), options, limit: worker.settings.valueLimit)
        try change(address, call.payload.count, edit, call, .updateError, "Failed to update value") { change in
            ItemResults.change(change, options)
        }
    }

    private func delete(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        let edit = ItemEdits.remove(try ChangeOptions(input, expiry: .never))
        // As the baseline has it: listeners hear of a delete also where nothing was.
        try change(address, 0, edit, call, .deleteError, "Failed to delete value", firesAlways: true) { $0.old?.text }
    }

    private func setMany(_ input: InputObject, _ call: IncomingCall) throws {
        try groups.setMany(input, scope(input), limit: worker.settings.valueLimit, call, (.setError, "Failed to set value"))
    }

    private func change(
        _ address: ItemAddress, _ cost: Int, _ edit: @escaping ItemEdits.Decide, _ call: IncomingCall, _ code: ErrorCode, _ prefix: String,
        firesAlways: Bool = false, result: @escaping @Sendable (ItemChange) -> [UInt8]?
    ) throws {
        let bound = NIOLoopBound((worker, call), eventLoop: worker.context.eventLoop)
        try worker.store.change(address, cost: cost, edit) { outcome in
            let (worker, call) = bound.value
            switch outcome {
            case .success(let change):
                call.reply(raw: result(change))
                worker.changed(address, change, by: call, firesAlways: firesAlways)
            case .failure(let error): call.fail(.store(error, code, prefix))
            }
        }
    }

    // MARK: Reading

    private func get(_ input: InputObject, _ call: IncomingCall) throws {
        let isDescribed = try input.flag("with_meta")
        let answer = NIOLoopBound(call, eventLoop: worker.context.eventLoop)
        try worker.store.read(try address(input)) { outcome in
            switch outcome {
            case .success(let reading): answer.value.reply(raw: reading.item.map { isDescribed ? ItemResults.described($0) : $0.text })
            case .failure(let error): answer.value.fail(.store(error, .getError, "Failed to get value"))
            }
        }
    }

    private func list(_ input: InputObject, _ call: IncomingCall) throws {
        try groups.list(scope(input), PageRequest(input), call, (.listError, "Failed to list values"))
    }

    private func listGroups(_ input: InputObject, _ call: IncomingCall) throws {
        let answer = NIOLoopBound(call, eventLoop: worker.context.eventLoop)
        let request = try PageRequest(input, order: "id")
        try worker.store.groups(of: "") { outcome in
            switch outcome {
            case .success(let scopes):
                let (names, next) = request.names(scopes)
                let groups = JSONValue.array(names.map { .string($0.text) })
                answer.value.reply(request.isAsked ? ["groups": groups, "next_cursor": next] : ["groups": groups])
            case .failure(let error): answer.value.fail(.store(error, .listGroupsError, "Failed to list groups"))
            }
        }
    }

    // MARK: Input

    private func address(_ input: InputObject) throws -> ItemAddress {
        ItemAddress(group: ItemGroup(name: try name(input, "scope")), key: try name(input, "key"))
    }

    private func scope(_ input: InputObject) throws -> ItemGroup { ItemGroup(name: try name(input, "scope")) }

    private func name(_ input: InputObject, _ member: String) throws -> ItemName {
        let name = ItemName(try input.string(member))
        try ItemLimits.check(name, "`\(member)`")
        return name
    }

    private func operations(_ input: InputObject) throws -> [UpdateOperation] {
        let elements = try input.array("ops")
        try ItemLimits.check(operations: elements.count)
        return try UpdateOperation.decode(elements)
    }
}
