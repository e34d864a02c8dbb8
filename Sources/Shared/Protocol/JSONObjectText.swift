/// Builds the text of a JSON object member by member, so that parts kept as raw JSON are spliced in verbatim.
package struct JSONObjectText {
    private var bytes: [UInt8] = [UInt8(ascii: "{")]

    package init() {}

    package mutating func set(_ key: String, _ value: JSONValue) {
        begin(key)
        value.write(to: &bytes)
    }

    /// `raw` is one JSON value's text; nil writes `null`.
    package mutating func set(_ key: String, raw: [UInt8]?) {
        begin(key)
        bytes.append(contentsOf: raw ?? Array("null".utf8))
    }

    /// An array of already written objects.
    package mutating func set(_ key: String, rows: [[UInt8]]) {
        begin(key)
        bytes.append(UInt8(ascii: "["))
        for (index, row) in rows.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            bytes.append(contentsOf: row)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    private mutating func begin(_ key: String) {
        if bytes.count > 1 { bytes.append(UInt8(ascii: ",")) }
        JSONText.appendString(key, to: &bytes)
        bytes.append(UInt8(ascii: ":"))
    }

    package consuming func finish() -> [UInt8] {
        bytes.append(UInt8(ascii: "}"))
        return bytes
    }
}
