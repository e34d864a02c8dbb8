import IIIItems
import IIIProtocol
import IIIWorker
import NIOCore

/// Updates of streams whose provider can read and write, and not update: one after the other for each item, get, operations, set.
///
/// Confined to the event loop. What waits is bounded; one more fails.
final class ProvidedUpdates {
    private struct Waiting {
        let edit: ItemEdits.Decide
        let call: IncomingCall
    }

    private unowned let worker: StreamWorker
    private var items: [ItemAddress: CircularBuffer<Waiting>] = [:]
    private var count = 0
    private static let maximumWaiting = 4096

    init(_ worker: StreamWorker) { self.worker = worker }

    func update(_ address: ItemAddress, _ edit: @escaping ItemEdits.Decide, _ call: IncomingCall) {
        guard count < Self.maximumWaiting else {
            return call.fail(InvocationError(.tooManyInFlight, "\(count) updates wait for stream providers already; try again later"))
        }
        count += 1
        let waiting = Waiting(edit: edit, call: call)
        guard items[address] == nil else {
            items[address]?.append(waiting)
            return
        }
        items[address] = CircularBuffer()
        run(address, waiting)
    }

    private func run(_ address: ItemAddress, _ update: Waiting) {
        worker.providers.call(.get, address.group.stream, Self.input(address, nil), trace: update.call.trace) { [self] answer in
            switch answer {
            case .result(let old): write(address, update, old)
            case .failure(let error): finish(address, update, .failure(error))
            case .missing: finish(address, update, .failure(InvocationError(.functionNotFound, "the provider has gone")))
            }
        }
    }

    private func write(_ address: ItemAddress, _ update: Waiting, _ old: [UInt8]?) {
        let stored = old.map { StoredItem(text: Array(JSONLevel.compact($0[...])), revision: 0, createdAt: 0, updatedAt: 0) }
        let edit: ItemEdit
        do { edit = try update.edit(stored) } catch { return finish(address, update, .failure(error)) }
        guard case .store(let new) = edit.action else {
            return finish(address, update, .success((stored?.text, stored?.text, edit.notes, false)))
        }
        worker.providers.call(.set, address.group.stream, Self.input(address, new), trace: update.call.trace) { [self] answer in
            switch answer {
            case .result: finish(address, update, .success((stored?.text, new, edit.notes, true)))
            case .failure(let error): finish(address, update, .failure(error))
            case .missing: finish(address, update, .failure(InvocationError(.functionNotFound, "the provider has gone")))
            }
        }
    }

    private typealias Outcome = (old: [UInt8]?, new: [UInt8]?, notes: [UInt8]?, isChanged: Bool)

    private func finish(_ address: ItemAddress, _ update: Waiting, _ result: Result<Outcome, any Error>) {
        count -= 1
        switch result {
        case .success(let outcome):
            var text = JSONObjectText()
            text.set("old_value", raw: outcome.old)
            text.set("new_value", raw: outcome.new)
            if let notes = outcome.notes { text.set("errors", raw: notes) }
            update.call.reply(raw: text.finish())
            if outcome.isChanged { worker.changed(address, old: outcome.old, new: outcome.new, update.call.trace) }
        case .failure(let error as InvocationError) where error.code == ErrorCode.conflict.rawValue: update.call.fail(error)
        case .failure(let error):
            update.call.fail(InvocationError(.streamUpdateError, "Failed to update value: Failed to invoke function: \(error)"))
        }
        guard let next = items[address]?.popFirst() else {
            items[address] = nil
            return
        }
        // Not here: a provider that answers at once would have all of them recurse.
        let bound = NIOLoopBound((self, next), eventLoop: worker.context.eventLoop)
        worker.context.eventLoop.execute { bound.value.0.run(address, bound.value.1) }
    }

    private static func input(_ address: ItemAddress, _ data: [UInt8]?) -> [UInt8] {
        var text = JSONObjectText()
        text.set("stream_name", .string(address.group.stream.text))
        text.set("group_id", .string(address.group.name.text))
        text.set("item_id", .string(address.key.text))
        if let data { text.set("data", raw: data) }
        return text.finish()
    }
}
