import IIISignals

extension OTLPJSONReader {
    mutating func document<Item: OTLPItem>() throws(OTLPFault) -> [Item] {
        var items: [Item] = []
        do throws(OTLPFault) {
            try object { reader, key throws(OTLPFault) in
                guard key.equals(Item.signal.names.resources) else { return }
                try reader.array { reader throws(OTLPFault) in try reader.resourceGroup(&items) }
            }
            try end()
        } catch {
            // Outside of any record there is nothing that could be left out.
            if case .rejected(let reason) = error { throw .undecodable(reason) }
            throw error
        }
        return items
    }

    /// The resource may stand behind the records.
    private mutating func resourceGroup<Item: OTLPItem>(_ items: inout [Item]) throws(OTLPFault) {
        let names = Item.signal.names
        let start = items.count
        var attributes: [Attribute] = []
        var silent: [Int] = []
        try object { reader, key throws(OTLPFault) in
            if "resource" ~= key {
                try reader.tolerate(0) { reader throws(OTLPFault) in
                    try reader.object { reader, key throws(OTLPFault) in
                        if "attributes" ~= key { try reader.attributes(&attributes) }
                    }
                }
            } else if key.equals(names.scopes) {
                try reader.array { reader throws(OTLPFault) in try reader.scopeGroup(&items, silent: &silent) }
            }
        }
        guard items.count > start else { return }
        let resource = Resource(attributes)
        for index in start..<items.count { items[index].resource = resource }
        var unstated = silent[...]
        for index in start..<items.count {
            if unstated.first == index {
                unstated.removeFirst()
            } else {
                items[index].correct()
            }
        }
    }

    /// `silent`: where spans stand that do not say which kind they are.
    private mutating func scopeGroup<Item: OTLPItem>(_ items: inout [Item], silent: inout [Int]) throws(OTLPFault) {
        let start = items.count
        var scope = InstrumentationScope()
        try object { reader, key throws(OTLPFault) in
            if "scope" ~= key {
                try reader.tolerate(0) { reader throws(OTLPFault) in
                    try reader.object { reader, key throws(OTLPFault) in
                        switch key {
                        case "name": scope.name = try reader.text()
                        case "version": scope.version = try reader.text()
                        default: break
                        }
                    }
                }
            } else if key.equals(Item.signal.names.items) {
                try reader.array { reader throws(OTLPFault) in
                    try reader.tolerate(1) { reader throws(OTLPFault) in
                        try reader.budget.takeItem()
                        reader.isKindStated = true
                        guard let item = try Item.read(&reader) else { return }
                        if !reader.isKindStated { silent.append(items.count) }
                        items.append(item)
                    }
                }
            }
        }
        for index in start..<items.count { items[index].scope = scope }
    }
}
