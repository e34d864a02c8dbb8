import IIIProtocol

/// The members of an input that ask for a part of a group; docs/reference/state.md#pages. Without any of them a list is a bare array.
package struct PageRequest {
    package let page: ItemPage
    /// Any of them was there.
    package let isAsked: Bool
    /// Items are answered with their names.
    package let hasNames: Bool

    package static let maximumLimit = 1000

    /// `order`: what is meant where the input does not say it.
    package init(_ input: InputObject, order usual: String = "insertion") throws(InputProblem) {
        let limit = try input.optionalInteger("limit", in: 1...Self.maximumLimit)
        let prefix = try input.optionalString("prefix")
        let order = try input.optionalString("order")
        let cursor = try input.optionalString("cursor")
        hasNames = try input.flag("with_ids")
        isAsked = hasNames || limit != nil || prefix != nil || order != nil || cursor != nil
        guard isAsked else {
            page = ItemPage(maximumBytes: ItemLimits.maximumListBytes)
            return
        }
        page = ItemPage(
            limit: limit ?? Self.maximumLimit, order: try Self.order(order ?? usual, behind: cursor), prefix: ItemName(prefix ?? ""),
            maximumBytes: ItemLimits.maximumListBytes)
    }

    /// A cursor is the place or name of the last item of a page, with a letter for which of them: it goes on behind that item, also
    /// when the item is no more.
    private static func order(_ order: String, behind cursor: String?) throws(InputProblem) -> ItemPage.Order {
        switch (order, cursor?.first) {
        case ("insertion", nil): return .stored(after: 0)
        case ("id", nil): return .name(after: nil)
        case ("insertion", "p"):
            if let place = cursor.flatMap({ Int($0.dropFirst()) }), place >= 0 { return .stored(after: place) }
        case ("id", "n"): return .name(after: cursor.map { ItemName(String($0.dropFirst())) })
        case ("insertion", _), ("id", _): break
        default: throw InputProblem("unknown variant `\(order.prefix(40))`, expected one of `insertion`, `id`")
        }
        throw InputProblem("`cursor` is none that a page in this order has told")
    }

    /// The member `next_cursor` of an answer: `null` behind the last page.
    package func nextCursor(_ list: ItemListing) -> JSONValue {
        guard list.end != .complete, let last = list.entries.last else { return .null }
        switch page.order {
        case .stored: return .string("p\(last.place)")
        case .name: return .string("n\(last.key.text)")
        }
    }

    /// `{"items", "next_cursor"}`, or the bare array where no page was asked for.
    package func answer(_ list: ItemListing) -> [UInt8] {
        guard isAsked else { return ItemResults.array(list.entries.lazy.map(\.item.text)) }
        var result = JSONObjectText()
        let rows = list.entries.lazy.map { entry -> [UInt8] in
            guard hasNames else { return entry.item.text }
            var row = JSONObjectText()
            row.set("id", .string(entry.key.text))
            row.set("value", raw: entry.item.text)
            return row.finish()
        }
        result.set("items", raw: ItemResults.array(rows))
        result.set("next_cursor", nextCursor(list))
        return result.finish()
    }

    /// A part of a sorted list of names: of groups, or scopes.
    package func names(_ all: [ItemName]) -> (names: [ItemName], next: JSONValue) {
        guard isAsked, let limit = page.limit else { return (all, .null) }
        var behind: ItemName?
        if case .name(let name) = page.order { behind = name }
        let found = all.lazy.filter { $0.hasPrefix(page.prefix) && (behind == nil || $0 > behind ?? "") }
        let names = Array(found.prefix(limit + 1))
        guard names.count > limit else { return (names, .null) }
        return (Array(names.prefix(limit)), .string("n\(names[limit - 1].text)"))
    }
}
