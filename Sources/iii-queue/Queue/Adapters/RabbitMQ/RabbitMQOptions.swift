import IIIAMQP
import IIISettings
import IIIWorker

/// The settings of the adapter `rabbitmq`, as values.
struct RabbitMQOptions: Sendable {
    var connection: AMQPSettings
    var topology: RabbitMQTopology

    init(_ values: SettingValues) throws(ConfigurationError) {
        do throws(AMQPError) {
            connection = AMQPSettings(url: try AMQPURL(values[RabbitMQSettings.url]))
        } catch { throw ConfigurationError("adapter.config.amqp_url: \(error.message)") }
        if connection.url.heartbeat == nil { connection.heartbeat = values[RabbitMQSettings.heartbeat] }
        connection.authorityFile = values[RabbitMQSettings.authorityFile]
        connection.certificateFile = values[RabbitMQSettings.certificateFile]
        connection.keyFile = values[RabbitMQSettings.keyFile]
        topology = RabbitMQTopology(
            prefix: values[RabbitMQSettings.prefix], isQuorum: values[RabbitMQSettings.queueType] == .quorum)
    }
}
