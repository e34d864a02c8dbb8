import IIIProtocol

extension EngineConfiguration {
    /// What `--use-default-config` runs: the default workers of `WorkerCatalogue`, every listener on 127.0.0.1.
    ///
    /// Default workers whose executable is not in `availableExecutables` are left out and named in `unavailable`.
    package static func `default`(
        availableExecutables: Set<String>
    ) -> EngineConfiguration {
        var configuration = EngineConfiguration(entries: [])
        for type in WorkerCatalogue.types where type.isDefault {
            if case .executable(let executable, _) = type.service, !availableExecutables.contains(executable) {
                configuration.unavailable.append(type.name)
                continue
            }
            var entry = WorkerEntry(id: type.name, name: type.name, typeName: type.name)
            if type.listener != nil || type.name == "iii-worker-manager" { entry.config = ["host": "127.0.0.1"] }
            configuration.entries.append(entry)
        }
        return configuration
    }
}
