/// Strict UTF-8 (RFC 3629) over raw bytes, as RFC 6455 demands of text frames.
package enum UTF8Validation {
    /// Length in bytes (1...4) of the well-formed scalar at `index`, or 0 when it is malformed or cut off.
    @inline(__always)
    package static func scalarLength(_ base: UnsafePointer<UInt8>, at index: Int, end: Int) -> Int {
        let lead = base[index]
        if lead < 0x80 { return 1 }
        if lead < 0xC2 { return 0 }
        @inline(__always) func continuation(_ offset: Int) -> Bool { base[index &+ offset] & 0xC0 == 0x80 }
        if lead < 0xE0 {
            return index &+ 1 < end && continuation(1) ? 2 : 0
        }
        if lead < 0xF0 {
            guard index &+ 2 < end, continuation(1), continuation(2) else { return 0 }
            let second = base[index &+ 1]
            if lead == 0xE0 && second < 0xA0 { return 0 }
            if lead == 0xED && second > 0x9F { return 0 }
            return 3
        }
        guard lead < 0xF5, index &+ 3 < end, continuation(1), continuation(2), continuation(3) else { return 0 }
        let second = base[index &+ 1]
        if lead == 0xF0 && second < 0x90 { return 0 }
        if lead == 0xF4 && second > 0x8F { return 0 }
        return 4
    }

    /// Whether all of `bytes` is well-formed UTF-8.
    package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let address = bytes.baseAddress else { return true }
        let base = address.assumingMemoryBound(to: UInt8.self)
        let end = bytes.count
        var index = 0
        while index < end {
            if index &+ 8 <= end, address.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0 {
                index &+= 8
                continue
            }
            let length = scalarLength(base, at: index, end: end)
            guard length > 0 else { return false }
            index &+= length
        }
        return true
    }
}
