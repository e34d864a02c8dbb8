"""The socket itself (docs/reference/worker-protocol.md#connecting)."""

import json
import signal
import socket
import struct
import uuid

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wire import RawSocket, Wire, fleet, wait_for


def test_first_frame_is_workerregistered(core):
    wire = Wire(core.port, path="/?a=1")
    first = wire.recv()
    assert first["type"] == "workerregistered"
    assert str(uuid.UUID(first["worker_id"])) == first["worker_id"]
    wire.close()


def test_worker_ids_differ(wires):
    assert wires().worker_id != wires().worker_id


def test_other_requests_are_refused(core):
    base = f"http://127.0.0.1:{core.port}"
    assert requests.get(f"{base}/foo").status_code == 404
    assert requests.get(f"{base}/").status_code == 400
    assert requests.post(f"{base}/").status_code == 405
    assert requests.get(f"{base}/ws/channels/x?key=1&dir=up").status_code == 400


@pytest.mark.parametrize("query, status", [("", 400), ("?key=k", 400), ("?dir=read", 400), ("?key=k&dir=sideways", 400), ("?key=k&dir=read", 404)])
def test_channel_endpoint_without_channels(core, query, status):
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{core.port}/ws/channels/nope{query}")
    assert refused.value.response.status_code == status
    if status == 404:
        assert refused.value.response.body == b"Channel not found"


def test_deflate_offer_is_answered_by_silence(core):
    wire = Wire(core.port, compression="deflate")
    assert "Sec-WebSocket-Extensions" not in wire.ws.response.headers
    wire.hello().quiet()
    wire.close()


def test_both_pings_are_answered(wires):
    wire = wires()
    wire.send({"type": "ping"})
    assert wire.recv() == {"type": "pong"}
    assert wire.ws.ping(b"abc").wait(5)


@pytest.mark.parametrize(
    "frame",
    ["garbage", "", "   \n", "[]", "42", '{"type":"nosuch"}', "{}", '{"type":17}', '{"type":"registerfunction"}', '{"type":"registerfunction","id":7}',
     '{"type":"registertrigger","id":"x"}', '{"type":"invokefunction","invocation_id":"not-a-uuid","function_id":"f"}', '{"type":"ping"} {"type":"ping"}',
     '{"type":"invocationresult","invocation_id":"5f0c1a52-7a5e-4a3c-9d1e-3f0f6f0f7b11","error":"no body"}', '{"type":"invokefunction","data":NaN}',
     '{"type":"ping","x":"\\ud800"}', "[" * 200 + "]" * 200, '{"a":' * 200 + "1" + "}" * 200],
)
def test_broken_frames_harm_nobody(wires, frame):
    wire = wires()
    wire.send(frame)
    wire.quiet()


def test_binary_json_is_processed_like_text(wires):
    wire = wires()
    wire.send(b'{"type":"ping"}')
    assert wire.recv() == {"type": "pong"}


def test_escaped_keys_and_ids(wires):
    wire = wires()
    wire.register("esc::é\n\"x")
    wire.send('{"\\u0074ype":"invokefunction","invocation_id":"00000000-0000-4000-8000-000000000001","function_id":"esc::\\u00e9\\n\\"x","data":1}')
    call = wire.expect("invokefunction")
    assert call["function_id"] == 'esc::é\n"x'
    wire.answer(call, "ok")
    assert wire.expect("invocationresult")["result"] == "ok"


@pytest.mark.parametrize("size", [100, 126, 65_535, 65_536, 1_048_576, 30 * 1024 * 1024, 60 * 1024 * 1024])
def test_large_payloads_return_unchanged(wires, size):
    """Item 8. Sent in fragments of at most 1 MiB, as the 0.25 SDKs do, and returned likewise."""
    caller, worker = wires(), wires()
    name = f"big::{size}"
    worker.register(name)
    worker.sync()
    text = ("é" * (size // 2))[: size // 2] if size > 1000 else "x" * size
    invocation = str(uuid.uuid4())
    message = json.dumps({"type": "invokefunction", "invocation_id": invocation, "function_id": name, "data": text}, ensure_ascii=False)
    pieces = [message[i : i + 500_000] for i in range(0, len(message), 500_000)]
    caller.ws.send(iter(pieces))
    call = worker.expect("invokefunction", timeout=60)
    assert call["data"] == text
    worker.answer(call, call["data"])
    assert caller.result_of(invocation, timeout=60)["result"] == text


def test_control_frames_between_fragments(core):
    """A ping inside a fragmented message is answered before the message is complete."""
    raw = RawSocket(core.port)
    raw.frame(0x1, b'{"type":', fin=False)
    raw.frame(0x9, b"mid")
    assert raw.read_frame() == (0xA, b"mid")
    raw.frame(0x0, b'"pi', fin=False)
    raw.frame(0x0, b'ng"}')
    assert raw.read_frame() == (0x1, b'{"type":"pong"}')
    raw.close()


@pytest.mark.parametrize(
    "code, send",
    [
        (1002, lambda r: r.frame(0x1, b"{}", mask=False)),
        (1002, lambda r: r.frame(0x1, b"{}", rsv=4)),
        (1002, lambda r: r.frame(0x3, b"")),
        (1002, lambda r: r.frame(0xB, b"")),
        (1002, lambda r: r.frame(0x9, b"", fin=False)),
        (1002, lambda r: r.frame(0x9, b"x" * 126)),
        (1002, lambda r: r.frame(0x0, b"x")),
        (1002, lambda r: (r.frame(0x1, b"{", fin=False), r.frame(0x1, b"}"))),
        (1002, lambda r: r.frame(0x1, b"{}", length=b"\x7e\x00\x02")),
        (1002, lambda r: r.frame(0x8, b"\x03")),
        (1002, lambda r: r.frame(0x8, struct.pack(">H", 1005))),
        (1007, lambda r: r.frame(0x1, b'{"type":"\xff\xfe"}')),
        (1007, lambda r: r.frame(0x1, b"\xc0\x80")),
        (1009, lambda r: r.frame(0x1, b"", length=b"\x7f" + struct.pack(">Q", 1 << 40))),
        (1009, lambda r: r.frame(0x1, b"", length=b"\x7f" + struct.pack(">Q", (64 << 20) + 1))),
    ],
)
def test_protocol_violations_end_with_their_code(core, code, send):
    raw = RawSocket(core.port)
    send(raw)
    assert raw.close_code() == code
    raw.close()


def test_clean_close_is_echoed(core):
    raw = RawSocket(core.port)
    raw.frame(0x8, struct.pack(">H", 1000))
    assert raw.close_code() == 1000
    raw.close()


def test_byte_by_byte(core):
    raw = RawSocket(core.port)
    message = b'{"type":"ping"}'
    key = b"\x01\x02\x03\x04"
    wire = bytes([0x81, 0x80 | len(message)]) + key + bytes(b ^ key[i % 4] for i, b in enumerate(message))
    for byte in wire:
        raw.socket.sendall(bytes([byte]))
    assert raw.read_frame() == (0x1, b'{"type":"pong"}')
    raw.close()


def test_telemetry_frames_get_no_reply(wires):
    wire = wires()
    for frame in (b'OTLP{"resourceSpans":[]}', b"MTRC{nope", b"LOGS\xff\xfe", b"OTLP"):
        wire.send(frame)
    wire.quiet()


def test_otel_endpoint_is_no_worker(core, wires):
    wire = wires()
    before = wire.call("engine::workers::list", {})["workers"]
    otel = Wire(core.port, path="/otel")
    otel.send(b'OTLP{"resourceSpans":[]}')
    otel.send('{"type":"ping"}')
    assert otel.ws.ping(b"x").wait(5)
    with pytest.raises(TimeoutError):
        otel.ws.recv(timeout=0.2)
    after = wire.call("engine::workers::list", {})["workers"]
    assert {w["id"] for w in after} == {w["id"] for w in before}
    otel.close()


def test_handshake_deadline():
    with fleet(manager={"handshake_timeout_ms": 200}) as it:
        slow = socket.create_connection(("127.0.0.1", it.port), timeout=10)
        slow.sendall(b"GET / HTTP/1.1\r\n")
        assert slow.recv(100) == b""


def test_silent_peer_is_dropped_and_pinged_before():
    with fleet(manager={"ping_interval_ms": 300, "silence_timeout_ms": 2500}) as it:
        raw = RawSocket(it.port)
        assert raw.read_frame()[0] == 0x9
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                raw.read_frame()
        # A library client answers pings by itself and stays.
        wire = it.connect()
        wait_for(lambda: "silent worker was dropped" in it.output(), "a log line about the silent peer")
        wire.quiet()
        wire.close()


def test_shutdown_does_not_look_like_a_clean_end():
    """Item 11: Python SDKs up to 0.23 never reconnect after 1000, 1001 or no code."""
    with fleet() as it:
        wire = it.connect()
        it.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as ended:
            wire.recv()
        assert ended.value.rcvd is None or ended.value.rcvd.code == 1012


def test_connection_limit():
    with fleet(manager={"max_connections": 2}) as it:
        a = it.connect()
        b = it.connect()
        from websockets.exceptions import InvalidStatus

        with pytest.raises(InvalidStatus) as refused:
            Wire(it.port)
        assert refused.value.response.status_code == 503
        assert b"max_connections" in refused.value.response.body
        a.close()
        b.close()
