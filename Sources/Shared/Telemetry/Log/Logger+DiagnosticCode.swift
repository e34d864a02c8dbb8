import IIIProtocol
import Logging

extension Logger {
    /// A line about something that a person should look at, found in docs/reference/log.md#codes by its `code`.
    package func warning(
        _ code: DiagnosticCode, _ message: @autoclosure () -> Logger.Message, metadata: @autoclosure () -> Logger.Metadata = [:],
        file: String = #fileID, function: String = #function, line: UInt = #line
    ) {
        log(level: .warning, message(), metadata: Self.with(code, metadata()), file: file, function: function, line: line)
    }

    /// A line about something that has failed, found in docs/reference/log.md#codes by its `code`.
    package func error(
        _ code: DiagnosticCode, _ message: @autoclosure () -> Logger.Message, metadata: @autoclosure () -> Logger.Metadata = [:],
        file: String = #fileID, function: String = #function, line: UInt = #line
    ) {
        log(level: .error, message(), metadata: Self.with(code, metadata()), file: file, function: function, line: line)
    }

    private static func with(_ code: DiagnosticCode, _ metadata: Logger.Metadata) -> Logger.Metadata {
        var metadata = metadata
        metadata["code"] = .string(code.rawValue)
        return metadata
    }
}
