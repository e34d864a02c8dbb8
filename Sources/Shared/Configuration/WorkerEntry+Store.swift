import IIIProtocol

extension WorkerEntry {
    /// The directory of the entry's embedded store: `file_path` of its `config` or of its adapter's, else `./data/<entry>`
    /// (docs/operations.md#stores). nil for a store in memory.
    package var storeDirectory: String? {
        let own = config?.object ?? [:]
        let adapter = own["adapter"]?.object?["config"]?.object ?? [:]
        if (own["store_method"] ?? adapter["store_method"])?.string == "in_memory" { return nil }
        return (own["file_path"] ?? adapter["file_path"])?.string ?? "./data/\(id)"
    }
}
