import CSupervision
import Glibc

/// All sockets that children accept on, by child. They outlive every restart of a child, so none refuses a connection.
package struct ListeningSockets: Sendable {
    package private(set) var sockets: [String: ListeningSocket] = [:]
    private var activation: SocketActivation

    package init(activation: SocketActivation) { self.activation = activation }

    package subscript(child: String) -> ListeningSocket? { sockets[child] }

    /// Sockets that are bound but not yet in use.
    package struct Prepared: Sendable {
        fileprivate var fresh: [String: ListeningSocket] = [:]
    }

    /// Binds what `children` need and do not have: a socket of systemd with the listener's name, else the configured address.
    ///
    /// All or nothing: when one address fails, those bound by this call are closed again and every error is reported.
    package mutating func prepare(_ children: [ChildSpecification]) throws(SupervisorError) -> Prepared {
        var prepared = Prepared()
        var problems: [String] = []
        for child in children {
            guard let listener = child.listener else { continue }
            if let current = sockets[child.name], current.host == listener.host, current.port == listener.port { continue }
            if let descriptor = activation.take(listener.name) {
                var socket = ListeningSocket(descriptor: descriptor, host: listener.host, port: listener.port)
                socket.isInherited = true
                _ = csup_set_nonblocking(descriptor)
                prepared.fresh[child.name] = socket
                continue
            }
            do throws(ListenError) { prepared.fresh[child.name] = try .bind(host: listener.host, port: listener.port) } catch {
                problems.append("\(child.name): \(error)")
            }
        }
        guard problems.isEmpty else {
            discard(prepared)
            throw SupervisorError(message: problems.joined(separator: "\n"))
        }
        return prepared
    }

    /// Whether `child` is to keep its port under another host, which nobody can bind before the old socket is closed everywhere.
    package func isOnlyHostChanged(_ child: ChildSpecification) -> Bool {
        guard let current = sockets[child.name], let listener = child.listener else { return false }
        return current.port == listener.port && current.port != 0 && current.host != listener.host
    }

    package mutating func commit(_ prepared: Prepared) {
        for (name, socket) in prepared.fresh {
            if let old = sockets[name] { close(old.descriptor) }
            sockets[name] = socket
        }
    }

    package func discard(_ prepared: Prepared) {
        for socket in prepared.fresh.values { close(socket.descriptor) }
    }

    /// Closes the socket of a child, unless it came from systemd and could not be had again.
    package mutating func release(_ name: String) {
        guard let socket = sockets[name], !socket.isInherited else { return }
        close(socket.descriptor)
        sockets[name] = nil
    }

    /// Closes the sockets of children that are gone.
    package mutating func retain(only names: Set<String>) {
        for (name, socket) in sockets where !names.contains(name) {
            close(socket.descriptor)
            sockets[name] = nil
        }
    }

    package mutating func closeAll() { retain(only: []) }
}

/// Why the supervisor cannot do what it was asked to.
package struct SupervisorError: Error, Sendable, Equatable, CustomStringConvertible {
    package var message: String
    package var description: String { message }
}
