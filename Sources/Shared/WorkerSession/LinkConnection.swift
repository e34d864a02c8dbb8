import IIITransport

/// The socket under a link.
package final class LinkConnection: WebSocketConnection {
    private let link: WorkerLink
    var onClosed: (() -> Void)?

    init(link: WorkerLink, coalescer: WriteCoalescer) {
        self.link = link
        super.init(role: .client, limits: WebSocketLimits(), coalescer: coalescer)
    }

    package override func connectionOpened() { link.connectionOpened() }
    package override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        link.messageReceived(bytes, isText: isText)
    }
    package override func connectionClosed() {
        link.connectionClosed()
        onClosed?()
    }
}
