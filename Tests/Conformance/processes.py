"""What tests of processes need: services that answer by themselves, processes of one fleet, saved configurations."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

import requests
import yaml
from websockets.exceptions import ConnectionClosed

from wire import BIN, Fleet, Wire, alive, free_port, wait_for


def run_core(*args, cwd, env=None, timeout: float = 30, **options) -> subprocess.CompletedProcess:
    """`iii-core …` to its end, without a fleet."""
    full = {**os.environ, "XDG_RUNTIME_DIR": str(cwd), "NO_COLOR": "1", "SWIFT_BACKTRACE": "enable=no", **(env or {})}
    options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
    if "input" in options:
        options.pop("stdin")
    return subprocess.run([options.pop("binary", BIN / "iii-core"), *map(str, args)], cwd=cwd, env=full, capture_output=True, text=True, timeout=timeout, **options)


def secretive(directory, name: str = "mine") -> dict:
    """An entry whose program takes its secret from the descriptor, as any program of a user's own does, and writes it down."""
    program = directory / f"{name}.py"
    program.write_text(
        "import os, pathlib, time\n"
        "descriptor = int(os.environ['III_BUILTIN_TOKEN_FD'])\n"
        "secret = b''.join(iter(lambda: os.read(descriptor, 64), b''))\n"
        f"pathlib.Path({str(directory / (name + '.new'))!r}).write_bytes(secret)\n"
        f"os.replace({str(directory / (name + '.new'))!r}, {str(directory / (name + '.secret'))!r})\n"
        "time.sleep(1000)\n"
    )
    return {"name": name, "exec": [sys.executable, str(program)]}


class Service:
    """A worker with a thread of its own that answers calls: `functions` maps ids to `handler(data)`."""

    def __init__(self, port: int, functions: dict, routes: dict | None = None, **options):
        self.wire = Wire(port, **options).hello()
        self.functions = functions
        self.calls: list[dict] = []
        self.others: list[dict] = []
        for function_id in functions:
            self.wire.register(function_id)
        for path, function_id in (routes or {}).items():
            self.wire.register_trigger("http", function_id, config={"api_path": path, "http_method": "GET"})
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(ConnectionClosed, OSError):
            for frame in self.wire.ws:
                message = json.loads(frame)
                if message["type"] != "invokefunction":
                    self.others.append(message)
                    continue
                self.calls.append(message)
                threading.Thread(target=self._answer, args=(message,), daemon=True).start()

    def _answer(self, call: dict):
        result = self.functions[call["function_id"]](call["data"])
        if call.get("invocation_id"):
            with contextlib.suppress(ConnectionClosed):
                self.wire.answer(call, result)

    def close(self):
        with contextlib.suppress(Exception):
            self.wire.close()


@contextlib.contextmanager
def serving(port: int, functions: dict, routes: dict | None = None, **options):
    service = Service(port, functions, routes, **options)
    try:
        yield service
    finally:
        service.close()


def ok(_data=None) -> dict:
    """What an HTTP function answers."""
    return {"status_code": 200, "body": {"ok": True}}


def http_status(url: str, timeout: float = 10) -> int:
    """The status of a GET on a fresh connection; 0 when there is none."""
    try:
        return requests.get(url, timeout=timeout, headers={"connection": "close"}).status_code
    except requests.exceptions.RequestException:
        return 0


def wait_for_http(url: str, status: int = 200, timeout: float = 15):
    return wait_for(lambda: http_status(url) == status, f"{url} answers {status}", timeout=timeout)


def environment_of(pid: int) -> dict:
    try:
        data = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(pair.decode(errors="replace").split("=", 1) for pair in data.split(b"\0") if b"=" in pair)


def members(fleet: Fleet) -> dict[int, str]:
    """Every living process that descends from this fleet, by the private directory in its environment."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and environment_of(int(entry)).get("XDG_RUNTIME_DIR") == str(fleet.directory) and alive(int(entry)):
            with contextlib.suppress(OSError):
                found[int(entry)] = pathlib.Path(f"/proc/{entry}/comm").read_text().strip()
    return found


def nothing_is_left_of(fleet: Fleet, timeout: float = 10):
    wait_for(lambda: not members(fleet), f"no process of the fleet lives (now: {members(fleet)})", timeout=timeout)


def entries_of(fleet: Fleet) -> list[dict]:
    return yaml.safe_load(fleet.config.read_text())["workers"]


def save(fleet: Fleet, entries: list[dict] | str):
    """Writes the configuration in place."""
    fleet.config.write_text(entries if isinstance(entries, str) else yaml.safe_dump({"workers": entries}))


def save_by_rename(fleet: Fleet, entries: list[dict] | str):
    temporary = fleet.directory / "config.yaml.tmp"
    temporary.write_text(entries if isinstance(entries, str) else yaml.safe_dump({"workers": entries}))
    os.replace(temporary, fleet.config)


def reloads(fleet: Fleet) -> int:
    """How many reloads have ended, well or not."""
    text = fleet.output()
    return text.count("reload: success") + text.count("reload: refused")


def status_of(fleet: Fleet) -> dict:
    return json.loads(fleet.cli("status", "--json", check=False).stdout)


def script(path: pathlib.Path, body: str) -> pathlib.Path:
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)
    return path


def build_of(directory: pathlib.Path, *copies: str, stubs=()) -> pathlib.Path:
    """A build directory with these of our executables, and programs that do nothing under the names of `stubs`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in copies:
        shutil.copy2(BIN / name, directory / name)
    for name in stubs:
        script(directory / name, "exit 0\n")
    return directory


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


def settle(seconds: float):
    """For 'nothing happens': the time in which it would have happened."""
    time.sleep(seconds)


def slow_route(fleet: Fleet) -> Wire:
    """A worker whose function behind `GET /slow` the test answers itself."""
    worker = fleet.connect()
    worker.register("slow::one")
    worker.register_trigger("http", "slow::one", config={"api_path": "/slow", "http_method": "GET"})
    wait_for(lambda: "GET /slow" in fleet.output(), "the route is there")
    return worker


@contextlib.contextmanager
def prepared(directory: pathlib.Path, **options):
    """A fleet that the test starts itself; whatever happens, nothing of it is left."""
    it = Fleet(directory, **options)
    try:
        yield it
    finally:
        it.kill()
        for pid in members(it):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)


@contextlib.contextmanager
def answering(directory: pathlib.Path, **options):
    """A fleet that runs but need not become ready: some entry of it never does."""
    with prepared(directory, **options) as it:
        it.spawn()
        wait_for(lambda: it.cli("ps", check=False).returncode == 0, "the core answers")
        try:
            yield it
        finally:
            it.stop()


@contextlib.contextmanager
def running(directory: pathlib.Path, **options):
    with prepared(directory, **options) as it:
        it.up()
        try:
            yield it
        finally:
            it.stop()


# Every entry that an executable of ours serves → that executable; what this build has not yet is left out.
BUILT_INS = {
    "iii-http-functions": "iii-http",
    "iii-observability": "iii-observability",
    "iii-queue": "iii-queue",
    "iii-cron": "iii-cron",
    "iii-stream": "iii-stream",
    "iii-state": "iii-stream",
    "iii-pubsub": "iii-queue",
}


@contextlib.contextmanager
def everything(directory: pathlib.Path, example: bool = True, **options):
    """A fleet with all built-ins of this build, and the example worker.

    An executable that does not know one of its roles yet leaves that entry `failed`: whoever asks for what it would serve finds out.
    """
    config = {"iii-stream": {"host": "127.0.0.1", "port": free_port()}}
    workers = [{"name": name, "config": config.get(name, {})} for name, executable in BUILT_INS.items() if (BIN / executable).is_file()]
    if example:
        workers.append({"name": "iii-exec", "config": {"exec": [str(BIN / "hello-worker")]}})
    with answering(directory, http={}, workers=workers, **options) as it:
        wait_for(lambda: {row["state"] for row in it.rows().values()} <= {"ready", "failed"}, "every entry is ready, or has given up")
        yield it
