"""A real redis-server of one test: a free port, a directory of its own, gone with the test."""

import contextlib
import pathlib
import socket
import subprocess
import tempfile
import threading

from wire import free_port, wait_for


class RedisServer:
    def __init__(self, directory: pathlib.Path, *settings: str):
        self.directory = directory
        self.settings = settings
        self.port = free_port()
        self.process = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, greeting: bytes = b"+PONG\r\n"):
        """(Again), with the data it had; returns once it answers a PING so."""
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", "", *self.settings]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.command("PING").startswith(greeting), "redis-server answers", timeout=30)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def command(self, *words: str) -> bytes:
        """The first bytes of the reply to a command; nothing while it does not answer."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"*{len(words)}\r\n".encode() + b"".join(f"${len(word.encode())}\r\n{word}\r\n".encode() for word in words))
            return connection.recv(4096)
        return b""


@contextlib.contextmanager
def running(*settings: str):
    with tempfile.TemporaryDirectory(prefix="iii-redis-") as directory:
        server = RedisServer(pathlib.Path(directory), *settings)
        server.start()
        try:
            yield server
        finally:
            server.kill()


class Switch:
    """One address that leads to a server, and later to another one, as a proxy or a virtual address does after a failover. Connections stay where they are."""

    def __init__(self, server: RedisServer):
        self.target = server.port
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, server: RedisServer):
        self.target = server.port

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
