"""Bodies that travel through channels, between real processes (docs/reference/http.md#streaming)."""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import threading
import time

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from processes import Service, http_status
from wire import BUILTIN_SECRET, fleet, metrics, wait_for

TIMEOUT_MS = 1500


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("secret") / "token"
    path.write_text(BUILTIN_SECRET)
    return {"III_BUILTIN_TOKEN_FILE": str(path)}


@pytest.fixture(scope="module")
def core(secret):
    with fleet(http={"default_timeout": TIMEOUT_MS}, env=secret) as it:
        yield it


def end(core, ref: dict):
    return connect(
        f"ws://127.0.0.1:{core.port}/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={ref['direction']}",
        compression=None, max_size=1 << 20, close_timeout=2)


def pieces(core, ref: dict):
    with end(core, ref) as reader:
        with contextlib.suppress(ConnectionClosed):
            while True:
                yield reader.recv(timeout=30)


def read_all(core, ref: dict) -> bytes:
    return b"".join(pieces(core, ref))


def head(writer, status=None, headers=None):
    if status:
        writer.send(json.dumps({"type": "set_status", "status_code": status}))
    if headers:
        writer.send(json.dumps({"type": "set_headers", "headers": headers}))


@pytest.fixture
def serve(core):
    with serving_on(core) as start:
        yield start


@contextlib.contextmanager
def serving_on(core):
    """`start(handler)` → URL of a route whose function runs `handler(data)` on a thread of its own."""
    services = []

    def start(handler, method="POST") -> str:
        path = f"stream/{len(services)}-{os.urandom(4).hex()}"
        service = Service(core.port, {f"fn::{path}": handler})
        service.wire.register_trigger("http", f"fn::{path}", config={"api_path": path, "http_method": method})
        services.append(service)
        url = f"{core.http_url}/{path}"
        wait_for(lambda: requests.options(url, timeout=10).headers.get("allow"), "the route is live")
        start.service = service
        return url

    try:
        yield start
    finally:
        for service in services:
            service.close()


def body_of(core):
    """A handler that answers with what it found in `body` and read from `request_body`."""

    def handler(data):
        raw = read_all(core, data["request_body"])
        return {"status_code": 200, "body": {"body": data["body"], "raw": raw.decode("latin-1")}}

    return handler


JSON_TEXT = ' {"n": 9007199254740993, "s":"ü" }\n'


@pytest.mark.parametrize(
    "content_type, payload, body",
    [
        ("application/json", JSON_TEXT.encode(), json.loads(JSON_TEXT)),
        ("application/json", b"{broken", None),
        ("application/json", b"", None),
        ("application/x-www-form-urlencoded", b"a=1&b=two+words", None),
        ("multipart/form-data; boundary=x", b"--x\r\ncontent-disposition: form-data; name=\"f\"\r\n\r\nv\r\n--x--\r\n", None),
        ("text/plain", b"hello", None),
        ("application/octet-stream", bytes(range(256)), None),
        (None, b"", None),
        (None, b"plain", None),
    ])
def test_the_request_body_arrives_byte_by_byte_and_ends(core, serve, content_type, payload, body):
    url = serve(body_of(core))
    answer = requests.post(url, data=payload, headers={"content-type": content_type} if content_type else {}, timeout=20)
    assert answer.status_code == 200
    assert answer.json() == {"body": body, "raw": payload.decode("latin-1")}


def test_a_large_upload_arrives_intact_in_small_messages_and_flat_memory(core, serve):
    size = 60 << 20

    def handler(data):
        digest, count, longest = hashlib.sha256(), 0, 0
        for piece in pieces(core, data["request_body"]):
            digest.update(piece)
            count += len(piece)
            longest = max(longest, len(piece))
        return {"body": {"sha256": digest.hexdigest(), "count": count, "longest": longest}}

    block = os.urandom(1 << 20)
    expected = hashlib.sha256()
    for _ in range(size >> 20):
        expected.update(block)
    peak = {}

    def watch():
        while not done.is_set():
            for name, pid in pids.items():
                peak[name] = max(peak.get(name, 0), resident(pid))
            done.wait(0.05)

    url = serve(handler)
    pids = {"iii-core": core.process.pid, "iii-http": core.pid_of("iii-http")}
    before = {name: resident(pid) for name, pid in pids.items()}
    done = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    answer = requests.post(url, data=(block for _ in range(size >> 20)), headers={"content-type": "application/octet-stream"}, timeout=60)
    done.set()
    watcher.join()
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"sha256": expected.hexdigest(), "count": size, "longest": 65536}
    for name in pids:
        assert peak[name] - before[name] < 25 << 20, (name, before, peak)


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_a_large_download_to_a_slow_client_stalls_its_writer_in_flat_memory(core, serve):
    sent = [0]

    def handler(data):
        with end(core, data["response"]) as writer:
            for _ in range(1600):
                writer.send(b"d" * 65_536)
                sent[0] += 65_536

    url = serve(handler, "GET")
    pids = {"iii-core": core.process.pid, "iii-http": core.pid_of("iii-http")}
    before = {name: resident(pid) for name, pid in pids.items()}
    with requests.get(url, stream=True, timeout=60) as answer:
        # Not read yet: everything on the way fills up and the writer stands still.
        def stalled():
            mark = sent[0]
            time.sleep(0.3)
            return mark > 0 and sent[0] == mark

        wait_for(stalled, "the writer stands still", timeout=30)
        assert sent[0] < 100 << 20
        for name, pid in pids.items():
            assert resident(pid) - before[name] < 40 << 20, name
        assert http_status(f"{core.http_url}/nothing") == 404, "others are served"
        assert sum(map(len, answer.iter_content(1 << 20))) == 1600 * 65_536


def test_upload_and_download_at_the_same_time(core, serve):
    def echo(data):
        with end(core, data["response"]) as writer:
            head(writer, headers={"content-type": "application/octet-stream"})
            for piece in pieces(core, data["request_body"]):
                writer.send(piece)

    payload = os.urandom(1 << 20) * 8
    answer = requests.post(serve(echo), data=payload, headers={"content-type": "application/octet-stream"}, timeout=60)
    assert answer.content == payload


def test_status_and_headers_before_the_upload_is_read(core, serve):
    def handler(data):
        with end(core, data["response"]) as writer:
            head(writer, 201, {"x-early": "1"})
            count = len(read_all(core, data["request_body"]))
            writer.send(json.dumps({"count": count}).encode())

    answer = requests.post(serve(handler), data=b"u" * 3_000_000, headers={"content-type": "application/pdf"}, timeout=30)
    assert (answer.status_code, answer.headers["x-early"], answer.json()) == (201, "1", {"count": 3_000_000})


def test_continue_is_sent_when_the_body_is_wanted(core, serve):
    url = serve(body_of(core))
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        path = url.split(str(core.http_port))[1]
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\n".encode())
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert b'"raw":"hello"' in client.recv(4000).replace(b" ", b"")


def test_a_handler_that_never_reads_leaves_the_connection_usable(core, serve):
    url = serve(lambda data: {"status_code": 200})
    with requests.Session() as session:
        for _ in range(3):
            assert session.post(url, data=b"z" * 2_000_000, headers={"content-type": "text/plain"}, timeout=20).status_code == 200


def test_events_are_seen_one_by_one_and_outlive_the_timeout(core, serve):
    seen = threading.Semaphore(0)

    def handler(data):
        with end(core, data["response"]) as writer:
            head(writer, headers={"content-type": "text/event-stream", "cache-control": "no-cache", "connection": "keep-alive"})
            start = time.monotonic()
            for n in range(4):
                writer.send(f"data: {n}\n\n".encode())
                assert seen.acquire(timeout=20), "the client has this event before the next is written"
            while time.monotonic() < start + TIMEOUT_MS / 1000 + 0.2:
                time.sleep(0.05)
            writer.send(b"data: end\n\n")

    with requests.get(serve(handler, "GET"), stream=True, timeout=30) as answer:
        assert answer.headers["content-type"] == "text/event-stream" and "connection" not in answer.headers
        events = []
        for line in answer.iter_lines(chunk_size=1):
            if line:
                events.append(line)
                seen.release()
    assert events == [b"data: 0", b"data: 1", b"data: 2", b"data: 3", b"data: end"]


def test_a_null_result_before_the_first_write(core, serve):
    def handler(data):
        def later():
            time.sleep(0.08)
            with end(core, data["response"]) as writer:
                head(writer, 201)
                writer.send(b"one,")
                writer.send(b"two")

        threading.Thread(target=later).start()

    answer = requests.post(serve(handler), timeout=20)
    assert (answer.status_code, answer.content) == (201, b"one,two")


def test_bytes_written_before_a_return_value_win(core, serve):
    def handler(data):
        with end(core, data["response"]) as writer:
            head(writer, 207)
            writer.send(b"streamed")
        return {"status_code": 404, "body": "returned"}

    url = serve(handler)
    for _ in range(20):
        answer = requests.post(url, timeout=20)
        assert (answer.status_code, answer.content) == (207, b"streamed")


def test_a_return_value_wins_over_a_status_without_bytes(core, serve):
    def handler(data):
        writer = end(core, data["response"])
        head(writer, 201)
        return {"status_code": 404, "body": "returned"}

    url = serve(handler)
    for _ in range(10):
        assert requests.post(url, timeout=20).status_code == 404


def test_a_client_that_leaves_ends_the_writer_and_nothing_leaks(core, serve):
    ended = threading.Event()

    def handler(data):
        with end(core, data["response"]) as writer:
            try:
                while True:
                    writer.send(b"tick\n")
                    time.sleep(0.01)
            except ConnectionClosed as closed:
                if closed.rcvd and closed.rcvd.code == 1011:
                    ended.set()

    url = serve(handler, "GET")
    with requests.get(url, stream=True, timeout=20) as answer:
        assert answer.raw.read(5)
    assert ended.wait(15), "the writer was told"
    nothing_leaks(core)


def nothing_leaks(core):
    def empty():
        counters = metrics(core)
        return counters["channels"] == 0 and counters["channel_connections"] == 0

    wait_for(empty, "all channels are gone")


def test_a_client_that_leaves_mid_upload_ends_the_reader_abnormally(core, serve):
    code = []

    def handler(data):
        with end(core, data["request_body"]) as reader:
            try:
                while True:
                    reader.recv(timeout=20)
            except ConnectionClosed as closed:
                code.append(closed.rcvd.code)

    url = serve(handler)
    client = socket.create_connection(("127.0.0.1", core.http_port), timeout=20)
    client.sendall(f"POST {url.split(str(core.http_port))[1]} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\npartial".encode())
    wait_for(lambda: metrics(core)["channel_connections"] == 2, "the body is being read")
    client.close()
    wait_for(lambda: code == [1011], "the reader knows that this was not all")
    nothing_leaks(core)


def torn_off(core):
    """A handler that sends half of a response and loses its connection."""

    def handler(data):
        writer = end(core, data["response"])
        writer.send(b"half of it")
        writer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.socket.shutdown(socket.SHUT_RDWR)
        writer.socket.close()

    return handler


def test_a_writer_that_is_torn_off_cuts_the_response(core, serve):
    connection = http.client.HTTPConnection("127.0.0.1", core.http_port, timeout=20)
    url = serve(torn_off(core), "GET")
    connection.request("GET", url.split(str(core.http_port))[1])
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    nothing_leaks(core)


def test_a_deadline_releases_both_channels(core, serve):
    released = threading.Event()

    def handler(data):
        with end(core, data["response"]) as writer, end(core, data["request_body"]):
            head(writer, 201)
            with contextlib.suppress(ConnectionClosed):
                writer.recv(timeout=20)
                return
            released.set()

    answer = requests.post(serve(handler), data=b"x", timeout=20)
    assert answer.status_code == 504
    assert released.wait(15)
    nothing_leaks(core)


def test_references_of_a_finished_request_are_refused_or_ended(core, serve):
    kept = []
    url = serve(lambda data: kept.append(data) or {"status_code": 200})
    assert requests.post(url, timeout=20).status_code == 200
    for member in ["response", "request_body"]:
        with end(core, kept[0][member]) as late, pytest.raises(ConnectionClosed) as closed:
            late.recv(timeout=15)
        assert closed.value.rcvd.code == 1011
    nothing_leaks(core)


def test_a_killed_gateway_ends_its_channels_and_serves_again(core, serve):
    told = threading.Event()

    def handler(data):
        with end(core, data["response"]) as writer:
            writer.send(b"x")
            with contextlib.suppress(ConnectionClosed):
                writer.recv(timeout=30)
                return
            told.set()

    url = serve(handler, "GET")
    with requests.get(url, stream=True, timeout=20) as answer:
        assert answer.raw.read(1)
        os.kill(core.pid_of("iii-http"), signal.SIGKILL)
        assert told.wait(15), "the writer of the stream was told"
    nothing_leaks(core)
    wait_for(lambda: http_status(f"{core.http_url}/nothing") == 404, "it serves again")
    service = serve(lambda data: end(core, data["response"]).close(), "GET")
    assert requests.get(service, timeout=20).status_code == 200


@pytest.mark.parametrize("status", [99, 700, "404", None], ids=["99", "700", "text", "null"])
def test_a_status_that_cannot_be_taken_does_not_pass_in_silence(core, serve, status):
    def handler(data):
        with end(core, data["response"]) as writer:
            writer.send(json.dumps({"type": "set_status", "status_code": status}))
            writer.send(b"x")

    url = serve(handler, "GET")
    assert requests.get(url, timeout=20).status_code == 200
    path = url.rsplit("/", 1)[1]
    wait_for(lambda: any("set a status" in line and path in line for line in core.output().splitlines()), "the warning")


def test_many_event_streams_at_once(secret):
    """300 clients at a time on one function; 2,000 are measured by benchmarks/streams.py."""
    # One Python process opens 300 sockets for this: how long that takes is nobody's deadline here.
    with fleet(http={}, env=secret) as core, serving_on(core) as serve:
        many_event_streams(core, serve, 300)


def many_event_streams(core, serve, count):
    everyone = threading.Event()
    arrived = threading.Semaphore(0)

    def handler(data):
        with end(core, data["response"]) as writer:
            writer.send(b"data: hello\n\n")
            arrived.release()
            everyone.wait(30)
            writer.send(b"data: bye\n\n")

    url = serve(handler, "GET")
    path = url.split(str(core.http_port))[1]
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", core.http_port), timeout=30)
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        clients.append(client)
    for _ in range(count):
        assert arrived.acquire(timeout=30)
    everyone.set()
    for client in clients:
        text = b""
        while chunk := client.recv(65536):
            text += chunk
        client.close()
        assert text.endswith(b"data: bye\n\n\r\n0\r\n\r\n")
    nothing_leaks(core)
