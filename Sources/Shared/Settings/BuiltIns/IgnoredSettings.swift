// Workers of the reference whose entries load and do nothing here.

/// Keys of `iii-telemetry`.
package enum TelemetrySettings {
    package static let reason = "this engine sends no product analytics"

    package static let group = SettingGroup(inert: reason) {
        Setting("enabled", .boolean, default: true, "Send product analytics.")
        Setting("sdk_api_key", .text, absent: "none", example: "key", secret: true, "Key of the analytics service.")
        Setting("heartbeat_interval_secs", .seconds, default: 21_600, "Time between two reports.")
        Setting("posthog_api_key", .text, absent: "none", example: "key", secret: true, "Key of the analytics service.")
        Setting("posthog_host", .text, absent: "none", example: "eu.example.com", "Host of the analytics service.")
    }
}

/// Keys of `configuration`.
package enum ConfigurationWorkerSettings {
    package static let reason = "entries are configured in the file; functions `configuration::*` are not served"

    package static let group = SettingGroup(inert: reason) {
        Setting(
            "adapter", .adapter([AdapterDeclaration("fs", "Files.", fileSystem), .bridge]), default: ["name": "fs"],
            "Where entries are kept.")
        Setting("ttl_seconds", .seconds, default: 0, "How long an entry lives; 0 = for ever.")
    }

    private static let fileSystem = SettingGroup(open: true) {
        Setting("directory", .text, default: "./config", "Where the files are.")
    }
}

/// `iii-engine-functions` has no keys: what is written there is passed over with a warning.
package enum EngineFunctionsSettings {
    package static let group = SettingGroup(open: true) {}
}
