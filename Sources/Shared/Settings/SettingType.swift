import IIIProtocol

/// The type of a setting: its shape in the file, its unit, and how a value that fits becomes a Swift value.
public struct SettingType<Value: Sendable>: Sendable {
    /// What a value in the file may be.
    public let shape: SettingShape
    /// E.g. `ms`, `bytes`; nil for what has none.
    public let unit: String?
    /// From a value that has been checked against `shape` and normalised.
    let read: @Sendable (JSONValue, SettingContext) -> Value?

    init(_ shape: SettingShape, unit: String? = nil, read: @escaping @Sendable (JSONValue, SettingContext) -> Value?) {
        self.shape = shape
        self.unit = unit
        self.read = read
    }

    /// The same setting as another Swift type.
    public func map<New: Sendable>(_ transform: @escaping @Sendable (Value) -> New) -> SettingType<New> {
        SettingType<New>(shape, unit: unit) { [read] json, context in read(json, context).map(transform) }
    }

    /// Like `map`, for a transformation that succeeds with every value that fits the shape.
    public func compactMap<New: Sendable>(_ transform: @escaping @Sendable (Value) -> New?) -> SettingType<New> {
        SettingType<New>(shape, unit: unit) { [read] json, context in read(json, context).flatMap(transform) }
    }

    /// One of several forms, e.g. a text or a list of texts. The first one whose outermost kind fits decides.
    public static func oneOf(_ alternatives: SettingType<Value>...) -> SettingType<Value> {
        SettingType(.oneOf(alternatives.map(\.shape))) { json, context in
            for alternative in alternatives where alternative.shape.fitsKind(of: LocatedValue(json)) {
                return alternative.read(json, context)
            }
            return nil
        }
    }

    /// A map with the keys of `group`, as the value that `make` builds of it.
    public static func object(_ group: SettingGroup, _ make: @escaping @Sendable (SettingValues) -> Value) -> SettingType<Value> {
        SettingType(.object(group)) { json, context in make(SettingValues(group: group, json: json, context: context)) }
    }

    /// A list of values of one type.
    public static func list<Element: Sendable>(_ element: SettingType<Element>) -> SettingType<Value> where Value == [Element] {
        SettingType(.list(element.shape), unit: element.unit) { json, context in
            json.array.map { $0.compactMap { element.read($0, context) } }
        }
    }

    /// Free keys, values of one type.
    public static func map<Element: Sendable>(of element: SettingType<Element>) -> SettingType<Value> where Value == [String: Element] {
        SettingType(.map(element.shape), unit: element.unit) { json, context in
            json.object.map { $0.compactMapValues { element.read($0, context) } }
        }
    }

    /// null is a value of its own, nil in Swift; without this it counts as absent.
    public static func nullable<Wrapped: Sendable>(_ type: SettingType<Wrapped>) -> SettingType<Value> where Value == Wrapped? {
        SettingType(.nullable(type.shape), unit: type.unit) { json, context in .some(json.isNull ? nil : type.read(json, context)) }
    }
}

extension SettingType where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
    /// One of the words of an enumeration.
    public static var choice: Self {
        Self(.choice(Value.allCases.map(\.rawValue))) { json, _ in json.string.flatMap(Value.init(rawValue:)) }
    }
}

extension SettingType where Value == Bool {
    /// `true` or `false`.
    public static var boolean: Self { Self(.boolean) { json, _ in json.bool } }
}

extension SettingType where Value == Int {
    /// A whole number within `range`.
    public static func integer(_ range: ClosedRange<Int64>, unit: String? = nil) -> Self {
        Self(.integer(range), unit: unit) { json, _ in json.integer.flatMap { Int(exactly: $0) } }
    }

    /// A number of things, 0 to 2³¹ - 1 unless narrower.
    public static func count(_ range: ClosedRange<Int64> = 0...Int64(Int32.max)) -> Self { integer(range) }
    /// A number of things, 0 to 2³¹ - 1.
    public static var count: Self { count() }
    /// Up to a pebibyte unless narrower.
    public static func bytes(_ range: ClosedRange<Int64> = 0...(1 << 50)) -> Self { integer(range, unit: "bytes") }
    /// Up to a pebibyte.
    public static var bytes: Self { bytes() }
    /// 0 takes any free port.
    public static var port: Self { integer(0...65535) }
}

extension SettingType where Value == Double {
    /// A number within `range`, with or without a fraction.
    public static func number(_ range: ClosedRange<Double>) -> Self { Self(.number(range)) { json, _ in json.number } }
    /// 0 to 1.
    public static var ratio: Self { number(0...1) }
}

extension SettingType where Value == Duration {
    /// Up to 24 days unless narrower, so that no sum of times overflows.
    public static func milliseconds(_ range: ClosedRange<Int64> = 0...Int64(Int32.max)) -> Self {
        Self(.integer(range), unit: "ms") { json, _ in json.integer.map { .milliseconds($0) } }
    }
    /// 0 to 24 days.
    public static var milliseconds: Self { milliseconds() }

    /// 0 to 2³¹ - 1 unless narrower.
    public static func seconds(_ range: ClosedRange<Int64> = 0...Int64(Int32.max)) -> Self {
        Self(.integer(range), unit: "s") { json, _ in json.integer.map { .seconds($0) } }
    }
    /// 0 to 2³¹ - 1.
    public static var seconds: Self { seconds() }
}

extension SettingType where Value == String {
    /// Any scalar, as it is written, that the rule accepts.
    public static func text(_ rule: TextRule) -> Self { Self(.text(rule)) { json, _ in json.string } }
    /// Any text but the empty one.
    public static var text: Self { text(.nonEmpty) }
    /// One of these words.
    public static func choice(_ words: String...) -> Self { Self(.choice(words)) { json, _ in json.string } }
}

extension SettingType where Value == JSONValue {
    /// Free form: passed on as it is.
    public static var anything: Self { Self(.anything) { json, _ in json } }
}

extension SettingType where Value == SettingValues {
    /// A map with the keys of `group`.
    public static func object(_ group: SettingGroup) -> Self { object(group) { $0 } }
}

extension SettingType where Value == AdapterChoice {
    /// `{name, config}`: one of `adapters`, each with keys of its own.
    public static func adapter(_ adapters: [AdapterDeclaration]) -> Self {
        Self(.adapter(adapters)) { json, context in
            guard let adapter = adapters.first(where: { $0.name == json["name"]?.string }) else { return nil }
            let config = SettingValues(group: adapter.settings, json: json["config"] ?? .null, context: context)
            return AdapterChoice(name: adapter.name, config: config)
        }
    }
}
