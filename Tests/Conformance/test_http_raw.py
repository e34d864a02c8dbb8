"""Raw sockets against the gateway: request smuggling, edges of heads and chunks, pipelining, truncation, slow clients.

Every case asserts that what is behind the ambiguity never becomes a second request, and that another client is served as before.
"""

import socket
import threading
import time

import pytest
import requests

from processes import ok, serving
from wire import fleet, wait_for

SETTINGS = {"header_timeout_ms": 700, "idle_timeout_ms": 700, "body_timeout_ms": 700, "write_stall_timeout_ms": 700, "body_limit": 100_000}


@pytest.fixture(scope="module")
def core():
    with fleet(http=SETTINGS) as it:
        yield it


def late(_data):
    """A slow function: what the client sends behind its request mostly comes before the answer. Its tests hold either way."""
    time.sleep(0.2)
    return {"body": "late"}


@pytest.fixture(scope="module")
def app(core):
    """`/echo` answers with the JSON body it got, `/smuggled` must never be called by these tests."""
    functions = {
        "raw::echo": lambda data: {"body": data["body"]}, "raw::smuggled": ok, "raw::big": lambda data: {"body": "x" * 8_000_000}, "raw::ok": ok, "raw::late": late}
    with serving(core.port, functions, {"/smuggled": "raw::smuggled", "/big": "raw::big", "/ok": "raw::ok", "/late": "raw::late"}) as service:
        service.wire.register_trigger("http", "raw::echo", config={"api_path": "/echo", "http_method": "POST"})
        wait_for(lambda: requests.get(f"{core.http_url}/ok", timeout=10).status_code == 200, "the routes are live")
        yield service


@pytest.fixture(autouse=True)
def others_are_served(core, app):
    yield
    assert requests.get(f"{core.http_url}/ok", timeout=10).status_code == 200
    assert not [call for call in app.calls if call["function_id"] == "raw::smuggled"]


def talk(core, *pieces: bytes, until_closed: bool = True) -> bytes:
    """Sends the pieces and reads to the end of the connection."""
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        for piece in pieces:
            client.sendall(piece)
        return read(client)


def read(client) -> bytes:
    data = b""
    try:
        while chunk := client.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def statuses(data: bytes) -> list[int]:
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"Content-Length: 0\r\nContent-Length: 36\r\n", b"Content-Length: 0, 36\r\n", b"Content-Length: -1\r\n", b"Content-Length: 0x1\r\n",
        b"Content-Length: 1e1\r\n", b"Content-Length: 99999999999999999999\r\n", b"Content-Length: \r\n", b"Content-Length:\t+0\r\n",
        b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding: \"chunked\"\r\n", b"X: y\r\n Transfer-Encoding: chunked\r\n", b"Trans\x00fer-Encoding: chunked\r\n",
        b"X: a\rb\r\n", b"X: a\x00b\r\n", b"X: a\nContent-Length: 36\r\n\r\n",
    ])
def test_ambiguous_framing_is_refused_and_the_connection_closed(core, app, fields):
    data = talk(core, HEAD + fields + b"\r\n" + SMUGGLED)
    # The one thing that must not happen is a second answer: where the head itself was acceptable, the body never was.
    assert len(statuses(data)) <= 1 and statuses(data) in ([400], [413], [])


@pytest.mark.parametrize(
    "body",
    [
        b"0x1\r\na\r\n0\r\n\r\n", b"-1\r\na\r\n0\r\n\r\n", b"1 \r\n\r\n\r\n0\r\n\r\n"[:3] + b"\x00", b"g\r\n", b"\r\n", b"ffffffffffffffffff\r\n", b"1\r\nab\r\n0\r\n\r\n", b"1\na\n0\n\n",
        b"2\r\na\r\n0\r\n\r\n",
    ])
def test_broken_chunks_are_refused_and_nothing_behind_them_is_read(core, app, body):
    data = talk(core, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + SMUGGLED)
    assert statuses(data) in ([400], [408], []), data


@pytest.mark.parametrize(
    "body", [b"3\r\n[1]\r\n0\r\n\r\n", b"1\r\n[\r\n2\r\n1]\r\n0\r\n\r\n", b"3;ext=1\r\n[1]\r\n0\r\n\r\n", b"003\r\n[1]\r\n000\r\n\r\n", b"3\r\n[1]\r\n0\r\nTrailer: x\r\n\r\n"])
def test_good_chunks_are_joined(core, app, body):
    data = talk(core, HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert statuses(data) == [200] and data.endswith(b"[1]")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / http/1.1\r\nHost: a\r\n\r\n", b"GE T / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nna me: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ])
def test_malformed_heads_get_an_error_and_the_end(core, head):
    assert statuses(talk(core, head)) in ([400], [408], [505], [])


@pytest.mark.parametrize("count", [101, 10_000])
def test_too_many_fields_are_431(core, count):
    data = talk(core, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(count)) + b"\r\n")
    assert statuses(data) in ([431], [])
    if count == 101:
        assert statuses(data) == [431]


def test_a_head_of_many_megabytes_is_cut_short(core):
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nx: ")
        try:
            for _ in range(400):
                client.sendall(b"y" * 65_536)
        except OSError:
            pass
        assert statuses(read(client)) in ([431], [])


def test_a_hundred_pipelined_requests_are_answered_in_order(core, app):
    request = b"".join(HEAD + b"Content-Length: %d\r\n\r\n%d" % (len(str(n)), n) for n in range(100))
    data = talk(core, request + HEAD + b"Connection: close\r\nContent-Length: 1\r\n\r\n7")
    assert statuses(data) == [200] * 101
    bodies = [part.rsplit(b"\r\n\r\n", 1)[1] for part in data.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b"%d" % n for n in range(100)] + [b"7"]


def test_requests_cut_into_single_bytes(core, app):
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\n[1]":
            client.send(bytes([byte]))
        assert read(client).endswith(b"[1]")


@pytest.mark.parametrize("length", [0, 1, 20, 60, 90])
def test_a_request_that_breaks_off_leaves_nothing(core, app, length):
    whole = HEAD + b"Content-Length: 30\r\n\r\n[1"
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.sendall(whole[:length] if length < 90 else whole)
        client.shutdown(socket.SHUT_WR)
        assert statuses(read(client)) in ([], [400], [408])


@pytest.mark.parametrize(
    "start, status",
    [(b"", None), (b"GET / HT", 408), (b"GET / HTTP/1.1\r\nHost: x\r\n", 408), (HEAD + b"Content-Length: 30\r\n\r\n[1", 408)],
    ids=["nothing", "half a line", "half a head", "half a body"])
def test_a_client_that_stops_is_let_go(core, app, start, status):
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.sendall(start)
        data = read(client)
        assert statuses(data) == ([status] if status else [])


def test_a_hundred_slow_clients_cost_nobody_anything(core, app):
    clients = [socket.create_connection(("127.0.0.1", core.http_port), timeout=20) for _ in range(100)]
    stop = threading.Event()

    def drip():
        while not stop.wait(0.05):
            for client in clients:
                try:
                    client.send(b"x")
                except OSError:
                    pass

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        for _ in range(50):
            assert requests.get(f"{core.http_url}/ok", timeout=10).status_code == 200
        # A byte now and then buys no time: the head must be whole within header_timeout_ms.
        for client in clients:
            read(client)
    finally:
        stop.set()
        dripping.join()
        for client in clients:
            client.close()


def test_a_client_that_does_not_take_its_response_is_cut(core, app):
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            assert requests.get(f"{core.http_url}/ok", timeout=10).status_code == 200
        wait_for(lambda: core_connections(core) == 0, "the connection is cut")


@pytest.mark.parametrize(
    "rest", [b"x", b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n", b"\x00\xff"], ids=["byte", "request", "lines", "binary"])
@pytest.mark.parametrize("is_split", [True, False], ids=["split", "whole"])
def test_whatever_follows_a_last_request_costs_no_answer(core, app, rest, is_split):
    head = b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    data = talk(core, *([head, rest, rest] if is_split else [head + rest + rest]))
    assert statuses(data) == [200] and data.endswith(b"\"late\"")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /late HTTP/1.1\r\nHost: x\r\nconnection:CLOSE\r\n\r\n", b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
        b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", b"GET /late HTTP/1.0\r\n\r\n",
        b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        HEAD.replace(b"/echo", b"/late").replace(b"POST", b"GET") + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\nConnection: keep-alive\r\n\r\n",
    ],
    ids=["case", "list", "twice", "1.0", "upgrade", "trailers"])
def test_a_last_request_in_other_words_is_a_last_request(core, app, head):
    data = talk(core, head + SMUGGLED, b"x" * 100_000)
    assert statuses(data) == [200] and data.endswith(b"\"late\"")


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue \t", b"\t100-continue"], ids=["plain", "behind", "before"])
def test_an_expectation_is_met_whatever_white_space_is_around_it(core, app, value):
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.sendall(HEAD + b"Connection: close\r\nExpect: " + value + b"\r\nContent-Length: 3\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"[1]")
        assert read(client).endswith(b"[1]")


def test_a_client_that_closes_its_side_gets_its_answers(core, app):
    one = b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        client.sendall(one + one)
        client.shutdown(socket.SHUT_WR)
        assert statuses(read(client)) == [200, 200]


@pytest.mark.parametrize("host", [b"x y", b"a/b", b"<x>", b"a:b", b"[::1"], ids=["space", "path", "brackets", "port", "literal"])
def test_a_host_that_is_none_is_refused(core, app, host):
    assert statuses(talk(core, b"GET /smuggled HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")) == [400]


def core_connections(core) -> int:
    """Established connections to the gateway, seen from its side."""
    port = f":{core.http_port:04X}"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)
