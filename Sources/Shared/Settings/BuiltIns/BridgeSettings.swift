/// Keys of `iii-bridge`: a worker of this engine at another one.
package enum BridgeSettings {
    package static let group = SettingGroup(change: .restart, inert: "iii-bridge is not part of this build") {
        Setting("url", .text(.url("ws", "wss")), default: "ws://0.0.0.0:49134", environment: "III_URL", "The other engine.")
        Setting("service_id", .text, absent: "none", example: "shop", "Id that is registered there.")
        Setting("service_name", .text, absent: "`service_id`", example: "Shop", "Name that is registered there.")
        Setting<[SettingValues]>("expose", .list(.object(exposed)), default: [], "Functions of this engine that the other one may call.")
        Setting<[SettingValues]>(
            "forward", .list(.object(forwarded)), default: [], "Functions of the other engine that may be called here.")
    }

    private static let exposed = SettingGroup {
        Setting(required: "local_function", .text, example: "orders::create", "Function here.")
        Setting("remote_function", .text, absent: "`local_function`", example: "shop::create", "Its name there.")
    }

    private static let forwarded = SettingGroup {
        Setting(required: "local_function", .text, example: "billing::charge", "Its name here.")
        Setting(required: "remote_function", .text, example: "charge", "Function there.")
        Setting("timeout_ms", .milliseconds, default: 30_000, "Limit of one call.")
    }
}
