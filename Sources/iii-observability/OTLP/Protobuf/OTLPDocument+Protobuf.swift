import IIISignals

extension ProtobufReader {
    mutating func document<Item: OTLPItem>() throws(OTLPFault) -> [Item] {
        var items: [Item] = []
        while let tag = try next() {
            guard tag == .bytes(1) else {
                try skip(tag)
                continue
            }
            var group = try message()
            try group.resourceGroup(&items)
        }
        return items
    }

    /// The resource may stand behind the records.
    private mutating func resourceGroup<Item: OTLPItem>(_ items: inout [Item]) throws(OTLPFault) {
        let start = items.count
        var attributes: [Attribute] = []
        while let tag = try next() {
            switch tag {
            case .bytes(1):
                var resource = try message()
                try tolerate(0) { () throws(OTLPFault) in
                    while let tag = try resource.next() {
                        if tag == .bytes(1) { try resource.attribute(&attributes) } else { try resource.skip(tag) }
                    }
                }
            case .bytes(2):
                var scope = try message()
                try scope.scopeGroup(&items)
            default: try skip(tag)
            }
        }
        guard items.count > start else { return }
        let resource = Resource(attributes)
        for index in start..<items.count {
            items[index].resource = resource
            items[index].correct()
        }
    }

    private mutating func scopeGroup<Item: OTLPItem>(_ items: inout [Item]) throws(OTLPFault) {
        let start = items.count
        var scope = InstrumentationScope()
        while let tag = try next() {
            switch tag {
            case .bytes(1):
                var message = try message()
                while let tag = try message.next() {
                    switch tag {
                    case .bytes(1): scope.name = try message.text()
                    case .bytes(2): scope.version = try message.text()
                    default: try message.skip(tag)
                    }
                }
            case .bytes(2):
                var record = try message()
                try tolerate(1) { () throws(OTLPFault) in
                    try record.budget.takeItem()
                    if let item = try Item.read(&record) { items.append(item) }
                }
            default: try skip(tag)
            }
        }
        for index in start..<items.count { items[index].scope = scope }
    }

    /// One `KeyValue`. One without a value is passed over. Returns whether it was one too many.
    @discardableResult
    mutating func attribute(_ attributes: inout [Attribute], depth: Int = 0) throws(OTLPFault) -> Bool {
        var message = try message()
        guard attributes.count < budget.limits.maximumAttributes else { return true }
        var key = ""
        var value: AttributeValue?
        while let tag = try message.next() {
            switch tag {
            case .bytes(1): key = try message.text()
            case .bytes(2):
                var inner = try message.message()
                value = try inner.value(depth: depth)
            default: try message.skip(tag)
            }
        }
        if let value { attributes.append(Attribute(key, value)) }
        return false
    }

    /// The inside of an `AnyValue`; the last member of the choice counts.
    mutating func value(depth: Int = 0) throws(OTLPFault) -> AttributeValue {
        try budget.takeValue()
        var value = AttributeValue.empty
        while let tag = try next() {
            switch tag {
            case .bytes(1): value = .string(try text())
            case .varint(2): value = .bool(try varint() != 0)
            case .varint(3): value = .integer(Int64(bitPattern: try varint()))
            case .fixed64(4): value = .double(try double())
            case .bytes(5):
                var list = try message()
                value = try list.elements(depth: depth + 1)
            case .bytes(6):
                var list = try message()
                value = try list.members(depth: depth + 1)
            case .bytes(7): value = .bytes(Array(try data().prefix(budget.limits.maximumTextBytes)))
            default: try skip(tag)
            }
        }
        return value
    }

    private mutating func elements(depth: Int) throws(OTLPFault) -> AttributeValue {
        guard depth < AttributeValue.maximumDepth else { return AttributeValue.cutMark }
        var elements: [AttributeValue] = []
        while let tag = try next() {
            guard tag == .bytes(1), elements.count < budget.limits.maximumAttributes else {
                try skip(tag)
                continue
            }
            var element = try message()
            elements.append(try element.value(depth: depth))
        }
        return .array(elements)
    }

    private mutating func members(depth: Int) throws(OTLPFault) -> AttributeValue {
        guard depth < AttributeValue.maximumDepth else { return AttributeValue.cutMark }
        var members: [Attribute] = []
        while let tag = try next() {
            guard tag == .bytes(1) else {
                try skip(tag)
                continue
            }
            try attribute(&members, depth: depth)
        }
        return .map(members)
    }
}

extension ProtobufReader {
    mutating func exemplar(of point: inout MetricPoint) throws(OTLPFault) {
        var message = try message()
        guard point.exemplars.count < budget.limits.maximumExemplars else { return }
        try budget.takeValue()
        var exemplar = Exemplar(nanoseconds: 0, value: 0)
        while let tag = try message.next() {
            switch tag {
            case .fixed64(2): exemplar.nanoseconds = try message.fixed64()
            case .fixed64(3): exemplar.value = try message.double()
            case .bytes(4): exemplar.spanID = try message.spanID()
            case .bytes(5): exemplar.traceID = try message.traceID()
            case .fixed64(6): exemplar.value = Double(Int64(bitPattern: try message.fixed64()))
            default: try message.skip(tag)
            }
        }
        point.exemplars.append(exemplar)
    }
}
