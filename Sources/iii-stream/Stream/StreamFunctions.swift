import IIIItems
import IIIProtocol
import IIIWorker
import NIOCore

/// The functions `stream::*`; docs/reference/streams.md.
struct StreamFunctions {
    private let worker: StreamWorker
    private let groups: GroupCalls
    private var providers: StreamProviders { worker.providers }

    init(_ worker: StreamWorker) {
        self.worker = worker
        groups = GroupCalls(
            GroupCalls.Words(id: "item_id", ids: "item_ids", value: "data"), on: worker.context.eventLoop, store: { try worker.store },
            changed: { worker.changed($0, $1, $2.trace) })
    }

    func register(on link: WorkerLink) {
        let functions = ItemFunctions(on: link)
        functions.register("stream::set", "Stores an item of a group and tells everybody who listens", serve: set)
        functions.register("stream::get", "An item of a group", serve: get)
        functions.register("stream::delete", "Removes an item of a group and tells everybody who listens", serve: delete)
        functions.register("stream::update", "Changes an item by operations, atomically", serve: update)
        functions.register("stream::list", "The items of a group", serve: list)
        functions.register("stream::set_many", "Stores items of a group in one step and tells everybody who listens", serve: setMany)
        functions.register("stream::get_many", "Items of a group by their ids") { [self] input, call in
            try groups.getMany(input, stored(input, .get), call, (.streamGetError, "Failed to get value"))
        }
        functions.register("stream::list_ids", "The ids of a group's items, page by page") { [self] input, call in
            try groups.listNames(stored(input, .list), as: "ids", PageRequest(input), call, (.streamGetGroupError, "Failed to get group"))
        }
        functions.register("stream::count", "How many items a group has") { [self] input, call in
            try groups.count(stored(input, .list), call, (.streamGetGroupError, "Failed to get group"))
        }
        functions.register("stream::delete_group", "Removes all items of a group and tells everybody who listens") { [self] input, call in
            try groups.deleteGroup(stored(input, .delete), call, (.streamDeleteError, "Failed to delete value"))
        }
        functions.register("stream::list_groups", "The groups of a stream that have items", serve: listGroups)
        functions.register("stream::list_all", "All streams with their groups", hasInput: false, serve: listAll)
        functions.register("stream::send", "Tells everybody who listens something that is not stored", serve: send)
        functions.register("stream::presence", "Who is in a group", serve: presence)
        functions.register("stream::disconnect", "Ends subscriptions", serve: disconnect)
    }

    // MARK: Changes

    private func set(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        let value = Array(try input.value("data"))
        let options = try ChangeOptions(input, expiry: .never)
        try worker.settings.valueLimit.check(value)
        provided(.set, address, call, .streamSetError, "Failed to set value") { [worker] in
            change(address, value.count, ItemEdits.set(value, options), options, call, .streamSetError, "Failed to set value", worker)
        }
    }

    private func setMany(_ input: InputObject, _ call: IncomingCall) throws {
        try groups.setMany(input, stored(input, .set), limit: worker.settings.valueLimit, call, (.streamSetError, "Failed to set value"))
    }

    private func update(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        let elements = try input.array("ops")
        try ItemLimits.check(operations: elements.count)
        let operations = try UpdateOperation.decode(elements)
        let options = try ChangeOptions(input, expiry: .unchanged)
        let edit = ItemEdits.update(operations, isAtomic: try input.flag("atomic"), options, limit: worker.settings.valueLimit)
        let stream = address.group.stream
        if !providers.has(.update, stream), providers.has(.get, stream), providers.has(.set, stream) {
            return worker.updates.update(address, edit, call)
        }
        provided(.update, address, call, .streamUpdateError, "Failed to update value") { [worker] in
            change(address, call.payload.count, edit, options, call, .streamUpdateError, "Failed to update value", worker)
        }
    }

    private func delete(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        let options = try ChangeOptions(input, expiry: .never)
        provided(.delete, address, call, .streamDeleteError, "Failed to delete value") { [worker] in
            change(
                address, 0, ItemEdits.remove(options), options, call, .streamDeleteError, "Failed to delete value", worker, hasNew: false)
        }
    }

    private func change(
        _ address: ItemAddress, _ cost: Int, _ edit: @escaping ItemEdits.Decide, _ options: ChangeOptions, _ call: IncomingCall,
        _ code: ErrorCode, _ prefix: String, _ worker: StreamWorker, hasNew: Bool = true
    ) {
        let bound = NIOLoopBound((worker, call), eventLoop: worker.context.eventLoop)
        do {
            try worker.store.change(address, cost: cost, edit) { outcome in
                let (worker, call) = bound.value
                switch outcome {
                case .success(let change):
                    call.reply(raw: ItemResults.change(change, options, hasNew: hasNew))
                    worker.changed(address, change, call.trace)
                case .failure(let error): call.fail(.store(error, code, prefix))
                }
            }
        } catch {
            call.fail(.store(error, code, prefix))
        }
    }

    /// Has the stream's provider do it if there is one, else `inStore`.
    private func provided(
        _ operation: StreamProviders.Operation, _ address: ItemAddress, _ call: IncomingCall, _ code: ErrorCode, _ prefix: String,
        inStore: @escaping () -> Void
    ) {
        guard providers.has(operation, address.group.stream) else { return inStore() }
        providers.call(operation, address.group.stream, call.payload, trace: call.trace) { [worker] answer in
            switch answer {
            case .missing: inStore()
            case .failure(let error): call.fail(InvocationError(code, "\(prefix): Failed to invoke function: \(error)"))
            case .result(nil): call.fail(InvocationError(code, "\(prefix): Function returned no result"))
            case .result(.some(let bytes)):
                do {
                    let change = try ProviderChange(bytes, needsNew: operation != .delete)
                    var result = JSONObjectText()
                    result.set("old_value", raw: change.old)
                    if operation != .delete { result.set("new_value", raw: change.new) }
                    if let errors = change.errors { result.set("errors", raw: errors) }
                    call.reply(raw: result.finish())
                    worker.changed(address, old: change.old, new: operation == .delete ? nil : change.new, call.trace)
                } catch {
                    call.fail(InvocationError(thrown: error))
                }
            }
        }
    }

    // MARK: Reading

    /// Hands a reading call to the stream's provider if there is one.
    private func provided(
        _ operation: StreamProviders.Operation, _ stream: ItemName, _ call: IncomingCall, inStore: @escaping () throws -> Void
    ) throws {
        guard providers.has(operation, stream) else { return try inStore() }
        providers.call(operation, stream, call.payload, trace: call.trace) { answer in
            switch answer {
            case .missing: do { try inStore() } catch { call.fail(InvocationError(thrown: error)) }
            case .failure(let error): call.fail(error)
            case .result(let bytes): call.reply(raw: bytes)
            }
        }
    }

    private func get(_ input: InputObject, _ call: IncomingCall) throws {
        let address = try address(input)
        let isDescribed = try input.flag("with_meta")
        let answer = NIOLoopBound(call, eventLoop: worker.context.eventLoop)
        try provided(.get, address.group.stream, call) { [worker] in
            try worker.store.read(address) { outcome in
                switch outcome {
                case .success(let reading): answer.value.reply(raw: reading.item.map { isDescribed ? ItemResults.described($0) : $0.text })
                case .failure(let error): answer.value.fail(.store(error, .streamGetError, "Failed to get value"))
                }
            }
        }
    }

    private func list(_ input: InputObject, _ call: IncomingCall) throws {
        let (group, request) = (try group(input), try PageRequest(input))
        try provided(.list, group.stream, call) { [groups] in
            try groups.list(group, request, call, (.streamGetGroupError, "Failed to get group"))
        }
    }

    private func listGroups(_ input: InputObject, _ call: IncomingCall) throws {
        let (stream, request) = (try name(input, "stream_name"), try PageRequest(input, order: "id"))
        let answer = NIOLoopBound(call, eventLoop: worker.context.eventLoop)
        try provided(.listGroups, stream, call) { [worker] in
            try worker.store.groups(of: stream) { outcome in
                switch outcome {
                case .success(let all):
                    let (names, next) = request.names(all)
                    let groups = JSONValue.array(names.map { .string($0.text) })
                    answer.value.reply(request.isAsked ? ["groups": groups, "next_cursor": next] : groups)
                case .failure(let error): answer.value.fail(.store(error, .streamListGroupsError, "Failed to list groups"))
                }
            }
        }
    }

    private func listAll(_ input: InputObject, _ call: IncomingCall) throws {
        let answer = NIOLoopBound(call, eventLoop: worker.context.eventLoop)
        try worker.store.groups { outcome in
            switch outcome {
            case .success(let groups):
                var streams: [(id: ItemName, groups: [JSONValue])] = []
                for group in groups {
                    if streams.last?.id != group.stream { streams.append((group.stream, [])) }
                    streams[streams.count - 1].groups.append(.string(group.name.text))
                }
                let rows = streams.map { JSONValue.object(["id": .string($0.id.text), "groups": .array($0.groups)]) }
                answer.value.reply(["stream": .array(rows), "count": JSONValue(rows.count)])
            case .failure(let error): answer.value.fail(.store(error, .streamListAllError, "Failed to list stream"))
            }
        }
    }

    // MARK: Others

    private func send(_ input: InputObject, _ call: IncomingCall) throws {
        let group = try group(input)
        let type = try input.string("type")
        let data = Array(try input.value("data"))
        let id = try input.optionalString("id").map { ItemName($0) }
        try worker.settings.valueLimit.check(data)
        worker.send(.custom(type: type, data: data), in: group, id: id, call.trace) { result in
            switch result {
            case .success: call.reply(JSONValue.null)
            case .failure(let error): call.fail(.store(error, .streamSendError, "Failed to send event"))
            }
        }
    }

    private func presence(_ input: InputObject, _ call: IncomingCall) throws {
        let members = worker.port.hub.presence(in: try group(input)).members.sorted { ($0.value.since, $0.key) < ($1.value.since, $1.key) }
        let rows = members.map { key, member in
            var row = JSONObjectText()
            row.set("key", .string(key.text))
            row.set("value", raw: member.value)
            row.set("since", JSONValue(member.since))
            row.set("connections", JSONValue(member.connections.count))
            return row.finish()
        }
        var result = JSONObjectText()
        result.set("present", rows: rows)
        call.reply(raw: result.finish())
    }

    private func disconnect(_ input: InputObject, _ call: IncomingCall) throws {
        var revocation = StreamPort.Revocation()
        revocation.subscription = try input.optionalString("subscription_id")
        revocation.stream = try input.optionalString("stream_name").map { ItemName($0) }
        revocation.group = try input.optionalString("group_id").map { ItemName($0) }
        if let wanted = try input.optional("context_match") {
            _ = try InputObject(wanted, as: "a map")
            revocation.context = JSONObjectNode(JSONLevel.compact(wanted))
        }
        guard revocation.subscription != nil || revocation.stream != nil || revocation.group != nil || revocation.context != nil else {
            throw InputProblem("one of `subscription_id`, `stream_name`, `group_id`, `context_match` is needed")
        }
        call.reply(["disconnected": JSONValue(worker.port.revoke(revocation))])
    }

    private func address(_ input: InputObject) throws -> ItemAddress {
        ItemAddress(group: try group(input), key: try name(input, "item_id"))
    }

    private func group(_ input: InputObject) throws -> ItemGroup {
        ItemGroup(stream: try name(input, "stream_name"), name: try name(input, "group_id"))
    }

    /// For what only the store can do: a group whose stream has no provider for `operation`.
    private func stored(_ input: InputObject, _ operation: StreamProviders.Operation) throws -> ItemGroup {
        let group = try group(input)
        guard !providers.has(operation, group.stream) else {
            throw InvocationError(
                .functionUnavailable, "the items of this stream are with a provider; call stream::\(operation.rawValue) instead")
        }
        return group
    }

    private func name(_ input: InputObject, _ member: String) throws -> ItemName {
        let name = ItemName(try input.string(member))
        try ItemLimits.check(name, "`\(member)`")
        return name
    }
}
