"""Remote HTTP endpoints for tests of outgoing calls: a well-behaved server, and one that sends what it is told."""

import contextlib
import http.server
import json
import socket
import threading


class Request:
    """One request as the remote saw it."""

    def __init__(self, method: str, path: str, headers, body: bytes):
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class Remote:
    """An HTTP/1.1 server; `answers` maps paths to `(status, body)`, `(status, body, headers)` or a function of the request giving that."""

    def __init__(self, tls=None):
        self.answers = {}
        self.requests: list[Request] = []
        self.connections = 0
        remote = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                remote.connections += 1
                super().setup()

            def serve(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                request = Request(self.command, self.path, self.headers, body)
                remote.requests.append(request)
                answer = remote.answers.get(self.path, (200, {"ok": True}))
                status, content, *more = answer(request) if callable(answer) else answer
                content = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
                self.send_response(status)
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request, client_address):
                pass  # a client that went away is no news

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def seen(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class RawRemote:
    """Accepts connections, reads each request's head and what came with it, and hands the socket to `serve(socket, bytes)`."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.served = 0
        self.stopped = threading.Event()
        self.serve = serve
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection):
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                data += chunk
            self.served += 1
            self.serve(connection, data)

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self):
        self.stopped.set()
        self.listener.close()


@contextlib.contextmanager
def raw(serve):
    """A `RawRemote`; `serve` is bytes to send before closing, or a function of socket and request."""
    remote = RawRemote(serve if callable(serve) else lambda connection, data: connection.sendall(serve))
    try:
        yield remote
    finally:
        remote.close()
