"""What counts items also counts bytes: nothing a peer registers, keeps waiting or leaves behind grows without bound."""

import json

import pytest

from processes import script
from wire import BUILTIN_SECRET, Fleet, RawSocket, builtin, fleet, metrics, wait_for


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.write_text(BUILTIN_SECRET)
    manager = {
        "registered_bytes_per_worker": 100_000,
        "registered_bytes": 150_000,
        "max_durable_triggers": 20,
        "max_triggers_per_worker": 15,
        "max_engine_calls": 5,
        "trace_context_buffer_bytes": 5_000,
    }
    with fleet(manager=manager, env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
        yield it


def test_descriptions_of_one_worker_are_bounded_in_bytes_and_its_connection_lives(bounded):
    wire = bounded.connect()
    for i in range(50):
        wire.register(f"bytes::f{i}", description="x" * 9_000)
    wire.quiet()
    after = metrics(bounded)
    assert 80_000 < after["registered_bytes"] <= 110_000
    assert "registered_bytes_per_worker (100000)" in bounded.output()
    assert len(wire.call("engine::functions::list", {"prefix": "bytes::"})["functions"]) == 10
    # What is given back may be used again.
    for i in range(10):
        wire.send({"type": "unregisterfunction", "id": f"bytes::f{i}"})
    wire.register("bytes::again", description="x" * 90_000)
    wire.sync()
    assert [f["function_id"] for f in wire.call("engine::functions::list", {"prefix": "bytes::"})["functions"]] == ["bytes::again"]
    wire.close()
    wait_for(lambda: metrics(bounded)["registered_bytes"] < 20_000, "all of it to be given back")


def test_registrations_of_all_are_bounded_in_bytes(bounded):
    wires = [bounded.connect() for _ in range(3)]
    for wire in wires:
        wire.register(f"all::{wire.worker_id}", description="x" * 70_000)
        wire.sync()
    wait_for(lambda: "registered_bytes (150000)" in bounded.output(), "the log says so")
    assert len(wires[0].call("engine::functions::list", {"prefix": "all::"})["functions"]) == 2
    for wire in wires:
        wire.close()


def test_a_refused_trigger_names_the_limit(bounded):
    wire = bounded.connect()
    trigger = wire.register_trigger("nobody", "f", config={"text": "x" * 110_000})
    refusal = wire.expect("triggerregistrationresult", id=trigger)
    assert refusal["error"]["code"] == "trigger_registration_failed" and "registered_bytes_per_worker" in refusal["error"]["message"]
    wire.close()


def test_a_report_of_a_worker_counts(bounded):
    wire = bounded.connect()
    error = wire.error_of("engine::workers::register", {"telemetry": "x" * 110_000})
    assert error["code"] == "payload_too_large" and "registered_bytes_per_worker" in error["message"]
    assert wire.call("engine::workers::register", {"name": "small"}) == {"success": True}
    wire.close()


def test_durable_triggers_count_against_their_maker_and_in_all(bounded):
    request = {"trigger_type": "nobody::durable", "function_id": "f", "config": {}}
    first, second, third = (bounded.connect() for _ in range(3))
    made = [first.call("engine::register_trigger", request)["id"] for _ in range(15)]
    error = first.error_of("engine::register_trigger", request)
    assert error["code"] == "trigger_registration_failed" and "max_triggers_per_worker" in error["message"]
    first.close()
    made += [second.call("engine::register_trigger", request)["id"] for _ in range(5)]
    error = second.error_of("engine::register_trigger", request)
    assert error["code"] == "trigger_registration_failed" and "max_durable_triggers" in error["message"]
    assert metrics(bounded)["durable_triggers"] == 20
    for trigger in made:
        assert third.call("engine::unregister_trigger", {"id": trigger}) == {"removed": True}
    assert metrics(bounded)["durable_triggers"] == 0
    for wire in (second, third):
        wire.close()


def test_engine_functions_under_way_are_bounded(bounded):
    """A provider that keeps its word for itself lets them wait."""
    provider, wire = bounded.connect(), bounded.connect()
    provider.register_type("slow::type")
    provider.sync()
    request = {"trigger_type": "slow::type", "function_id": "f", "config": {}}
    waiting = [wire.invoke("engine::register_trigger", request) for _ in range(5)]
    error = wire.error_of("engine::register_trigger", request)
    assert error["code"] == "too_many_in_flight" and "max_engine_calls" in error["message"]
    for _ in waiting:
        offer = provider.expect("registertrigger")
        provider.send({"type": "triggerregistrationresult", "id": offer["id"], "trigger_type": "slow::type", "function_id": "f"})
    for invocation in waiting:
        wire.call("engine::unregister_trigger", {"id": wire.result_of(invocation)["result"]["id"]})
    provider.close()
    wire.close()


def test_trace_contexts_of_calls_under_way_are_bounded(bounded):
    worker, caller = bounded.connect(), bounded.connect()
    worker.register("trace::f")
    worker.sync()
    before = metrics(bounded)["trace_contexts_dropped"]
    baggage = "k=" + "v" * 998
    invocations = [caller.invoke("trace::f", i, baggage=baggage) for i in range(8)]
    calls = [worker.expect("invokefunction") for _ in range(8)]
    assert all(call["baggage"] == baggage for call in calls), "the callee sees it in any case"
    assert 0 < metrics(bounded)["trace_context_bytes"] <= 5_100
    for call in calls:
        worker.answer(call, 1)
    echoed = ["baggage" in caller.result_of(invocation) for invocation in invocations]
    assert 0 < sum(echoed) < 8 and echoed == sorted(echoed, reverse=True)
    assert metrics(bounded)["trace_contexts_dropped"] - before == 8 - sum(echoed)
    assert metrics(bounded)["trace_context_bytes"] == 0
    # One that is longer than W3C allows is not kept either.
    invocation = caller.invoke("trace::f", 1, baggage="k=" + "v" * 9_000)
    worker.answer(worker.expect("invokefunction"), 1)
    assert "baggage" not in caller.result_of(invocation)
    worker.close()
    caller.close()


def test_held_calls_are_bounded_in_bytes(tmp_path):
    secret = tmp_path / "token"
    secret.write_text(BUILTIN_SECRET)
    idle = script(tmp_path / "idle", "exec sleep 600\n")
    workers = [{"name": "iii-state", "exec": str(idle), "startup_timeout_ms": 600_000}]
    it = Fleet(tmp_path, workers=workers, manager={"held_calls_buffer_bytes": 50_000}, env={"III_BUILTIN_TOKEN_FILE": str(secret)})
    try:
        it.spawn()
        state = wait_for(lambda: open_builtin(it), "the worker port")
        state.register("state::get")
        state.sync()
        state.close()
        caller = it.connect()
        wait_for(lambda: "state::get" not in [f["function_id"] for f in caller.call("engine::functions::list", {})["functions"]], "it to be gone")
        held = [caller.invoke("state::get", "x" * 20_000) for _ in range(2)]
        error = caller.error_of("state::get", "x" * 20_000)
        assert error["code"] == "function_unavailable" and "held_calls_buffer_bytes" in error["message"]
        assert 40_000 < metrics(it)["held_bytes"] <= 50_000
        state = open_builtin(it)
        state.register("state::get")
        for _ in held:
            state.answer(state.expect("invokefunction"), "here")
        assert [caller.result_of(invocation)["result"] for invocation in held] == ["here", "here"]
        assert metrics(it)["held_bytes"] == 0
        caller.close()
        state.close()
    finally:
        it.kill()


def open_builtin(it):
    try:
        return builtin(it, "iii-state")
    except OSError:
        return None


def test_what_waits_for_all_peers_together_is_bounded(tmp_path):
    """Six that do not read hold more than all may, though none alone: whoever holds most makes room, and the others stay."""
    secret = tmp_path / "token"
    secret.write_text(BUILTIN_SECRET)
    with fleet(manager={"outbound_total_bytes": 10_000_000}, env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
        raws, names = [], [f"room::{i}" for i in range(6)]
        for name in names:
            raw = RawSocket(it.port)
            raw.frame(0x1, json.dumps({"type": "registerfunction", "id": name}).encode())
            raw.frame(0x1, b'{"type":"ping"}')
            assert raw.read_frame() == (0x1, b'{"type":"pong"}')
            raws.append(raw)
        fan = builtin(it, "iii-stream")
        data = "x" * 20_000
        for _ in range(450):
            for name in names:
                fan.send({"type": "invokefunction", "function_id": name, "data": data, "action": {"type": "void"}})
        fan.sync()
        after = wait_for(lambda: (m := metrics(it))["peers_dropped_for_room"] and m, "one to be dropped")
        assert 0 < after["peers_dropped_for_room"] < 6 and after["queued_bytes"] <= 10_000_000
        assert "outbound_total_bytes" in it.output()
        for wire in (*raws, fan):
            wire.close()
