"""A raw protocol client and a fleet of real processes, for tests that look at the wire itself."""

import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid

import yaml
from websockets.sync.client import connect

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("III_BIN_DIR", ROOT / ".build" / "release"))
DEADLINE = 15.0


def _ports():
    """Every port once, each pytest worker in its own thousands, all below the range of ephemeral ports."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = list(range(16000 + worker % 4 * 4000, 20000 + worker % 4 * 4000))
    random.shuffle(ports)
    return itertools.cycle(ports)


_untaken = _ports()


def free_port() -> int:
    """A port that nobody listens on, that no outgoing connection gets, and that no other test is about to take."""
    for port in _untaken:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def wait_for(condition, what: str, timeout: float = DEADLINE, interval: float = 0.02):
    """Polls until `condition()` is truthy and returns that; fails with `what` after the deadline."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(interval)


class Wire:
    """One worker connection, frame by frame."""

    def __init__(self, port: int, path: str = "/", **options):
        options.setdefault("compression", None)
        options.setdefault("max_size", None)
        self.ws = connect(f"ws://127.0.0.1:{port}{path}", **options)
        self.inbox: list[dict] = []
        self.worker_id = None

    def hello(self) -> "Wire":
        first = self.recv()
        assert first["type"] == "workerregistered", first
        self.worker_id = first["worker_id"]
        return self

    def close(self):
        self.ws.close()

    def send(self, message):
        self.ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message, ensure_ascii=False))

    def recv(self, timeout: float = DEADLINE) -> dict:
        frame = self.ws.recv(timeout=timeout)
        return json.loads(frame)

    def expect(self, type_: str, timeout: float = DEADLINE, **fields) -> dict:
        """The next message of this type and content; others are kept for later calls."""

        def matches(message):
            return message["type"] == type_ and all(message.get(k) == v for k, v in fields.items())

        for index, message in enumerate(self.inbox):
            if matches(message):
                return self.inbox.pop(index)
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                message = self.recv(timeout=max(left, 0.001))
            except TimeoutError:
                raise AssertionError(f"no {type_} {fields} within {timeout} s; waiting: {self.inbox}") from None
            if matches(message):
                return message
            self.inbox.append(message)

    def settle(self):
        """Waits until the engine has handled what we sent: what another connection sends from here on comes behind it."""
        self.send({"type": "ping"})
        self.expect("pong")

    def sync(self) -> list[dict]:
        """Everything the engine had sent before it handled what we sent until now."""
        self.settle()
        messages, self.inbox = self.inbox, []
        return messages

    def quiet(self):
        """Nothing was sent to us up to now."""
        assert self.sync() == []

    # Shorthands for the messages of docs/reference/worker-protocol.md#messages.

    def register(self, function_id: str, **fields):
        self.send({"type": "registerfunction", "id": function_id, **fields})

    def register_type(self, type_id: str, **fields):
        self.send({"type": "registertriggertype", "id": type_id, "description": type_id, **fields})

    def register_trigger(self, type_id: str, function_id: str, trigger_id: str | None = None, **fields) -> str:
        trigger_id = trigger_id or str(uuid.uuid4())
        self.send({"type": "registertrigger", "id": trigger_id, "trigger_type": type_id, "function_id": function_id, "config": {}, **fields})
        return trigger_id

    def invoke(self, function_id: str, data=None, invocation_id: str | None = None, **fields) -> str:
        invocation_id = invocation_id or str(uuid.uuid4())
        self.send({"type": "invokefunction", "invocation_id": invocation_id, "function_id": function_id, "data": data, **fields})
        return invocation_id

    def result_of(self, invocation_id: str, timeout: float = DEADLINE) -> dict:
        return self.expect("invocationresult", timeout=timeout, invocation_id=invocation_id)

    def call(self, function_id: str, data=None, **fields):
        answer = self.result_of(self.invoke(function_id, data, **fields))
        assert "error" not in answer, answer
        return answer.get("result")

    def error_of(self, function_id: str, data=None, **fields) -> dict:
        answer = self.result_of(self.invoke(function_id, data, **fields))
        assert "error" in answer, answer
        return answer["error"]

    def answer(self, call: dict, result=None, **fields):
        message = {"type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": call["function_id"]}
        if "error" not in fields:
            message["result"] = result
        self.send(message | fields)


BUILTIN_SECRET = "s" * 64


def builtin(it, name: str = "probe") -> Wire:
    """A privileged connection to a fleet whose `III_BUILTIN_TOKEN_FILE` holds `BUILTIN_SECRET`."""
    return Wire(it.port, additional_headers={"x-iii-builtin-token": BUILTIN_SECRET, "x-iii-builtin-name": name}).hello()


def metrics(it) -> dict:
    wire = builtin(it)
    try:
        return wire.call("core::metrics::snapshot", {})
    finally:
        wire.close()


class RawSocket:
    """A hand-made client for frames that no library would send."""

    def __init__(self, port: int, headers: dict | None = None, path: str = "/", greets: bool = True):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n".encode()
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.socket.recv(4096)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        assert b"101" in head and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        if greets:
            assert self.read_frame()[0] == 0x1

    def frame(self, opcode: int, payload: bytes, fin=True, mask=True, rsv=0, length: bytes | None = None):
        first = (0x80 if fin else 0) | rsv << 4 | opcode
        if length is None:
            n = len(payload)
            length = bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 65536 else b"\x7f" + struct.pack(">Q", n)
        key = os.urandom(4) if mask else b""
        body = bytes(b ^ key[i % 4] for i, b in enumerate(payload)) if mask else payload
        self.socket.sendall(bytes([first, length[0] | (0x80 if mask else 0)]) + length[1:] + key + body)

    def read(self, n: int) -> bytes:
        while len(self.buffer) < n:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise EOFError
            self.buffer += chunk
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_frame(self):
        first, second = self.read(2)
        n = second & 0x7F
        if n == 126:
            n = struct.unpack(">H", self.read(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self.read(8))[0]
        return first & 0x0F, self.read(n)

    def close_code(self) -> int:
        while True:
            opcode, payload = self.read_frame()
            if opcode == 0x8:
                return struct.unpack(">H", payload[:2])[0]

    def close(self):
        self.socket.close()


class Fleet:
    """`iii-core up` with its children on free ports and in a private directory."""

    def __init__(self, directory: pathlib.Path, workers: list | None = None, manager: dict | None = None, http: dict | None = None, text: str | None = None, args=(), env=None, bin: pathlib.Path = BIN):
        self.directory = directory
        self.bin = bin
        self.port = free_port()
        self.http_port = free_port()
        self.http_scheme = "https" if (http or {}).get("tls") else "http"
        self.log = directory / "core.log"
        self.config = directory / "config.yaml"
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(directory), "NO_COLOR": "1", "SWIFT_BACKTRACE": "enable=no", **(env or {})}
        self.args = list(args)
        self.unseen: set[str] = set()
        self.process = None
        if text is None:
            entries = [{"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": self.port, **(manager or {})}}]
            if http is not None:
                entries.append({"name": "iii-http", "config": {"host": "127.0.0.1", "port": self.http_port, **http}})
            entries += workers or []
            text = yaml.safe_dump({"workers": entries})
        self.config.write_text(text.replace("@PORT@", str(self.port)).replace("@HTTP_PORT@", str(self.http_port)))
        # It would run in every fleet; only the tests that name it need it.
        if "observability" not in text and not {"--only", "--except"} & set(self.args) and (bin / "iii-observability").is_file():
            self.args += ["--except", "iii-observability"]
            self.unseen = {"iii-observability"}

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        return f"{self.http_scheme}://127.0.0.1:{self.http_port}"

    def spawn(self) -> "Fleet":
        output = open(self.log, "ab")
        self.process = subprocess.Popen(
            [self.bin / "iii-core", "up", "-c", str(self.config), *self.args], cwd=self.directory, env=self.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        output.close()
        return self

    def up(self) -> "Fleet":
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self):
        done = self.cli("status", "--wait-ready", "--timeout", "15s", check=False)
        assert done.returncode == 0, f"not ready: {done.stdout}{done.stderr}\n{self.output()}"

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def cli(self, *args, check: bool = True, timeout: float = 30, **options) -> subprocess.CompletedProcess:
        flags = [] if args[0] in ("version", "--version", "trigger", "config") else ["-c", str(self.config)]
        return subprocess.run([self.bin / "iii-core", args[0], *args[1:], *flags], cwd=self.directory, env=self.env, capture_output=True, text=True, check=check, timeout=timeout, **options)

    def rows(self) -> dict:
        rows = json.loads(self.cli("ps", "--json").stdout)
        return {row["name"]: row for row in (rows["children"] if isinstance(rows, dict) else rows) if row["name"] not in self.unseen}

    def pid_of(self, name: str) -> int:
        return self.rows()[name]["pid"]

    def connect(self, **options) -> Wire:
        return Wire(self.port, **options).hello()

    def stop(self, timeout: float = 30) -> int:
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"SIGTERM did not end the core:\n{self.output()}") from None

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def fleet(**options):
    with tempfile.TemporaryDirectory(prefix="iii-") as directory:
        it = Fleet(pathlib.Path(directory), **options)
        try:
            yield it.up()
        finally:
            try:
                it.stop()
            finally:
                it.kill()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
