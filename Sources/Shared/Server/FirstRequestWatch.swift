import NIOCore

/// Behind an HTTP decoder: the first part of a request ends the handshake of its connection. Then it leaves the pipeline, so that
/// requests are spared the hop.
package final class FirstRequestWatch: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = Any
    package typealias InboundOut = Any

    private let connection: AcceptedConnection

    package init(_ connection: AcceptedConnection) { self.connection = connection }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        connection.established()
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}
