"""The worker port as a socket: who may connect, what a handshake may cost, TLS, and a table of descriptors that runs full."""

import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import ssl
import struct
import subprocess
import time

import certificates
import pytest
from processes import entries_of, environment_of, members, ok, reloads, running, save, serving, settle, wait_for_http
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as ws_connect
from wire import BIN, Fleet, RawSocket, Wire, fleet, free_port, wait_for

KEY = base64.b64encode(b"0123456789abcdef").decode()


def head(path: str = "/", version: str = "HTTP/1.1", host: str | None = "localhost", **changes) -> bytes:
    """An upgrade request; `changes` replace or (None) remove headers, underscores standing for dashes."""
    headers = {"Host": host, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY}
    headers.update({name.replace("_", "-"): value for name, value in changes.items()})
    lines = [f"GET {path} {version}"] + [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def ask(port: int, request: bytes, timeout: float = 10) -> bytes:
    """Everything that is answered to `request`; for an upgrade, its head."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        s.sendall(request)
        data = b""
        while piece := s.recv(65536):
            data += piece
            if data.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in data:
                break
        return data


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


PATHS = ["/", "/otel", "/ws/channels/nope?key=k&dir=read"]


# MARK: Browsers


@pytest.mark.parametrize("path", PATHS, ids=["worker", "otel", "channel"])
@pytest.mark.parametrize("origin", ["http://evil.example", "https://localhost.evil.example", "null"])
def test_foreign_pages_are_refused(core, path, origin):
    answer = ask(core.port, head(path, host=f"localhost:{core.port}", Origin=origin))
    assert status_of(answer) == 403
    assert b"iii-worker-manager.config.allowed_origins" in answer


@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "http://127.0.0.1:5173", "https://localhost"])
def test_pages_of_this_host_may_connect(core, origin):
    assert status_of(ask(core.port, head(host=f"localhost:{core.port}", Origin=origin))) == 101


@pytest.mark.parametrize("path", PATHS, ids=["worker", "otel", "channel"])
@pytest.mark.parametrize("origin", [None, "same"])
def test_a_public_name_for_loopback_is_refused(core, path, origin):
    """DNS rebinding: the page's own name resolves to 127.0.0.1, so host and origin agree."""
    host = f"rebound.example:{core.port}"
    answer = ask(core.port, head(path, host=host, Origin=origin and f"http://{host}"))
    assert status_of(answer) == 403


def test_a_refused_page_is_logged_with_the_cure_and_may_be_allowed_without_a_restart(tmp_path):
    with running(tmp_path, manager={}) as it:
        assert status_of(ask(it.port, head(Origin="https://app.example.com"))) == 403
        line = wait_for(lambda: next((line for line in it.output().splitlines() if "https://app.example.com" in line), None), "a line about the page")
        assert "WARN" in line and "iii-worker-manager.config.allowed_origins" in line
        entries = entries_of(it)
        entries[0]["config"]["allowed_origins"] = ["https://app.example.com"]
        before = reloads(it)
        save(it, entries)
        wait_for(lambda: reloads(it) > before, "the reload")
        wait_for(lambda: status_of(ask(it.port, head(Origin="https://app.example.com"))) == 101, "the page may connect")
        assert status_of(ask(it.port, head(Origin="https://other.example.com"))) == 403
        # A flood of refusals is a few lines.
        for number in range(60):
            ask(it.port, head(Origin=f"https://flood{number}.example.com"))
        assert it.output().count("flood") <= 10
        assert it.connect().call("engine::workers::list", {})


@pytest.mark.parametrize("wrong", ["app.example.com", "https://app.example.com/path", "", "https://*.example.com"])
def test_what_is_no_origin_is_refused_by_the_check(tmp_path, wrong):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"workers": [{"name": "iii-worker-manager", "config": {"allowed_origins": [wrong]}}]}))
    done = subprocess.run([BIN / "iii-core", "config", "check", "-c", config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "allowed_origins" in done.stdout + done.stderr


# MARK: The handshake


@pytest.mark.parametrize(
    "request_, status",
    [
        (head(version="HTTP/1.0"), 400),
        (head(host="x y"), 400),
        (head(host=None), 400),
        (head(Sec_WebSocket_Version="8"), 426),
        (head(Sec_WebSocket_Key="short"), 400),
        (head(Connection="keep-alive"), 400),
        (head(Content_Length="5"), 400),
        (head(Transfer_Encoding="chunked"), 400),
        (head("/nowhere"), 404),
        (head(Content_Length="0"), 101),
    ],
    ids=["http10", "host-with-space", "no-host", "version-8", "bad-key", "no-connection", "length", "chunked", "unknown-path", "empty-body"],
)
def test_upgrades_are_checked(core, request_, status):
    answer = ask(core.port, request_)
    assert status_of(answer) == status
    if status == 426:
        assert b"sec-websocket-version: 13\r\n" in answer.lower()


def test_an_upgrade_whose_body_never_comes_does_not_pass_the_limit():
    """Each used to cancel its deadline and could be completed long after the limit was reached."""
    with fleet(manager={"max_connections": 2, "handshake_timeout_ms": 1000}) as it:
        sockets = []
        for index in range(40):
            s = socket.create_connection(("127.0.0.1", it.port), timeout=10)
            s.sendall(head(**({"Content_Length": "1"} if index % 2 else {"Transfer_Encoding": "chunked"})))
            sockets.append(s)
        for s in sockets:
            assert status_of(s.recv(4096)) == 400
            s.close()
        it.connect().close()


def test_a_trickled_handshake_meets_its_deadline():
    with fleet(manager={"handshake_timeout_ms": 500}) as it:
        s = socket.create_connection(("127.0.0.1", it.port), timeout=0.05)
        text = iter(head() * 20)

        def is_over():
            try:
                s.sendall(bytes([next(text)]))
                return s.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        # 3,000 bytes at 20 a second would take minutes.
        wait_for(is_over, "the end of the connection", timeout=10)
        s.close()


@contextlib.contextmanager
def observed(directory: pathlib.Path, **options):
    """A fleet and a way to read its counters."""
    secret = "0123456789abcdef" * 4
    (directory / "secret").write_text(secret)
    (directory / "secret").chmod(0o600)
    with running(directory, env={"III_BUILTIN_TOKEN_FILE": str(directory / "secret")}, **options) as it:

        def counters() -> dict:
            wire = Wire(it.port, additional_headers={"x-iii-builtin-token": secret, "x-iii-builtin-name": "observer"}, open_timeout=30).hello()
            try:
                return wire.call("core::metrics::snapshot", {})
            finally:
                wire.close()

        yield it, counters


def test_silent_connections_do_not_keep_workers_out(tmp_path):
    with observed(tmp_path, manager={"max_handshakes": 8, "handshake_timeout_ms": 60_000}) as (it, counters):
        silent = [socket.create_connection(("127.0.0.1", it.port), timeout=30) for _ in range(40)]
        wire = it.connect(open_timeout=30)
        seen = counters()
        assert seen["handshakes_evicted"] >= 1 and seen["accept_pauses"] >= 1 and seen["handshakes_open"] <= 9
        wire.close()
        for s in silent:
            s.close()


def test_a_built_in_finds_its_way_back_past_max_connections(tmp_path):
    with running(tmp_path, manager={"max_connections": 2}, http={}) as it:
        workers = [it.connect()]
        with pytest.raises(InvalidStatus):
            it.connect()
        pid = it.pid_of("iii-http")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: it.rows()["iii-http"]["ready"] and it.pid_of("iii-http") != pid, "iii-http is back")
        for worker in workers:
            worker.close()


def test_a_malformed_close_ends_the_connection_at_once(core):
    for payload in (b"\x03", struct.pack(">H", 1005), struct.pack(">H", 1000) + b"\xff"):
        raw = RawSocket(core.port)
        raw.frame(0x8, payload)
        assert raw.close_code() == 1002
        began = time.monotonic()
        with pytest.raises((EOFError, ConnectionError)):
            raw.read(1)
        # It used to wait two seconds for an answer that had come already.
        assert time.monotonic() - began < 1.5
        raw.close()


# MARK: TLS and the children's own listener


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("authority"))


def tls_of(pair, **more) -> dict:
    return {"cert_file": str(pair[0]), "key_file": str(pair[1]), **more}


def secure(it, context, path: str = "/"):
    # This client reads and writes in two threads. With TLS 1.3 CPython 3.11 then loses a write in a hundred: a session ticket is
    # read just while the request is written, and no byte of that is sent (seen at a relay between the two).
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return ws_connect(f"wss://localhost:{it.port}{path}", ssl=context, compression=None)


CHILD = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}


def test_tls_on_the_worker_port_cuts_nobody_off(tmp_path, authority):
    """Built-ins and user processes go by the core's own loopback listener."""
    pair = authority.issue("worker")
    with running(tmp_path, manager={"tls": tls_of(pair)}, http={}, workers=[CHILD]) as it:
        with secure(it, authority.trust()) as ws:
            assert json.loads(ws.recv(timeout=10))["type"] == "workerregistered"
        with certificates.connect(it.port, authority.trust()) as modern:
            assert modern.version() == "TLSv1.3"
            modern.sendall(head())
            assert modern.recv(12) == b"HTTP/1.1 101"
        # Plain text gets a sentence.
        assert b"this port speaks TLS" in ask(it.port, head())
        url = environment_of(next(pid for pid, name in members(it).items() if name == "sleep"))["III_URL"]
        assert url.startswith("ws://127.0.0.1:") and f":{it.port}" not in url
        port, secret = url.removeprefix("ws://127.0.0.1:").split("/")
        assert secret not in it.output()
        # What an SDK makes of that URL: workers, telemetry, channels.
        child = Wire(int(port), path=f"/{secret}").hello()
        child.register("child::hello")
        child.register_trigger("http", "child::hello", config={"api_path": "/hello", "http_method": "GET"})
        Wire(int(port), path=f"/{secret}/otel").close()
        with pytest.raises(InvalidStatus) as unknown:
            Wire(int(port), path=f"/{secret}/ws/channels/nope?key=k&dir=read")
        assert unknown.value.response.status_code == 404
        # Nobody else is let in there.
        for path in ("/", "/otel", f"/{'0' * len(secret)}", "/nowhere"):
            with pytest.raises(InvalidStatus) as refused:
                Wire(int(port), path=path)
            assert refused.value.response.status_code == 403
        assert status_of(ask(int(port), head(f"/{secret}", Origin="http://evil.example"))) == 403
        child.close()


def test_user_processes_get_the_public_port_while_it_is_plain(tmp_path):
    with running(tmp_path, workers=[CHILD]) as it:
        sleeper = next(pid for pid, name in members(it).items() if name == "sleep")
        assert environment_of(sleeper)["III_URL"] == f"ws://127.0.0.1:{it.port}"


def test_client_certificates_are_demanded(tmp_path, authority):
    pair = authority.issue("mutual")
    shown = authority.issue("client", usage="clientAuth", common_name="worker")
    with running(tmp_path, manager={"tls": tls_of(pair, client_ca_file=str(authority.file))}, http={}) as it:
        with pytest.raises(Exception):
            secure(it, authority.trust()).recv(timeout=5)
        with secure(it, authority.trust(shown)) as ws:
            assert json.loads(ws.recv(timeout=10))["type"] == "workerregistered"


def test_a_renewed_certificate_needs_no_restart(tmp_path, authority):
    pair = authority.issue("renewed")
    first = pair[0].read_text()
    with running(tmp_path, manager={"tls": tls_of(pair)}) as it:
        with secure(it, authority.trust()) as kept:
            kept.recv(timeout=10)
            serial = certificates.serial_of(kept.socket)
            authority.issue("renewed")
            assert pair[0].read_text() != first

            def renewed():
                with secure(it, authority.trust()) as ws:
                    return certificates.serial_of(ws.socket) != serial

            wait_for(renewed, "the new certificate", timeout=20)
            kept.send('{"type":"ping"}')
            assert json.loads(kept.recv(timeout=10)) == {"type": "pong"}


def test_tls_comes_and_goes_with_a_reload_and_unusable_files_change_nothing(tmp_path, authority):
    pair = authority.issue("live")
    with running(tmp_path, http={}) as it:
        entries = entries_of(it)
        pid, plain = it.pid_of("iii-http"), it.connect()

        def reload_with(tls):
            entries[0]["config"].pop("tls", None)
            if tls:
                entries[0]["config"]["tls"] = tls
            before = reloads(it)
            save(it, entries)
            wait_for(lambda: reloads(it) > before, "the reload")

        reload_with(tls_of(pair))
        with secure(it, authority.trust()) as ws:
            ws.recv(timeout=10)
        plain.send({"type": "ping"})
        assert plain.recv() == {"type": "pong"}
        reload_with({"cert_file": str(tmp_path / "nope.pem"), "key_file": str(pair[1])})
        assert "nope.pem" in it.output() and "reload: refused" in it.output()
        with secure(it, authority.trust()) as ws:
            ws.recv(timeout=10)
        reload_with(None)
        it.connect().close()
        assert it.pid_of("iii-http") == pid
        plain.close()


def test_files_that_cannot_be_used_stop_the_start(tmp_path):
    it = Fleet(tmp_path, manager={"tls": {"cert_file": "nope.pem", "key_file": "nope.key"}}).spawn()
    try:
        assert it.process.wait(20) == 1
        assert "iii-worker-manager.config.tls.cert_file 'nope.pem' cannot be read" in it.output()
    finally:
        it.kill()


def test_a_new_worker_port_restarts_no_built_in(tmp_path):
    with running(tmp_path, http={}) as it:
        pid, entries = it.pid_of("iii-http"), entries_of(it)
        moved = free_port()
        entries[0]["config"]["port"] = moved
        before = reloads(it)
        save(it, entries)
        wait_for(lambda: reloads(it) > before, "the reload")
        it.port = moved
        with serving(moved, {"f": ok}, {"/f": "f"}):
            wait_for_http(f"{it.http_url}/f")
        assert it.pid_of("iii-http") == pid


# MARK: Descriptors


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_full_table_of_descriptors_costs_new_connections_only(tmp_path):
    """Item 17: it used to spin at 100 % CPU, `ps` hung, and a killed child could not be restarted."""
    it = Fleet(tmp_path, http={})
    output = open(it.log, "ab")
    it.process = subprocess.Popen(
        ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", BIN / "iii-core", "up", "-c", str(it.config)], cwd=it.directory, env=it.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    output.close()
    sockets = []
    try:
        it.wait_ready()
        assert "max_connections is 10000" in it.output()
        wire = it.connect()
        # In the backlog, mostly.
        for _ in range(200):
            sockets.append(socket.create_connection(("127.0.0.1", it.port), timeout=10))
            sockets[-1].sendall(head())
        wait_for(lambda: "file descriptors" in it.output() and "new connections wait" in it.output(), "a line that says so")
        wire.send({"type": "ping"})
        assert wire.expect("pong")
        before, began = cpu_seconds(it.process.pid), time.monotonic()
        settle(2)
        assert cpu_seconds(it.process.pid) - before < (time.monotonic() - began) / 2, "it spins"
        pid = it.pid_of("iii-http")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: it.rows()["iii-http"]["ready"] and it.pid_of("iii-http") != pid, "iii-http is back", timeout=30)
        # Who waited gets on once there is room.
        for s in sockets[:-10]:
            s.close()
        wait_for(lambda: sockets[-1].recv(12) == b"HTTP/1.1 101", "the last in the queue is served")
        wire.close()
    finally:
        for s in sockets:
            s.close()
        it.stop()
        it.kill()
