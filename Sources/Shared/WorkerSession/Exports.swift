// A worker's source needs one import: values, errors and addresses come with the library.
@_exported import IIIProtocol
