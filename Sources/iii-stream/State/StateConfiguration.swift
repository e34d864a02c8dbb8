import IIIItems
import IIIProtocol
import IIISettings
import IIIWorker

/// Settings of an `iii-state` entry; `StateSettings` says what each means.
package struct StateConfiguration: Sendable {
    package var adapter: AdapterChoice
    /// As it was written, to tell whether it has changed.
    package var adapterJSON: JSONValue
    package var firesTriggers: Bool
    package var valueLimit: ValueLimit
    package var warnings: [String]

    /// Everything that can be set, with the adapters that are registered now.
    static func group(_ adapter: Setting<AdapterChoice>) -> SettingGroup {
        SettingGroup(change: .restart) {
            adapter
            StateSettings.own
        }
    }

    static func adapter(_ stores: AdapterRegistry<OpenItemStore>) -> Setting<AdapterChoice> {
        stores.setting("Where values are kept.")
    }

    package init(_ json: JSONValue, stores: AdapterRegistry<OpenItemStore>) throws(InvalidSettings) {
        let adapter = Self.adapter(stores)
        let values = try Self.group(adapter).read(json)
        self.adapter = values[adapter]
        adapterJSON = values.json["adapter"] ?? .null
        firesTriggers = values[StateSettings.firesTriggers]
        valueLimit = ValueLimit(
            maximumBytes: values[StateSettings.maximumValueBytes], code: .valueTooLarge,
            key: StateSettings.maximumValueBytes.declaration.key)
        warnings = values.warnings
    }
}
