"""Channels between raw sockets, their limits and their ends (docs/reference/worker-protocol.md#channels)."""

import hashlib
import hmac
import socket
import struct
import threading
import time
import uuid

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from wire import BUILTIN_SECRET, Wire, builtin, fleet, metrics, wait_for


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.write_text(BUILTIN_SECRET)
    manager = {"max_channels_per_worker": 40, "channel_buffer_bytes": 300_000, "channels_buffer_bytes": 2_000_000}
    with fleet(manager=manager, env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
        yield it


def end(core, ref: dict, **options):
    options = {"compression": None, "max_size": None, **options}
    return connect(f"ws://127.0.0.1:{core.port}/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={ref['direction']}", **options)


@pytest.fixture
def channel(wires):
    """`channel(buffer_size=…)` → (writer ref, reader ref), owned by a worker that lives until the test ends."""
    owner = wires()

    def create(**options):
        made = owner.call("engine::channels::create", options)
        return made["writer"], made["reader"]

    create.owner = owner
    return create


def closing(ws) -> tuple[int | None, str]:
    """Reads to the end: the close code and reason the peer sent, None when it sent none."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ws.recv(timeout=15)
    frame = closed.value.rcvd
    return (None, "") if frame is None or frame.code == 1005 else (frame.code, frame.reason)


def everything(ws) -> list:
    received = []
    try:
        while True:
            received.append(ws.recv(timeout=15))
    except ConnectionClosed:
        return received


def refused(core, ref: dict) -> int:
    with pytest.raises(InvalidStatus) as error:
        end(core, ref)
    return error.value.response.status_code


def test_references_share_id_and_key(channel):
    writer, reader = channel()
    assert {**writer, "direction": "read"} == reader and writer["direction"] == "write"
    uuid.UUID(writer["channel_id"]), uuid.UUID(writer["access_key"])


@pytest.mark.parametrize("size, valid", [(None, True), (1, True), (0, True), (10_000, True), (-5, True), ("x", False), (1.5, False)])
def test_buffer_size_is_clamped_or_refused(channel, size, valid):
    if valid:
        channel(buffer_size=size)
    else:
        assert channel.owner.error_of("engine::channels::create", {"buffer_size": size})["code"] == "deserialization_error"


def test_messages_written_before_the_reader_came_arrive_in_order_and_kind_and_then_the_close(core, channel):
    writer, reader = channel()
    messages = ["text", b"bytes", "", b"", "ü" * 1000, bytes(range(256)) * 300]
    with end(core, writer) as w:
        for message in messages:
            w.send(message)
        w.close(1000, "stream_complete")
    with end(core, reader) as r:
        assert everything(r) == messages
        assert r.protocol.close_rcvd.code == 1005


def test_both_ends_open_messages_pass_at_once(core, channel):
    writer, reader = channel()
    with end(core, reader) as r, end(core, writer) as w:
        for n in range(200):
            w.send(f"{n}")
            assert r.recv(timeout=15) == f"{n}"
        w.close()
        assert closing(r) == (None, "")


def test_fragments_are_joined(core, channel):
    writer, reader = channel()
    with end(core, reader) as r, end(core, writer) as w:
        w.send(iter(["a", "b", "c"]))
        assert r.recv(timeout=15) == "abc"


def test_wrong_key_and_unknown_id_are_404(core, channel):
    writer, reader = channel()
    assert refused(core, {**writer, "access_key": str(uuid.uuid4())}) == 404
    assert refused(core, {**writer, "access_key": writer["access_key"][:-1]}) == 404
    assert refused(core, {**writer, "channel_id": str(uuid.uuid4())}) == 404


def test_unknown_query_members_and_headers_are_tolerated(core, channel):
    writer, reader = channel()
    with connect(
        f"ws://127.0.0.1:{core.port}/ws/channels/{writer['channel_id']}?token=t&x&key={writer['access_key']}&dir=write",
        additional_headers={"Authorization": "Bearer t"}) as w, end(core, reader) as r:
        w.send("x")
        assert r.recv(timeout=15) == "x"


@pytest.mark.parametrize("which", [0, 1], ids=["writer", "reader"])
def test_an_end_that_is_taken_opens_and_is_closed_at_once(core, channel, which):
    refs = channel()
    with end(core, refs[which]), end(core, refs[which]) as second:
        assert closing(second) == (None, "")
    # The first one has left and its end stays taken for good.
    if which == 0:
        with end(core, refs[1]) as reader:
            assert closing(reader) == (None, "")
    else:
        assert refused(core, refs[0]) == 404


def test_a_reader_that_does_not_read_stalls_its_writer_and_nobody_else(core, channel, wires):
    writer, reader = channel(buffer_size=8)
    before = metrics(core)
    with end(core, writer) as w:
        sent = 0

        def write():
            nonlocal sent
            try:
                while True:
                    w.send(b"x" * 60_000)
                    sent += 1
            except ConnectionClosed:
                pass

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        wait_for(lambda: metrics(core)["channel_writers_paused"] > before["channel_writers_paused"], "the writer is stalled")
        # What the channel holds is bounded by its own limits and one burst of reads.
        assert metrics(core)["channel_waiting_bytes"] < 300_000 + 1_000_000
        caller, callee = wires(), wires()
        callee.register("chan::echo")
        callee.sync()
        call = caller.invoke("chan::echo", 1)
        callee.answer(callee.expect("invokefunction"), 2)
        assert caller.result_of(call)["result"] == 2
        with end(core, reader) as r:
            for _ in range(200):
                assert len(r.recv(timeout=15)) == 60_000
        thread.join(15)
        assert not thread.is_alive(), "the writer learns that its reader is gone"
    wait_for(lambda: metrics(core)["channel_waiting_bytes"] == 0, "nothing is kept")


def test_a_reader_that_leaves_is_told_to_the_writer_at_once(core, channel):
    writer, reader = channel()
    with end(core, writer) as w:
        end(core, reader).close()
        assert closing(w)[0] == 1011


def test_a_writer_that_is_torn_off_is_told_to_the_reader_behind_its_data(core, channel):
    writer, reader = channel()
    w = end(core, writer)
    w.send(b"partial")
    with end(core, reader) as r:
        assert r.recv(timeout=15) == b"partial"
        w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        w.socket.shutdown(socket.SHUT_RDWR)
        w.socket.close()
        assert closing(r)[0] == 1011


def test_a_writer_that_closes_with_an_error_code_counts_as_torn_off(core, channel):
    writer, reader = channel()
    with end(core, writer) as w, end(core, reader) as r:
        w.close(1011, "out of data")
        assert closing(r)[0] == 1011


def test_invalid_utf8_in_text_ends_the_writer_with_1007(core, channel):
    writer, reader = channel()
    with end(core, reader) as r, end(core, writer) as w:
        w.send(b"\xff\xfe", text=True)
        assert closing(w)[0] == 1007
        assert closing(r)[0] == 1011


def test_what_a_reader_sends_is_ignored(core, channel):
    writer, reader = channel()
    with end(core, reader) as r, end(core, writer) as w:
        r.send("hello?")
        w.send("x")
        assert r.recv(timeout=15) == "x"
        w.close()


def test_large_messages_pass_unchanged(core, channel):
    writer, reader = channel()
    message = bytes(range(256)) * 20_000
    with end(core, reader) as r, end(core, writer) as w:
        w.send(message)
        assert r.recv(timeout=15) == message


def test_the_owner_takes_unopened_ends_with_it(core):
    owner = Wire(core.port).hello()
    made = [owner.call("engine::channels::create", {}) for _ in range(4)]
    with end(core, made[1]["writer"]) as lonely_writer, end(core, made[2]["reader"]) as lonely_reader, end(core, made[3]["writer"]) as w, end(core, made[3]["reader"]) as r:
        owner.close()
        assert closing(lonely_writer)[0] == 1011
        assert closing(lonely_reader)[0] == 1011
        assert refused(core, made[0]["writer"]) == 404
        w.send("both ends are in use: it lives on")
        assert r.recv(timeout=15).startswith("both")


def test_nothing_is_left_behind(core, channel):
    for _ in range(30):
        writer, reader = channel()
        with end(core, writer) as w, end(core, reader) as r:
            w.send(b"x")
            w.close()
            everything(r)
    wait_for(lambda: (lambda m: m["channels"] == 0 and m["channel_connections"] == 0)(metrics(core)), "all channels are gone")


def test_a_worker_owns_at_most_max_channels_per_worker(core, wires):
    before = metrics(core)["channel_limit_reached"]
    owner = wires()
    for _ in range(40):
        owner.call("engine::channels::create", {})
    error = owner.error_of("engine::channels::create", {})
    assert error["code"] == "too_many_channels" and "max_channels_per_worker" in error["message"]
    assert metrics(core)["channel_limit_reached"] == before + 1


def test_all_channels_together_are_bounded_and_no_writer_starves(core, channel):
    """30 writers without readers have 2.5 MB each; all together may hold 2 MB, and a read burst beside its share each."""
    pairs = [channel() for _ in range(30)]
    writers = [end(core, writer) for writer, _ in pairs]
    try:
        def write(ws):
            for _ in range(100):
                ws.send(b"y" * 25_000)
            ws.close()

        threads = [threading.Thread(target=write, args=(ws,), daemon=True) for ws in writers]
        for thread in threads:
            thread.start()
        wait_for(lambda: metrics(core)["channel_waiting_bytes"] > 1_900_000, "much is waiting")
        # One burst of reads is at most 8 times 64 KiB.
        assert metrics(core)["channel_waiting_bytes"] < 2_000_000 + 30 * (65_536 + 8 * 65_536 + 25_000)
        for _, reader in pairs:
            with end(core, reader) as r:
                assert sum(map(len, everything(r))) == 2_500_000
        for thread in threads:
            thread.join(15)
            assert not thread.is_alive()
    finally:
        for ws in writers:
            ws.close()


# References minted by a built-in.


def minted(key: str, prefix: str, counter: int, suffix: str, lifetime: float = 60) -> dict:
    base = f"h1-{int((time.time() + lifetime) * 1000):012x}-{prefix}{counter:016x}"
    mac = hmac.new(key.encode(), base.encode(), hashlib.sha256).hexdigest()
    half, direction = (mac[:32], "read") if suffix == "b" else (mac[32:], "write")
    return {"channel_id": f"{base}-{suffix}", "access_key": half, "direction": direction}


@pytest.fixture
def minter(core):
    wire = builtin(core, "mint")
    wire.key = wire.call("core::builtin::hello", {"name": "mint"})["channel_key"]
    wire.prefix = uuid.uuid4().hex[:16]
    wire.register("builtin::mint::channel_opened")
    assert wire.call("core::channels::announce", {"prefix": wire.prefix, "function_id": "builtin::mint::channel_opened"}) == {}
    yield wire
    wire.close()


def test_a_minted_reference_becomes_a_channel_when_somebody_opens_it(core, minter):
    ref = minted(minter.key, minter.prefix, 1, "r")
    assert metrics(core)["channels"] == 0
    with end(core, ref) as w:
        w.send("early")
        told = minter.expect("invokefunction")["data"]
        assert told == ref
        with end(core, {**ref, "direction": "read"}) as r:
            assert r.recv(timeout=15) == "early"
            w.close()
            assert closing(r) == (None, "")


def test_a_forged_expired_or_unannounced_reference_is_404(core, minter):
    good = minted(minter.key, minter.prefix, 2, "r")
    assert refused(core, {**good, "access_key": minted(minter.key, minter.prefix, 2, "b")["access_key"]}) == 404
    assert refused(core, {**good, "channel_id": good["channel_id"].replace("-r", "-b")}) == 404
    assert refused(core, minted("wrong key", minter.prefix, 3, "r")) == 404
    assert refused(core, minted(minter.key, minter.prefix, 4, "r", lifetime=-1)) == 404
    assert refused(core, minted(minter.key, "0" * 16, 5, "r")) == 404


def test_a_retired_reference_ends_the_peer(core, minter):
    ref = minted(minter.key, minter.prefix, 6, "r")
    with end(core, ref) as w:
        minter.expect("invokefunction")
        minter.call("core::channels::retire", {"channel_ids": [ref["channel_id"], "unknown"]})
        assert closing(w)[0] == 1011


def test_references_die_with_their_minter(core, minter):
    ref = minted(minter.key, minter.prefix, 7, "r")
    minter.close()
    wait_for(lambda: refused(core, ref) == 404, "the reference is void")


def test_the_private_channel_functions_are_for_builtins_only(core, wires):
    for function in ["core::channels::announce", "core::channels::retire"]:
        assert wires().error_of(function, {})["code"] == "function_not_found"


@pytest.mark.parametrize("data", [{}, {"prefix": "short", "function_id": "x"}, {"prefix": "0" * 16}])
def test_a_malformed_announcement_says_what_is_missing(minter, data):
    error = minter.error_of("core::channels::announce", data)
    assert error["code"] == "INVALID_ARGUMENTS" and "prefix" in error["message"]
