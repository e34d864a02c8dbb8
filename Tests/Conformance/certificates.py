"""A certificate authority for one test run, made by `openssl`; and TLS clients that trust it."""

import http.client
import pathlib
import socket
import ssl
import subprocess


def openssl(*args, cwd, **options) -> subprocess.CompletedProcess:
    options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
    if "input" in options:
        options.pop("stdin")
    return subprocess.run(["openssl", *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=60, **options)


class Authority:
    """Signs certificates into files of `directory`."""

    def __init__(self, directory: pathlib.Path, name: str = "ca"):
        self.directory, self.name = directory, name
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", 30, "-subj", f"/CN=iii test {name}")

    @property
    def file(self) -> pathlib.Path:
        return self.directory / f"{self.name}.pem"

    def _run(self, *args, **options):
        done = openssl(*args, cwd=self.directory, **options)
        assert done.returncode == 0, done.stderr

    def issue(self, name: str, key: str = "ec", usage: str = "serverAuth", common_name: str = "localhost", expired: bool = False) -> tuple[pathlib.Path, pathlib.Path]:
        """`name.pem` and `name.key` for 127.0.0.1 and localhost."""
        kind = ["-newkey", "rsa:2048"] if key == "rsa" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self._run("req", "-new", *kind, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={common_name}")
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        days = -1 if expired else 20
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", self.file, "-CAkey", f"{self.name}.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", days, "-extfile", extensions)
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    def trust(self, certificate: tuple | None = None, **limits) -> ssl.SSLContext:
        """A client's context that trusts this authority alone and, with `certificate`, shows that."""
        context = ssl.create_default_context(cafile=str(self.file))
        if certificate:
            context.load_cert_chain(*map(str, certificate))
        for key, value in limits.items():
            setattr(context, key, value)
        return context


def connect(port: int, context: ssl.SSLContext, timeout: float = 15, **options) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    try:
        # An end without close_notify is an error here, never a silent end.
        return context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False, **options)
    except BaseException:
        raw.close()
        raise


def kept(port: int, context: ssl.SSLContext, timeout: float = 15) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", port, context=context, timeout=timeout)


def read_to_end(connection, limit: int = 1 << 30) -> bytes:
    data = bytearray()
    while len(data) < limit and (piece := connection.recv(65536)):
        data += piece
    return bytes(data)


def serial_of(connection: ssl.SSLSocket) -> str:
    return connection.getpeercert()["serialNumber"]
