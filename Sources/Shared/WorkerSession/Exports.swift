// A worker's source needs one import: values, errors, addresses, settings and instruments come with the library.
@_exported import IIIProtocol
@_exported import IIISettings
@_exported import IIITelemetry

@_exported import struct NIOCore.NIODeadline
@_exported import struct NIOCore.TimeAmount
