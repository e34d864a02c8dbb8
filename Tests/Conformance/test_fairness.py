"""One peer's burst, silence or hunger is its own affair: the others go on, and time in which the engine did not run is nobody's silence."""

import contextlib
import json
import os
import signal

import pytest
from websockets.exceptions import ConnectionClosed

from processes import settle
from wire import BUILTIN_SECRET, RawSocket, Wire, fleet, metrics, wait_for

LISTINGS = 2_500


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    path = tmp_path_factory.mktemp("secret") / "token"
    path.write_text(BUILTIN_SECRET)
    return {"III_BUILTIN_TOKEN_FILE": str(path)}


@pytest.fixture(scope="module")
def crowded(secret):
    """An engine with 10,000 functions and a high-water mark below the length of their listing."""
    with fleet(manager={"outbound_high_water_bytes": 500_000}, env=secret) as it:
        owner = it.connect()
        for i in range(9_990):
            owner.register(f"crowd::f{i:05d}", description="one of many functions of this worker")
        owner.sync()
        yield it
        owner.close()


def burst(it, calls: int = LISTINGS, **data) -> RawSocket:
    """Sends that many listing calls and reads nothing."""
    raw = RawSocket(it.port)
    for i in range(calls):
        message = {"type": "invokefunction", "invocation_id": f"00000000-0000-4000-8000-{i:012d}", "function_id": "engine::functions::list", "data": data}
        raw.frame(0x1, json.dumps(message).encode())
    return raw


def pair_works(it, calls: int = 100):
    """Another pair of workers calls each other as if nothing were the matter."""
    caller, worker = it.connect(), it.connect()
    function = f"pair::{worker.worker_id}"
    worker.register(function)
    worker.sync()
    for i in range(calls):
        invocation = caller.invoke(function, [i])
        worker.answer(worker.expect("invokefunction"), i)
        assert caller.result_of(invocation)["result"] == i
    caller.close()
    worker.close()


def test_a_burst_of_listings_does_not_stop_the_others(crowded):
    """They finish long before the listings would: those are still being made when the pair is done."""
    before = metrics(crowded)["callers_held"]
    raw = burst(crowded)
    pair_works(crowded)
    assert metrics(crowded)["callers_held"] > before
    # What it has not read does not pile up.
    assert metrics(crowded)["queued_bytes"] < 20_000_000
    raw.close()


def test_a_burst_of_searches_does_not_stop_the_others(crowded):
    """Dear to make although little comes of it."""
    raw = burst(crowded, search="no function has this in its description")
    pair_works(crowded)
    raw.close()


def test_every_listing_of_a_burst_arrives_once_it_is_read(crowded):
    raw = burst(crowded, calls=20, prefix="crowd::f000")
    answers = [json.loads(raw.read_frame()[1]) for _ in range(20)]
    assert [a["invocation_id"][-12:] for a in answers] == [f"{i:012d}" for i in range(20)]
    assert all(len(a["result"]["functions"]) == 100 for a in answers)
    raw.close()


def test_what_a_caller_sent_before_it_left_is_done(crowded):
    """Its turns go on when it is gone: a registration behind a dear burst still reaches those who watch, and a call its callee."""
    worker = crowded.connect()
    worker.register("fairness::last")
    worker.sync()
    raw = burst(crowded, calls=30, search="nothing")
    raw.frame(0x1, b'{"type":"invokefunction","function_id":"fairness::last","data":{"x":1},"action":{"type":"void"}}')
    raw.close()
    assert worker.expect("invokefunction")["data"]["x"] == 1
    worker.close()


def test_a_big_registration_is_refused_by_its_length(crowded):
    wire = crowded.connect()
    before = metrics(crowded)["registrations_refused"]
    wire.register("fairness::big", metadata={"numbers": [1] * 2_000_000})
    wire.quiet()
    assert wire.error_of("fairness::big")["code"] == "function_not_found"
    assert metrics(crowded)["registrations_refused"] == before + 1
    assert "max_registration_bytes" in crowded.output()
    wire.close()


def test_a_big_input_of_an_engine_function_is_refused_by_its_length(crowded):
    wire = crowded.connect()
    error = wire.error_of("engine::workers::register", {"telemetry": [1] * 2_000_000})
    assert error["code"] == "payload_too_large" and "max_registration_bytes" in error["message"]
    wire.close()


def test_a_stopped_engine_takes_nobody_for_silent(secret):
    """A laptop's sleep, a debugger, a slow disk: 20 s without running restart no healthy built-in and drop no worker."""
    with fleet(http={}, manager={"silence_timeout_ms": 4_000, "ping_interval_ms": 1_000}, env=secret) as it:
        http = it.pid_of("iii-http")
        worker = it.connect()
        worker.register("awake::f")
        worker.sync()
        dead = RawSocket(it.port)
        before = metrics(it)
        os.kill(it.process.pid, signal.SIGSTOP)
        # The fault itself: longer than the silence after which a built-in is restarted.
        settle(20)
        os.kill(it.process.pid, signal.SIGCONT)
        wait_for(lambda: metrics(it)["own_stalls"] > before["own_stalls"], "the engine to notice")
        caller = it.connect()
        invocation = caller.invoke("awake::f", 1)
        worker.answer(worker.expect("invokefunction"), 2)
        assert caller.result_of(invocation)["result"] == 2
        # Judged again from here on: one that says nothing is dropped, the built-in is not.
        wait_for(lambda: metrics(it)["silent_peers_dropped"] > before["silent_peers_dropped"], "the silent one to be dropped")
        assert metrics(it)["silent_peers_dropped"] == before["silent_peers_dropped"] + 1
        assert it.pid_of("iii-http") == http and it.rows()["iii-http"]["restarts"] == 0
        for wire in (worker, caller, dead):
            wire.close()


def test_telemetry_sockets_count_are_pinged_and_time_out(secret):
    with fleet(manager={"silence_timeout_ms": 3_000, "ping_interval_ms": 1_000}, env=secret) as it:
        answering = Wire(it.port, "/otel")
        silent = RawSocket(it.port, path="/otel", greets=False)
        assert wait_for(lambda: metrics(it)["telemetry_connections"] == 2, "both to count")
        assert silent.read_frame()[0] == 0x9, "it is pinged"
        wait_for(lambda: metrics(it)["telemetry_connections"] == 1, "the silent one to be dropped")
        it.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            answering.ws.recv(timeout=15)
        assert closed.value.rcvd.code == 1012
        assert it.process.wait(15) == 0


def test_telemetry_sockets_count_against_max_connections(secret):
    with fleet(manager={"max_connections": 8}, env=secret) as it:
        sockets = []
        with pytest.raises(Exception, match="503"):
            for _ in range(9):
                sockets.append(Wire(it.port, "/otel"))
        assert len(sockets) <= 8
        for wire in sockets:
            wire.close()


def test_unfinished_messages_of_all_are_bounded(secret):
    """Whoever left a big message unfinished for longest makes room; a worker whose messages are whole is not touched."""
    with fleet(manager={"inbound_total_bytes": 8_000_000}, env=secret) as it:
        worker = it.connect()
        worker.register("whole::f")
        worker.sync()
        raws = [RawSocket(it.port) for _ in range(6)]
        for number, raw in enumerate(raws):
            with contextlib.suppress(OSError):
                raw.socket.sendall(b"\x81\xff" + (3_000_000).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 2_000_000)
            # One after the other also for the engine, so that it agrees on who has waited longest.
            wait_for(
                lambda: (now := metrics(it))["unhandled_bytes"] + 2_000_000 * now["peers_dropped_for_room"] >= 2_000_000 * (number + 1),
                "the engine to have read them")
        wait_for(lambda: metrics(it)["peers_dropped_for_room"] >= 2, "the first to be dropped")
        wait_for(lambda: metrics(it)["unhandled_bytes"] <= 8_000_000, "the total to hold")
        # The newest is still there and may finish.
        raws[-1].socket.sendall(b"x" * 1_000_000)
        raws[-1].frame(0x1, b'{"type":"ping"}')
        assert raws[-1].read_frame() == (0x1, b'{"type":"pong"}')
        assert metrics(it)["peers_dropped_for_room"] < 6
        worker.quiet()
        for wire in (*raws, worker):
            wire.close()
