"""What the engine tells about itself (docs/reference/engine.md)."""

import json
import os

import pytest

from wire import fleet, wait_for


def test_functions_list(wires):
    wire = wires()
    schema = {"type": "object", "n": 1.0}
    wire.register("e::described", description="d", request_format=schema, response_format=[1], metadata={"team": "x"})
    wire.register("e::bare")
    wire.sync()
    rows = {r["function_id"]: r for r in wire.call("engine::functions::list", {})["functions"]}
    assert not any(i.startswith(("engine::", "core::", "builtin::")) for i in rows)
    keys = ("description", "request_format", "response_format", "metadata")
    assert [rows["e::described"][k] for k in keys] == ["d", schema, [1], {"team": "x"}]
    assert [rows["e::bare"][k] for k in keys] == [None] * 4
    everything = {r["function_id"] for r in wire.call("engine::functions::list", {"include_internal": True})["functions"]}
    assert "engine::workers::list" in everything and not any(i.startswith("core::") for i in everything)


@pytest.mark.parametrize("data", [None, {}, {"_caller_worker_id": "x", "unknown": 1}])
def test_null_input_reads_as_empty(wires, data):
    assert "functions" in wires().call("engine::functions::list", data)


def test_wrong_input_types(wires):
    wire = wires()
    assert wire.error_of("engine::functions::list", {"include_internal": "yes"})["code"] == "deserialization_error"
    assert wire.error_of("engine::functions::list", [1])["code"] == "deserialization_error"


def test_functions_filters_and_info(wires):
    wire = wires()
    wire.register("e::filter::a", description="Alpha")
    wire.register("e::filter::b", metadata={"internal": True})
    trigger = wire.register_trigger("e::type", "e::filter::a", config={"x": 1})
    wire.sync()

    def ids(**query):
        return [r["function_id"] for r in wire.call("engine::functions::list", query)["functions"]]

    assert ids(prefix="e::filter::") == ["e::filter::a"]
    assert ids(search="alpha") == ["e::filter::a"]
    assert ids(prefix="e::filter::", namespace="other") == []
    info = wire.call("engine::functions::info", {"function_id": "e::filter::a"})
    assert info["description"] == "Alpha" and info["registered_triggers"] == [{"id": trigger, "trigger_type": "e::type", "config": {"x": 1}}]
    both = wire.call("engine::functions::info", {"function_ids": ["e::filter::a", "e::none"]})["functions"]
    assert both[1] == {"function_id": "e::none", "error": "not_found"}
    assert wire.error_of("engine::functions::info", {})["code"] == "INVALID_ARGUMENTS"
    assert wire.error_of("engine::functions::info", {"function_id": "e::none"})["code"] == "NOT_FOUND"


def test_workers_list(wires):
    wire, silent = wires(), wires()
    wire.register("e::hosted")
    report = {"runtime": "node", "version": "0.11.6", "name": "shop", "os": "linux", "pid": os.getpid(), "isolation": "vm", "telemetry": {"language": "js", "amplitude_api_key": "secret"}}
    assert wire.call("engine::workers::register", report) == {"success": True}
    answer = wire.call("engine::workers::list", {})
    assert isinstance(answer["timestamp"], int)
    rows = {r["id"]: r for r in answer["workers"]}
    assert silent.worker_id not in rows
    row = rows[wire.worker_id]
    assert {k: row[k] for k in ("name", "runtime", "version", "os", "pid", "isolation", "status", "internal", "ip_address", "functions", "function_count")} == {
        "name": "shop", "runtime": "node", "version": "0.11.6", "os": "linux", "pid": os.getpid(), "isolation": "vm", "status": "connected",
        "internal": False, "ip_address": "127.0.0.1", "functions": ["e::hosted"], "function_count": 1}
    assert row["latest_metrics"] is None and row["active_invocations"] == 1 - 1
    assert "secret" not in json.dumps(answer)
    by_id = wire.call("engine::workers::list", {"worker_id": silent.worker_id})["workers"]
    assert [r["id"] for r in by_id] == [silent.worker_id]
    assert wire.call("engine::workers::list", {"worker_id": "no-such"})["workers"] == []
    names = sorted((r["name"] or r["id"], r["id"]) for r in answer["workers"] if r["internal"] is False)
    assert names == [(r["name"] or r["id"], r["id"]) for r in answer["workers"] if r["internal"] is False]


def test_builtins_are_listed_by_entry_name(wires):
    rows = {r["id"]: r for r in wires().call("engine::workers::list", {})["workers"]}
    http = rows["iii-http"]
    assert (http["runtime"], http["isolation"], http["internal"], http["name"]) == ("engine", "process", True, "iii-http")
    assert http["pid"] > 0 and "iii-worker-manager" in rows


def test_metadata_merges(wires):
    wire = wires()
    wire.call("engine::workers::register", {"runtime": "go", "version": "1", "name": "n", "pid": 5})
    wire.call("engine::workers::register", {"version": "2"})
    row = wire.call("engine::workers::list", {"worker_id": wire.worker_id})["workers"][0]
    assert (row["runtime"], row["version"], row["name"], row["pid"]) == ("unknown", "2", "n", 5)
    info = wire.call("engine::workers::info", {"name": "n"})
    assert info["worker"]["id"] == wire.worker_id
    assert wire.error_of("engine::workers::info", {"name": "nobody"})["code"] == "NOT_FOUND"


def test_latest_metrics(wires):
    wire = wires()
    wire.call("engine::workers::register", {"runtime": "node", "pid": 1})

    def point(value):
        return {"attributes": [{"key": "worker.id", "value": {"stringValue": wire.worker_id}}], **value}

    metrics = [
        {"name": "iii.worker.memory.rss", "gauge": {"dataPoints": [point({"asInt": "1024"})]}},
        {"name": "iii.worker.cpu.percent", "gauge": {"dataPoints": [point({"asDouble": 1.5})]}},
        {"name": "other", "gauge": {"dataPoints": [point({"asDouble": 9})]}},
    ]
    wire.send(b"MTRC" + json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}).encode())
    latest = wire.call("engine::workers::list", {"worker_id": wire.worker_id})["workers"][0]["latest_metrics"]
    assert latest.pop("timestamp_ms") > 0
    assert latest == {"memory_rss": 1024, "cpu_percent": 1.5, "runtime": "node"}


def test_triggers_and_types(wires):
    wire, provider = wires(), wires()
    provider.register_type("e::kind", trigger_request_format={"a": 1}, call_request_format={"b": 2})
    provider.sync()
    trigger = wire.register_trigger("e::kind", "e::f", config={"long": "x" * 100}, metadata={"m": 1})
    wire.register_trigger("e::kind", "engine::internal")
    wire.sync()
    rows = [t for t in wire.call("engine::triggers::list", {})["triggers"] if t["trigger_type"] == "e::kind"]
    assert rows == [{"id": trigger, "trigger_type": "e::kind", "function_id": "e::f", "config": {"long": "x" * 100}, "metadata": {"m": 1}}]
    assert len([t for t in wire.call("engine::triggers::list", {"include_internal": True})["triggers"] if t["trigger_type"] == "e::kind"]) == 2
    kinds = {t["id"]: t for t in wire.call("engine::trigger-types::list", {})["trigger_types"]}
    assert kinds["e::kind"]["trigger_request_format"] == {"a": 1} and "engine::workers-available" not in kinds and "http" in kinds
    registered = wire.call("engine::registered-triggers::list", {"trigger_type": "e::kind"})["registered_triggers"]
    assert registered[0]["config_summary"] == '{"long":"' + "x" * 71 + "…"
    assert wire.call("engine::registered-triggers::info", {"id": trigger})["id"] == trigger
    assert wire.call("engine::triggers::info", {"id": "e::kind"})["request_schema"] == {"b": 2}
    # From SDK 0.21 on, the same name lists types.
    wire.call("engine::workers::register", {"runtime": "python", "version": "0.21.0"})
    assert "e::kind" in [t["id"] for t in wire.call("engine::triggers::list", {})["triggers"]]


def test_workers_available(wires):
    watcher = wires()
    watcher.register("e::on_workers")
    watcher.register_trigger("engine::workers-available", "e::on_workers", metadata={"k": 1})
    watcher.sync()
    worker = wires()
    worker.call("engine::workers::register", {"runtime": "go", "pid": 1})
    worker.close()
    events = []
    while len(events) < 3:
        call = watcher.expect("invokefunction")
        assert call["metadata"] == {"k": 1} and "_caller_worker_id" not in call["data"]
        watcher.answer(call, None)
        if call["data"]["worker_id"] == worker.worker_id:
            events.append(call["data"]["event"])
    assert events == ["worker_connected", "worker_metadata_updated", "worker_disconnected"]


def test_functions_available(wires):
    watcher, worker = wires(), wires()
    watcher.register("e::on_functions")
    watcher.register_trigger("engine::functions-available", "e::on_functions")
    watcher.sync()
    worker.register("e::fresh")
    while True:
        call = watcher.expect("invokefunction")
        watcher.answer(call, None)
        assert call["data"]["event"] == "functions_changed"
        ids = [f["function_id"] for f in call["data"]["functions"]]
        assert "engine::functions::list" in ids
        if "e::fresh" in ids:
            break


def test_a_replica_that_takes_over_many_functions_is_one_line():
    with fleet() as it:
        for worker in (it.connect(), it.connect()):
            for n in range(300):
                worker.register(f"many::f{n}")
            worker.sync()
        wait_for(lambda: "functions moved to a newer worker" in it.output(), "the move is reported")
        lines = [line for line in it.output().splitlines() if "function_moved" in line]
        assert len(lines) == 1 and "functions=300" in lines[0]


def test_newer_listings_of_trigger_types_are_short(wires):
    provider, newer = wires(), wires()
    provider.register_type("x::t", trigger_request_format={"type": "object"})
    provider.sync()
    newer.call("engine::workers::register", {"runtime": "python", "version": "0.25.0", "pid": 1})
    row = next(row for row in newer.call("engine::triggers::list", {})["triggers"] if row["id"] == "x::t")
    assert set(row) == {"id", "namespace", "worker_name", "description"}
    assert newer.call("engine::triggers::info", {"id": "x::t"})["configuration_schema"] == {"type": "object"}
