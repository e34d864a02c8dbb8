import CRabbitMQ

/// The value of a header or argument. What others put there and is none of these is passed over.
package enum AMQPValue: Sendable, Equatable {
    case text(String)
    case integer(Int)
    case boolean(Bool)

    package var text: String? { if case .text(let text) = self { text } else { nil } }
    package var integer: Int? { if case .integer(let number) = self { number } else { nil } }
}

/// A message as it is written to and read from the broker.
package struct AMQPMessage: Sendable, Equatable {
    package var body: [UInt8]
    package var messageID: String?
    /// 0 to 255; acts in queues that were declared with `x-max-priority`.
    package var priority: Int?
    package var headers: [String: AMQPValue] = [:]

    package init(_ body: [UInt8], messageID: String? = nil, headers: [String: AMQPValue] = [:]) {
        self.body = body
        self.messageID = messageID
        self.headers = headers
    }

    /// Headers travel in one frame; larger ones are refused before they are sent.
    package static let maximumHeaderBytes = 96 << 10
    package var headerBytes: Int {
        headers.reduce(messageID?.utf8.count ?? 0) { $0 + $1.key.utf8.count + 16 + ($1.value.text?.utf8.count ?? 0) }
    }
    /// What it occupies, roughly.
    package var cost: Int { body.count + headerBytes + 256 }

    init(_ properties: amqp_basic_properties_t, body: amqp_bytes_t) {
        self.body = body.array
        if properties._flags & iii_amqp_has_message_id != 0 { messageID = properties.message_id.text }
        if properties._flags & iii_amqp_has_priority != 0 { priority = Int(properties.priority) }
        guard properties._flags & iii_amqp_has_headers != 0 else { return }
        for index in 0..<Int(properties.headers.num_entries) {
            var (text, number) = (amqp_bytes_t(), Int64(0))
            guard let entry = properties.headers.entries?.advanced(by: index) else { break }
            switch iii_amqp_read(entry, &text, &number) {
            case 1: headers[entry.pointee.key.text] = .text(text.text)
            case 2: headers[entry.pointee.key.text] = .integer(Int(number))
            case 3: headers[entry.pointee.key.text] = .boolean(number != 0)
            default: break
            }
        }
    }

    /// Calls `body` with the message as the library wants it.
    func withProperties<Result>(_ body: (UnsafePointer<amqp_basic_properties_t>) -> Result) -> Result {
        AMQPTable(headers, extra: [messageID ?? "", "application/json"]).withTable { table, extra in
            var properties = amqp_basic_properties_t()
            properties._flags = iii_amqp_has_content_type | iii_amqp_has_delivery_mode
            properties.content_type = extra[1]
            properties.delivery_mode = 2
            if messageID != nil {
                properties._flags |= iii_amqp_has_message_id
                properties.message_id = extra[0]
            }
            if let priority {
                properties._flags |= iii_amqp_has_priority
                properties.priority = UInt8(clamping: priority)
            }
            if table.num_entries > 0 {
                properties._flags |= iii_amqp_has_headers
                properties.headers = table
            }
            return body(&properties)
        }
    }
}

/// Names and values in one piece of memory, for the time of a call.
struct AMQPTable {
    private var storage: [UInt8] = []
    private var entries: [(key: Range<Int>, value: AMQPValue, text: Range<Int>)] = []
    private var extras: [Range<Int>] = []

    init(_ values: [String: AMQPValue], extra: [String] = []) {
        for (key, value) in values {
            let key = add(key)
            entries.append((key, value, add(value.text ?? "")))
        }
        extras = extra.map { add($0) }
    }

    private mutating func add(_ text: String) -> Range<Int> {
        let start = storage.count
        storage.append(contentsOf: text.utf8)
        return start..<storage.count
    }

    func withTable<Result>(_ body: (amqp_table_t, [amqp_bytes_t]) -> Result) -> Result {
        storage.withUnsafeBytes { memory in
            func bytes(_ range: Range<Int>) -> amqp_bytes_t {
                amqp_bytes_t(len: range.count, bytes: memory.baseAddress.map { UnsafeMutableRawPointer(mutating: $0 + range.lowerBound) })
            }
            var list = entries.map { entry in
                switch entry.value {
                case .text: iii_amqp_text(bytes(entry.key), bytes(entry.text))
                case .integer(let number): iii_amqp_integer(bytes(entry.key), Int64(number))
                case .boolean(let value): iii_amqp_boolean(bytes(entry.key), value ? 1 : 0)
                }
            }
            let extras = extras.map(bytes)
            let count = Int32(list.count)
            return list.withUnsafeMutableBufferPointer { body(amqp_table_t(num_entries: count, entries: $0.baseAddress), extras) }
        }
    }
}

extension amqp_bytes_t {
    var array: [UInt8] { bytes.map { Array(UnsafeRawBufferPointer(start: $0, count: len)) } ?? [] }
    var text: String { bytes.map { String(decoding: UnsafeRawBufferPointer(start: $0, count: len), as: UTF8.self) } ?? "" }
}

/// Calls `body` with each text as the library wants it.
func withAMQPBytes<Result>(_ texts: [String], _ body: ([amqp_bytes_t]) -> Result) -> Result {
    AMQPTable([:], extra: texts).withTable { _, extras in body(extras) }
}
