"""Back-pressure: a worker that does not read costs its feeders time and itself its connection, and nobody else anything."""

import contextlib
import json
import threading

import pytest

from wire import BUILTIN_SECRET, Fleet, RawSocket, Wire, builtin, fleet, metrics, wait_for


@pytest.fixture(scope="module")
def limits(tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.write_text(BUILTIN_SECRET)
    manager = {"outbound_high_water_bytes": 200_000, "outbound_max_bytes": 3_000_000, "write_stall_timeout_ms": 3_000}
    with fleet(manager=manager, env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
        yield it


def silent_worker(it, function: str) -> RawSocket:
    """Registers a function and then reads nothing more."""
    raw = RawSocket(it.port)
    raw.frame(0x1, json.dumps({"type": "registerfunction", "id": function}).encode())
    raw.frame(0x1, b'{"type":"ping"}')
    assert raw.read_frame() == (0x1, b'{"type":"pong"}')
    return raw


def flood(wire: Wire, function: str, count: int, size: int = 20_000):
    data = "x" * size
    for _ in range(count):
        wire.invoke(function, data)


def test_whoever_feeds_a_slow_worker_is_paused_and_others_are_not(limits):
    before = metrics(limits)
    slow = silent_worker(limits, "slow::a")
    feeder, caller, worker = limits.connect(), limits.connect(), limits.connect()
    worker.register("fast::a")
    worker.sync()
    # The kernel's buffers take some megabytes before ours begin to fill.
    thread = threading.Thread(target=flood, args=(feeder, "slow::a", 1500), daemon=True)
    thread.start()
    wait_for(lambda: metrics(limits)["peers_paused"] > before["peers_paused"], "the feeder to be paused")
    for i in range(50):
        invocation = caller.invoke("fast::a", [i])
        worker.answer(worker.expect("invokefunction"), i)
        assert caller.result_of(invocation)["result"] == i
    # The slow one reads again: everything arrives and the feeder is resumed.
    seen = 0
    while seen < 1500:
        opcode, payload = slow.read_frame()
        if opcode == 0x1 and b"invokefunction" in payload[:30]:
            seen += 1
    thread.join(20)
    assert not thread.is_alive()
    feeder.quiet()
    for it in (slow, feeder, caller, worker):
        it.close()


def test_a_worker_that_takes_nothing_is_dropped_and_its_calls_fail(limits):
    before = metrics(limits)
    slow = silent_worker(limits, "slow::b")
    feeder = limits.connect()
    invocation = feeder.invoke("slow::b", "first")
    thread = threading.Thread(target=flood, args=(feeder, "slow::b", 1500), daemon=True)
    thread.start()
    assert feeder.result_of(invocation)["error"]["code"] == "invocation_stopped"
    assert metrics(limits)["slow_peers_dropped"] > before["slow_peers_dropped"]
    thread.join(20)
    feeder.close()
    slow.close()


def test_the_hard_cap_drops_a_peer(limits):
    """Many light feeders stay below their allowance each; the cap holds all the same."""
    slow = silent_worker(limits, "slow::c")
    callers = [limits.connect() for _ in range(60)]
    data = "x" * 60_000
    invocations = []
    for _ in range(8):
        for caller in callers:
            invocations.append((caller, caller.invoke("slow::c", data)))
    caller, invocation = invocations[0]
    assert caller.result_of(invocation)["error"]["code"] == "invocation_stopped"
    for it in callers:
        it.close()
    slow.close()


def test_telemetry_waits_for_its_consumer_within_a_bound(tmp_path):
    """With the entry configured, the newest frames are kept while it is away and handed over when it is ready."""
    secret = tmp_path / "token"
    secret.write_text(BUILTIN_SECRET)
    script = tmp_path / "sleeper"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    workers = [{"name": "iii-observability", "exec": str(script), "startup_timeout_ms": 600_000}]
    it = Fleet(tmp_path, workers=workers, manager={"telemetry_buffer_bytes": 20_000}, env={"III_BUILTIN_TOKEN_FILE": str(secret)})
    try:
        it.spawn()
        wire = wait_for(lambda: connected(it), "the worker port")
        for i in range(100):
            wire.send(b"LOGS" + json.dumps({"resourceLogs": [i, "x" * 1000]}).encode())
        wire.quiet()
        consumer = builtin(it, "iii-observability")
        consumer.send({"type": "invokefunction", "function_id": "core::builtin::ready", "data": {"name": "iii-observability"}})
        frames = [consumer.ws.recv(timeout=10)]
        while len(frames) < 19:
            frames.append(consumer.ws.recv(timeout=10))
        assert all(f.startswith(b"LOGS") for f in frames)
        assert [json.loads(f[4:])["resourceLogs"][0] for f in frames] == list(range(81, 100))
        wire.send(b'OTLP{"resourceSpans":[]}')
        assert consumer.ws.recv(timeout=10) == b'OTLP{"resourceSpans":[]}'
        wire.close()
        consumer.close()
    finally:
        it.kill()


def connected(it):
    try:
        return it.connect()
    except OSError:
        return None


def enqueue(wire: Wire, data) -> str:
    return wire.invoke("anything", data, action={"type": "enqueue", "queue": "q"})


@pytest.fixture
def queue_provider(limits):
    """A queue built-in that takes its first messages and then reads nothing more."""
    raw = RawSocket(limits.port, headers={"x-iii-builtin-token": BUILTIN_SECRET, "x-iii-builtin-name": "iii-queue"})
    raw.frame(0x1, json.dumps({"type": "registerfunction", "id": "engine::queue::enqueue"}).encode())
    raw.frame(0x1, b'{"type":"ping"}')
    assert raw.read_frame() == (0x1, b'{"type":"pong"}')
    yield raw
    raw.close()


def test_enqueuing_into_a_slow_queue_provider_pauses_those_who_do(limits, queue_provider):
    before = metrics(limits)
    feeder = limits.connect()

    def feed():
        for _ in range(1500):
            enqueue(feeder, "x" * 20_000)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    wait_for(lambda: metrics(limits)["peers_paused"] > before["peers_paused"], "the feeder to be paused")
    assert metrics(limits)["slow_peers_dropped"] == before["slow_peers_dropped"]
    seen = 0
    while seen < 1500:
        opcode, payload = queue_provider.read_frame()
        seen += opcode == 0x1 and b"invokefunction" in payload[:30]
    thread.join(20)
    assert not thread.is_alive()
    feeder.close()


def test_light_feeders_never_cost_a_queue_provider_its_connection(limits, queue_provider):
    """Each stays below its allowance; what the queue cannot take is refused with an error that says to try again."""
    before = metrics(limits)
    callers = [limits.connect() for _ in range(60)]
    sent = [(caller, enqueue(caller, "x" * 60_000)) for _ in range(8) for caller in callers]
    wait_for(lambda: metrics(limits)["overloads_refused"] > before["overloads_refused"], "some to be refused")
    assert metrics(limits)["slow_peers_dropped"] == before["slow_peers_dropped"]

    def refusal():
        # Whose it is depends on what the kernel's buffers take; what the queue had taken before may end by its time.
        for caller in callers:
            with contextlib.suppress(AssertionError):
                result = caller.expect("invocationresult", timeout=0.02)
                if result["error"]["code"] == "worker_overloaded":
                    return caller, result

    caller, refused = wait_for(refusal, "an enqueuer to be refused")
    assert "try again" in refused["error"]["message"] and (caller, refused["invocation_id"]) in sent
    for caller in callers:
        caller.close()


def test_enqueuing_obeys_max_in_flight(tmp_path):
    secret = tmp_path / "token"
    secret.write_text(BUILTIN_SECRET)
    with fleet(manager={"max_in_flight": 10}, env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
        provider = builtin(it, "iii-queue")
        provider.register("engine::queue::enqueue")
        provider.sync()
        wire = it.connect()
        invocations = [enqueue(wire, i) for i in range(11)]
        assert wire.result_of(invocations[10])["error"]["code"] == "too_many_in_flight"
        first = provider.expect("invokefunction")
        provider.answer(first, {})
        assert "messageReceiptId" in wire.result_of(invocations[0])["result"]
        again = enqueue(wire, 11)
        for _ in range(10):
            provider.answer(provider.expect("invokefunction"), {})
        assert "messageReceiptId" in wire.result_of(again)["result"]
        wire.close()
        provider.close()


def test_a_fan_out_of_a_builtin_never_costs_a_slow_worker_its_connection(limits):
    before = metrics(limits)
    slow = silent_worker(limits, "slow::fan")
    fan = builtin(limits, "iii-stream")
    invocations = [fan.invoke("slow::fan", "x" * 20_000) for _ in range(900)]
    wait_for(lambda: metrics(limits)["overloads_refused"] > before["overloads_refused"], "some to be refused")
    assert fan.result_of(invocations[-1])["error"]["code"] == "worker_overloaded"
    assert metrics(limits)["slow_peers_dropped"] == before["slow_peers_dropped"]
    # Everything that was accepted arrives.
    refused = {m["invocation_id"] for m in fan.sync() if m["type"] == "invocationresult"} | {invocations[-1]}
    seen = 0
    while seen < 900 - len(refused):
        opcode, payload = slow.read_frame()
        seen += opcode == 0x1 and b"invokefunction" in payload[:30]
    slow.close()
    fan.close()


def test_a_slow_observability_process_loses_telemetry_and_not_its_connection(limits):
    consumer = RawSocket(limits.port, headers={"x-iii-builtin-token": BUILTIN_SECRET, "x-iii-builtin-name": "iii-observability"})
    before = metrics(limits)
    wire = limits.connect()
    frame = b"OTLP" + json.dumps({"resourceSpans": ["x" * 50_000]}).encode()
    for _ in range(400):
        wire.send(frame)
    wire.quiet()
    after = wait_for(lambda: (m := metrics(limits))["telemetry_dropped"] > before["telemetry_dropped"] and m, "frames to be dropped")
    assert after["slow_peers_dropped"] == before["slow_peers_dropped"]
    # What counts as relayed is what it gets, once it reads.
    dropped = after["telemetry_dropped"] - before["telemetry_dropped"]
    got = 0
    while got < 400 - dropped:
        got += consumer.read_frame()[1].startswith(b"OTLP")
    wait_for(lambda: metrics(limits)["telemetry_relayed"] - before["telemetry_relayed"] == got, "all of them to be counted")
    assert metrics(limits)["telemetry_dropped"] - before["telemetry_dropped"] == dropped
    wire.close()
    consumer.close()
