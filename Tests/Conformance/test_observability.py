"""iii-observability: what it is sent, what it keeps, what it answers (docs/reference/observability.md)."""

import json
import secrets
import time

import pytest
from processes import running
from wire import Fleet, Wire, wait_for


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("observed"), http={}, workers=[{"name": "iii-observability"}])
    try:
        yield fleet.up()
    finally:
        fleet.stop()


@pytest.fixture
def caller(observed):
    wire = observed.connect()
    yield wire
    wire.close()


# Baggage


def with_baggage(caller, function: str, data: dict, baggage: str):
    message = caller.result_of(caller.invoke(function, data, baggage=baggage))
    assert "error" not in message, message
    return message["result"]


def test_baggage_is_that_of_the_caller(caller):
    baggage = "a=1+1,b=x%20y,c=%E2%82%AC,d=50%25"
    assert with_baggage(caller, "engine::baggage::get_all", {}, baggage) == {"baggage": {"a": "1+1", "b": "x y", "c": "€", "d": "50%"}}
    assert with_baggage(caller, "engine::baggage::get", {"key": "c"}, baggage) == {"value": "€"}
    assert caller.call("engine::baggage::get", {"key": "z"}) == {"value": None}


def test_setting_baggage_says_that_it_does_not_last(caller):
    answer = caller.call("engine::baggage::set", {"key": "a", "value": "b"})
    assert answer["success"] is True and "SDK-level" in answer["note"]


@pytest.mark.parametrize("data", [{}, {"key": None}, {"key": 1}, None, []], ids=["absent", "null", "number", "no input", "no object"])
def test_an_input_that_cannot_be_read_names_function_and_member(caller, data):
    error = caller.error_of("engine::baggage::get", data)
    assert error["code"] == "deserialization_error"
    assert error["message"].startswith("Failed to deserialize input for engine::baggage::get: ")


# What is sent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def frame(prefix: str, document) -> bytes:
    return (prefix + (document if isinstance(document, str) else json.dumps(document))).encode()


def attribute(key: str, value: dict) -> dict:
    return {"key": key, "value": value}


def spans(*spans: dict, service: str | None = "shop", scope=None, **resource: str) -> bytes:
    attributes = [attribute("service.name", {"stringValue": service})] if service else []
    attributes += [attribute(key.replace("__", "."), {"stringValue": value}) for key, value in resource.items()]
    return frame("OTLP", {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"scope": scope or {}, "spans": list(spans)}]}]})


def span(trace: str, id_: str, name: str, parent: str | None = None, start: int | None = None, milliseconds: float = 1, **members) -> dict:
    start = start or time.time_ns()
    document = {"traceId": trace, "spanId": id_, "name": name, "startTimeUnixNano": str(start), "endTimeUnixNano": str(start + int(milliseconds * 1e6))}
    return document | ({"parentSpanId": parent} if parent is not None else {}) | members


def logs(*records: dict, service: str = "shop") -> bytes:
    resource = {"attributes": [attribute("service.name", {"stringValue": service})]}
    return frame("LOGS", {"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {"name": "iii.logger"}, "logRecords": list(records)}]}]})


def log(body: str, **members) -> dict:
    return {"timeUnixNano": str(time.time_ns()), "observedTimeUnixNano": str(time.time_ns()), "body": {"stringValue": body}} | members


def metrics(*metrics_: dict, service: str = "shop") -> bytes:
    resource = {"attributes": [attribute("service.name", {"stringValue": service})]}
    return frame("MTRC", {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": {"name": "iii-node", "version": None}, "metrics": list(metrics_)}]}]})


def new_trace() -> str:
    return secrets.token_hex(16)


def tree(caller, trace: str) -> list:
    return caller.call("engine::traces::tree", {"trace_id": trace})["roots"]


def walk(nodes: list) -> dict:
    found = {}
    for node in nodes:
        found[node["name"]] = node
        found |= walk(node["children"])
    return found


def until_there(caller, trace: str, *names: str) -> dict:
    return wait_for(lambda: (found := walk(tree(caller, trace))).keys() >= set(names) and found, f"the spans {names}", timeout=30)


def listed(caller, **filters) -> list:
    return caller.call("engine::traces::list", filters)["spans"]


def stored_logs(caller, **filters) -> list:
    return caller.call("engine::logs::list", filters)["logs"]


@pytest.fixture(params=["/", "/otel"], ids=["worker socket", "otel"])
def door(observed, request):
    wire = Wire(observed.port, path=request.param)
    if request.param == "/":
        wire.hello()
    yield wire
    wire.close()


def test_spans_are_kept_whichever_socket_they_come_by(caller, door):
    trace = new_trace()
    attributes = [
        attribute("http.response.status_code", {"intValue": 200}), attribute("a", {"doubleValue": 1.5}), attribute("b", {"boolValue": True}),
        attribute("list", {"arrayValue": {"values": [{"intValue": "1"}]}}), attribute("map", {"kvlistValue": {"values": [attribute("k", {"stringValue": "v"})]}}),
        attribute("none", {}), {"key": "skipped"},
    ]
    root = span(trace, SPAN, "call create", kind=2, attributes=attributes, status={"code": 2, "message": "x"}, flags=1)
    door.send(spans(root, span(trace, "1" * 16, "inner", SPAN), scope={"name": "lib", "version": None}))
    found = until_there(caller, trace, "call create", "inner")
    top = found["call create"]
    assert [pair for pair in top["attributes"]] == [
        ["http.response.status_code", "200"], ["a", "1.5"], ["b", "true"], ["list", "[1]"], ["map", '{"k":"v"}'], ["none", ""]]
    assert (top["status"], top["status_description"], top["kind"], top["flags"], top["service_name"]) == ("error", "x", "server", 1, "shop")
    assert top["parent_span_id"] is None and top["instrumentation_scope_name"] == "lib" and "instrumentation_scope_version" not in top
    assert [child["name"] for child in top["children"]] == ["inner"]


def test_a_telemetry_socket_is_no_worker_and_stays_open(caller, observed):
    before = {worker["id"] for worker in caller.call("engine::workers::list", {})["workers"]}
    otel = Wire(observed.port, path="/otel")
    for message in (b"OTLP{}", "text", b"ABCD{}", b"OTLP{", b"\xff\xfe", b"OTLP\xff", frame("OTLP", {"resourceSpans": [{"scopeSpans": [{"spans": []}]}]})):
        otel.send(message)
    trace = new_trace()
    otel.send(spans(span(trace, SPAN, "after all that")))
    until_there(caller, trace, "after all that")
    assert {worker["id"] for worker in caller.call("engine::workers::list", {})["workers"]} == before
    otel.close()


@pytest.mark.parametrize("parent", ["", "0" * 16, None], ids=["empty", "zeros", "null"])
def test_no_parent_is_null(caller, parent):
    trace = new_trace()
    caller.send(spans(span(trace, SPAN, "root") | {"parentSpanId": parent}))
    assert until_there(caller, trace, "root")["root"]["parent_span_id"] is None


def test_one_bad_span_costs_no_neighbour(caller):
    trace = new_trace()
    bad = [span("0" * 32, SPAN, "zeros"), span("", SPAN, "empty"), span(trace, "0" * 16, "no id"), span(trace, "2" * 16, "past") | {"startTimeUnixNano": -1}]
    before = caller.call("engine::health::check", {})["components"]["otel"]["details"]["rejected"]
    caller.send(spans(*bad, span(trace, SPAN, "good", attributes=[attribute("nan", {"doubleValue": "NaN"})])))
    found = until_there(caller, trace, "good")
    assert found.keys() == {"good"} and ["nan", "NaN"] in found["good"]["attributes"]
    assert caller.call("engine::health::check", {})["components"]["otel"]["details"]["rejected"] == before + len(bad)
    assert not any(row["trace_id"] == "0" * 32 for row in listed(caller, limit=10_000))


def test_bare_tokens_that_are_no_json_are_read(caller):
    trace = new_trace()
    text = spans(span(trace, SPAN, "nan", attributes=[attribute("x", {"doubleValue": 777})])).decode().replace("777", "NaN")
    caller.send(text.encode())
    assert ["x", "NaN"] in until_there(caller, trace, "nan")["nan"]["attributes"]


def test_a_snapshot_becomes_its_final_span(caller):
    trace = new_trace()
    start = time.time_ns()
    pending = span(trace, SPAN, "slow", start=start) | {"endTimeUnixNano": "0"}
    caller.send(spans(pending))
    assert until_there(caller, trace, "slow")["slow"]["pending"] is True
    caller.send(spans(span(trace, SPAN, "slow", start=start, milliseconds=5)))
    caller.send(spans(pending))
    wait_for(lambda: "pending" not in walk(tree(caller, trace))["slow"], "the final span")
    (only,) = tree(caller, trace)
    assert only["duration_ms"] == 5 and only["children"] == []


@pytest.mark.parametrize(("sdk", "kinds"), [("iii-python-sdk", ["internal", "server", "client", "producer", "consumer"]), ("opentelemetry", ["unspecified", "internal", "server", "client", "producer"])])
def test_kinds_of_the_python_sdk_are_put_right(caller, sdk, kinds):
    trace = new_trace()
    caller.send(spans(*[span(trace, f"{n + 1:016x}", f"{n}", kind=n) for n in range(5)], telemetry__sdk__name=sdk))
    found = until_there(caller, trace, "4")
    assert [found[f"{n}"]["kind"] for n in range(5)] == kinds


def test_secrets_are_redacted_before_anything_keeps_them(caller):
    trace = new_trace()
    attributes = [attribute("Authorization", {"stringValue": "s3cret"}), attribute("author", {"stringValue": "ann"})]
    caller.send(spans(span(trace, SPAN, "secret", attributes=attributes, events=[{"name": "e", "timeUnixNano": "1", "attributes": attributes}])))
    found = until_there(caller, trace, "secret")["secret"]
    assert found["attributes"] == [["Authorization", "[REDACTED]"], ["author", "ann"]] == found["events"][0]["attributes"]


# Traces


def test_the_list_has_roots_in_order_with_filters_and_pages(caller):
    assert caller.call("engine::traces::clear", {}) == {"success": True}
    start = time.time_ns()
    names = ["Alpha", "beta", "gamma"]
    for n, name in enumerate(names):
        trace = new_trace()
        caller.send(spans(span(trace, SPAN, name, start=start + n, milliseconds=[0.4, 0.6, 9][n], attributes=[attribute("n", {"intValue": n})]), span(trace, "1" * 16, f"child of {name}", SPAN)))
    wait_for(lambda: len(listed(caller)) == 3, "all three")
    whole = caller.call("engine::traces::list", {})
    assert [row["name"] for row in whole["spans"]] == names and (whole["total"], whole["offset"], whole["limit"]) == (3, 0, 100)

    def names_of(**filters):
        return [row["name"] for row in listed(caller, **filters)]

    assert names_of(min_duration_ms=0.5) == ["beta", "gamma"]
    assert names_of(name="ALPH") == ["Alpha"] and names_of(name="child of b") == []
    assert names_of(name="child of b", search_all_spans=True) == ["beta"]
    assert names_of(attributes=[["n", "2"], ["ignored"]]) == ["gamma"]
    assert names_of(exclude_attributes=[["n", "2"]]) == ["Alpha", "beta"]
    assert names_of(sort_by="duration", sort_order="desc") == ["gamma", "beta", "Alpha"]
    assert names_of(sort_by="whatever", offset=1, limit=1) == ["beta"]
    assert names_of(service_name="SHO", status="uns") == names
    assert names_of(trace_id="t") == []
    assert caller.error_of("engine::traces::list", {"offset": -1})["code"] == "deserialization_error"


def test_an_unknown_trace_is_an_empty_tree(caller):
    assert caller.call("engine::traces::tree", {"trace_id": new_trace()}) == {"roots": []}
    error = caller.error_of("engine::traces::tree", {})
    assert error == error | {"code": "deserialization_error"} and "missing field `trace_id`" in error["message"]


def test_the_store_keeps_the_newest_traces(tmp_path):
    with running(tmp_path, workers=[{"name": "iii-observability", "config": {"memory_max_spans": 3}}]) as fleet:
        wire = fleet.connect()
        for n in range(5):
            wire.send(spans(span(new_trace(), SPAN, f"n{n}", start=1_000 + n)))
        wait_for(lambda: [row["name"] for row in listed(wire)][-1:] == ["n4"], "the last")
        assert [row["name"] for row in listed(wire)] == ["n2", "n3", "n4"]
        wire.close()


def test_without_a_store_the_functions_say_what_to_set(tmp_path):
    with running(tmp_path, workers=[{"name": "iii-observability", "config": {"enabled": False}}]) as fleet:
        wire = fleet.connect()
        wire.send(logs(log("x", severityNumber=9)))
        for function, data in [("list", {}), ("tree", {"trace_id": TRACE}), ("clear", {})]:
            error = wire.error_of(f"engine::traces::{function}", data)
            assert (error["code"], error["message"]) == ("memory_exporter_not_enabled", "In-memory span storage is not available. Set exporter: memory or both in config.")
        assert wire.call("engine::logs::list", {})["total"] in (0, 1)
        assert wire.call("engine::health::check", {})["components"]["otel"] == {"status": "disabled", "details": None}
        types = {row["id"] for row in wire.call("engine::trigger-types::list", {"include_internal": True})["trigger_types"]}
        assert not types & {"log", "trace"}
        wire.close()


# Logs


def test_a_written_record_is_stored_once_with_everything(caller):
    caller.call("engine::logs::clear", {})
    assert caller.result_of(caller.invoke("engine::log::warn", {"message": "m", "data": {"a": 1}, "trace_id": "t"})).get("result") is None
    (record,) = stored_logs(caller, trace_id="t")
    assert record == record | {"severity_number": 13, "severity_text": "WARN", "body": "m", "attributes": {"a": 1}, "instrumentation_scope_name": "iii", "span_id": None, "service_name": "unknown"}
    assert caller.error_of("engine::log::info", {})["code"] == "deserialization_error"
    caller.result_of(caller.invoke("engine::log::info", {"message": "of a call"}, traceparent=f"00-{TRACE}-{SPAN}-01"))
    (record,) = stored_logs(caller, trace_id=TRACE)
    assert record["body"] == "of a call" and len(record["span_id"]) == 16


def test_logs_come_newest_first_and_the_query_is_echoed(caller):
    caller.call("engine::logs::clear", {})
    now = time.time_ns()
    caller.send(logs(
        log("old", timeUnixNano=str(now - 10**9), severityNumber=17, severityText="ERROR"), log("new", timeUnixNano=str(now), severityNumber=9),
        log("unknown time", timeUnixNano="0", observedTimeUnixNano=str(now + 1)), {"timeUnixNano": str(now - 2 * 10**9)}))
    wait_for(lambda: len(stored_logs(caller)) == 4, "all four")
    answer = caller.call("engine::logs::list", {"limit": 3})
    assert [record["body"] for record in answer["logs"]] == ["unknown time", "new", "old"] and answer["total"] == 4
    assert answer["query"] == {"trace_id": None, "span_id": None, "severity_min": None, "severity_text": None, "start_time": None, "end_time": None, "offset": None, "limit": 3}
    assert answer["logs"][0]["timestamp_unix_nano"] == 0
    assert [record["severity_text"] for record in answer["logs"]] == ["", "INFO", "ERROR"]
    assert [record["body"] for record in stored_logs(caller, severity_min=17)] == ["old"]
    assert [record["body"] for record in stored_logs(caller, severity_text="info")] == ["new"]
    assert [record["body"] for record in stored_logs(caller, start_time=now // 10**6 - 500)] == ["unknown time", "new"]
    nothing = caller.call("engine::logs::list", {"limit": 0})
    assert (nothing["logs"], nothing["total"]) == ([], 4)
    assert caller.call("engine::logs::list", {"start_time": 2**63})["total"] == 0


def test_values_of_log_attributes_keep_their_types_and_depth(caller):
    caller.call("engine::logs::clear", {})
    deep = {"stringValue": "bottom"}
    for _ in range(20):
        deep = {"arrayValue": {"values": [deep]}}
    values = {"e": {"arrayValue": {}}, "m": {"kvlistValue": {}}, "s": {"stringValue": ""}, "i": {"intValue": 0}, "n": {}, "b": {"bytesValue": "AAEC"}, "big": {"intValue": "9007199254740993"}, "deep": deep}
    abyss = '{"arrayValue":{"values":[' * 50_000 + '{"intValue":1}' + "]}}" * 50_000
    text = logs(log("typed", attributes=[attribute(k, v) for k, v in values.items()] + [attribute("abyss", {"stringValue": "@@"})]), log("neighbour")).decode()
    caller.send(text.replace('{"stringValue": "@@"}', abyss).encode())
    wait_for(lambda: len(stored_logs(caller)) >= 1, "a record")
    records = {record["body"]: record for record in stored_logs(caller)}
    assert "neighbour" in records
    if "typed" in records:
        attributes = records["typed"]["attributes"]
        assert attributes["deep"] == json.loads("[" * 20 + '"bottom"' + "]" * 20)
        assert {k: attributes[k] for k in ("e", "m", "s", "i", "n", "b", "big")} == {"e": [], "m": {}, "s": "", "i": 0, "n": None, "b": "AAEC", "big": 9007199254740993}
    assert stored_logs(caller) is not None


def test_terminal_escapes_are_stripped_and_line_feeds_kept(caller, observed):
    forged = "ok\n[10:00:00.000 AM] [ERROR] core hacked\x1b]0;x\x07\rz\x00"
    caller.result_of(caller.invoke("engine::log::info", {"message": forged, "trace_id": "forged"}))
    (record,) = stored_logs(caller, trace_id="forged")
    assert record["body"] == "ok\n[10:00:00.000 AM] [ERROR] core hacked\rz\x00"
    wait_for(lambda: "hacked" in observed.output(), "the line on the console")
    (line,) = [line for line in observed.output().splitlines() if "hacked" in line]
    assert "ok" in line and "\x1b" not in line and "\x00" not in line


def test_old_records_go_by_age(tmp_path):
    with running(tmp_path, workers=[{"name": "iii-observability", "config": {"logs_retention_seconds": 1, "logs_console_output": False}}]) as fleet:
        wire = fleet.connect()
        now = time.time_ns()
        wire.send(logs(log("young", timeUnixNano=str(now + 3600 * 10**9), observedTimeUnixNano=str(now)), log("old", timeUnixNano=str(now - 60 * 10**9))))
        wait_for(lambda: stored_logs(wire) == [], "both are gone")
        wire.close()


# Triggers


def test_a_log_trigger_gets_records_of_its_level_with_twelve_members(caller, observed):
    worker = observed.connect()
    for name, config in [("errors", {"level": "error"}), ("all", {}), ("infos", {"level": "info"})]:
        worker.register(f"watch::{name}")
        worker.send({"type": "registertrigger", "id": f"watch-{name}", "trigger_type": "log", "function_id": f"watch::{name}", "config": config})
    worker.sync()
    got: dict[str, list] = {"watch::errors": [], "watch::all": [], "watch::infos": []}

    def look():
        try:
            call = worker.expect("invokefunction", timeout=0.2)
        except (TimeoutError, AssertionError):
            return
        got[call["function_id"]].append((call["data"], call.get("traceparent")))
        worker.answer(call, None)

    caller.send(logs(log("bad", severityNumber=17, severityText="ERROR", traceId=TRACE, spanId=SPAN), log("warned", severityNumber=13, severityText="WARN"), log("from node", severityNumber=9)))
    wait_for(lambda: look() or (got["watch::errors"] and len([d for d, _ in got["watch::all"] if d["service_name"] == "shop"]) >= 3 and got["watch::infos"]), "all deliveries")
    (payload, traceparent), *_ = [d for d in got["watch::errors"] if d[0]["body"] == "bad"]
    assert payload.keys() == {
        "timestamp_unix_nano", "observed_timestamp_unix_nano", "severity_number", "severity_text", "body", "attributes", "trace_id", "span_id", "resource", "service_name",
        "instrumentation_scope_name", "instrumentation_scope_version"}
    assert (payload["trace_id"], payload["span_id"], payload["instrumentation_scope_version"]) == (TRACE, SPAN, None)
    assert {d["body"] for d, _ in got["watch::errors"]} == {"bad"}
    assert "from node" in {d["body"] for d, _ in got["watch::infos"]}
    # A record that a delivery has caused is not delivered to the same function again.
    cause = traceparent.split("-")[1]
    worker.send(logs(log("own echo", severityNumber=17, severityText="ERROR", traceId=cause, spanId=SPAN), log("other", severityNumber=17, severityText="ERROR")))
    wait_for(lambda: look() or "other" in {d["body"] for d, _ in got["watch::errors"]}, "the other record")
    assert "own echo" not in {d["body"] for d, _ in got["watch::errors"]}
    worker.close()


def test_a_trace_trigger_gets_ids_of_traces_together(caller, observed):
    worker = observed.connect()
    worker.register("watch::traces")
    worker.send({"type": "registertrigger", "id": "watch-traces", "trigger_type": "trace", "function_id": "watch::traces", "config": {"service_name": "BILLING", "status": "error"}})
    worker.sync()
    wanted, other = new_trace(), new_trace()
    caller.send(spans(span(wanted, SPAN, "a", status={"code": 2}), span(wanted, "1" * 16, "b", SPAN, status={"code": 2}), span(other, SPAN, "fine"), service="billing"))
    caller.send(spans(span(other, "2" * 16, "elsewhere", status={"code": 2}), service="shop"))
    call = worker.expect("invokefunction")
    assert call["function_id"] == "watch::traces" and call["data"] == {"trace_ids": [wanted]}
    worker.answer(call, None)
    worker.close()


# Metrics


def gauge(name: str, *values: float, **members) -> dict:
    points = [{"timeUnixNano": str(time.time_ns()), "asDouble": value} for value in values]
    return {"name": name, "unit": None, "gauge": {"dataPoints": points}} | members


def counter(name: str, value, start: int) -> dict:
    point = {"startTimeUnixNano": str(start), "timeUnixNano": str(time.time_ns()), "asInt": value}
    return {"name": name, "sum": {"dataPoints": [point], "isMonotonic": True, "aggregationTemporality": 2}}


def sdk_metrics(caller, name: str) -> list:
    return caller.call("engine::metrics::list", {"metric_name": name})["sdk_metrics"]


def test_metrics_of_workers_are_kept_as_they_came(caller):
    start = time.time_ns()
    histogram = {"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"startTimeUnixNano": str(start), "timeUnixNano": str(start), "count": "3", "sum": 6, "bucketCounts": ["1", 2], "explicitBounds": [1.0]}]}}
    caller.send(metrics(gauge("g", 1.5), {"name": "e", "exponentialHistogram": {"dataPoints": []}}, counter("c", "42", start), counter("n", -7, start), histogram))
    wait_for(lambda: sdk_metrics(caller, "h"), "the metrics")
    (g,) = sdk_metrics(caller, "g")
    assert g == g | {"metric_type": "gauge", "unit": "", "service_name": "shop", "instrumentation_scope_name": "iii-node"} and g["data_points"][0]["value"] == 1.5
    assert sdk_metrics(caller, "c")[0]["data_points"][0]["value"] == 42.0 and sdk_metrics(caller, "n")[0]["data_points"][0]["value"] == -7.0
    (h,) = sdk_metrics(caller, "h")
    assert h["data_points"][0] == h["data_points"][0] | {"count": 3, "sum": 6.0, "bucket_counts": [1, 2], "explicit_bounds": [1.0], "min": None, "max": None}
    assert sdk_metrics(caller, "e") == []
    rollups = caller.call("engine::rollups::list", {})
    assert (rollups["level"], rollups["query"]) == (0, {"start_time": None, "end_time": None, "metric_name": None})
    assert any(row["name"] == "g" and row["sum"] == 1.5 for row in rollups["rollups"])
    assert any(row["name"] == "h" and row["total_count"] == 3 and row["bucket_counts"] == [1, 2] for row in rollups["histogram_rollups"])
    assert caller.call("engine::rollups::list", {"level": 3})["rollups"] == []


def test_calls_are_counted_at_their_end(caller, observed):
    worker = observed.connect()
    worker.register("counted::ok")
    worker.register("counted::bad")
    worker.sync()
    before = caller.call("engine::metrics::list", {})["engine_metrics"]["invocations"]
    for _ in range(3):
        invocation = caller.invoke("counted::ok", {})
        worker.answer(worker.expect("invokefunction"), 1)
        caller.result_of(invocation)
    invocation = caller.invoke("counted::bad", {})
    call = worker.expect("invokefunction")
    worker.send({"type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": call["function_id"], "error": {"code": "BAD", "message": "no"}})
    caller.result_of(invocation)
    after = caller.call("engine::metrics::list", {})["engine_metrics"]
    assert after["invocations"]["by_function"]["counted::ok"] == 3 and after["invocations"]["by_function"]["counted::bad"] == 1
    assert after["invocations"]["error"] >= before["error"] + 1 and after["invocations"]["total"] >= before["total"] + 4
    assert after["workers"]["active"] == after["workers"]["spawns"] - after["workers"]["deaths"]
    assert set(after["performance"]) == {f"{name}_duration_ms" for name in ("avg", "p50", "p95", "p99", "min", "max")}
    worker.close()


@pytest.mark.parametrize("function", ["engine::metrics::list", "engine::rollups::list"])
def test_a_time_that_does_not_fit_is_named(caller, function):
    assert caller.call(function, {"start_time": 2**63})["error"] == "start_time value too large"


def test_aggregates_come_with_both_times_and_an_interval(caller):
    now = int(time.time() * 1000)
    caller.send(metrics(gauge("agg", 1, 2, 3, 4, 10)))
    wait_for(lambda: sdk_metrics(caller, "agg"), "the metric")
    window = {"start_time": now - 1000, "end_time": now + 60_000}
    assert "aggregated_metrics" not in caller.call("engine::metrics::list", window | {"aggregate_interval": 0})
    answer = caller.call("engine::metrics::list", window | {"aggregate_interval": 60})
    (row,) = [row for row in answer["aggregated_metrics"] if row["name"] == "agg"]
    assert (row["count"], row["sum"], row["min"], row["max"], row["avg"], row["percentiles"]["p50"]) == (5, 20.0, 1.0, 10.0, 4.0, 3.0)
    assert answer["query"] == window | {"aggregate_interval": 60, "metric_name": None}


# Health, sampling


def test_health_and_sampling_have_their_shapes(caller):
    health = caller.call("engine::health::check", {})
    assert health["status"] == "healthy" and set(health["components"]) >= {"otel", "metrics", "logs", "spans"}
    assert health["components"]["otel"]["details"]["exporter"] == "Some(Memory)" and health["components"]["otel"]["details"]["service_name"] == "iii"
    rules = caller.call("engine::sampling::rules", {})
    assert rules["traces"] == {"default_ratio": 1.0, "rules": [], "parent_based": True} and rules["logs"] == {"sampling_ratio": 1.0}
