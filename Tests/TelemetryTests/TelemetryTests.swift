import Testing

@testable import IIITelemetry

@Suite struct TelemetryTests {
}
