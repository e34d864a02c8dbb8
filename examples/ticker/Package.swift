// swift-tools-version: 6.1
import PackageDescription

let package = Package(
    name: "ticker",
    dependencies: [.package(name: "iii", path: "../..")],
    targets: [.executableTarget(name: "ticker", dependencies: [.product(name: "IIIWorker", package: "iii")])],
    swiftLanguageModes: [.v6]
)
