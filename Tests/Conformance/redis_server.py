"""A real redis-server of one test: a free port, a directory of its own, gone with the test."""

import contextlib
import pathlib
import socket
import subprocess
import tempfile

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

    def start(self):
        """(Again), with the data it had; returns once it answers."""
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory), "--save", "", *self.settings]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.command("PING") == b"+PONG\r\n", "redis-server answers", timeout=30)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def command(self, *words: str) -> bytes:
        """The first bytes of the reply to a command; nothing while it does not answer."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words))
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
