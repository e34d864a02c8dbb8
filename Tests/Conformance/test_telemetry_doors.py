"""OTLP in and out of iii-observability, and its alerts (docs/reference/observability.md): with a real SDK on one side and opentelemetry-proto on the other."""

import gzip
import http.server
import json
import socket
import threading
import time

import pytest
import requests
from collector import Collector
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from wire import BIN, ROOT, Fleet, fleet, free_port, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def observability(receiver: int, **config) -> dict:
    doors = {"prometheus": {"enabled": False}, "otlp_receiver": {"enabled": True, "port": receiver}}
    return {"name": "iii-observability", "config": {**doors, "export_interval_ms": 100, "logs_flush_interval_ms": 100, "metrics_export_interval_ms": 200, **config}}


def exporting(collector: Collector, receiver: int, **config) -> dict:
    return observability(receiver, **{"exporter": "both", "logs_exporter": "both", "metrics_exporter": "otlp", "endpoint": collector.url, **config})


def span(name: str = "n", size: int = 0, **fields) -> dict:
    attributes = [{"key": "big", "value": {"stringValue": "x" * size}}] if size else []
    number = abs(hash((name, time.time_ns()))) % (1 << 63) + 1
    return {"traceId": TRACE, "spanId": f"{number:016x}", "name": name, "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": attributes, **fields}


def traces(*spans: dict) -> dict:
    return {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}, "scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}]}]}


def send(port: int, path: str, body, **headers) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"http://127.0.0.1:{port}{path}", data=data, headers={"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}, timeout=30)


@pytest.fixture(scope="module")
def door():
    port = free_port()
    with fleet(workers=[observability(port, otlp_receiver={"enabled": True, "port": port, "max_request_bytes": 1 << 20})]) as it:
        it.receiver = port
        yield it


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_what_a_real_sdk_sends_arrives_where_it_is_exported_to(protocol):
    port = free_port()
    with Collector() as collector, fleet(workers=[exporting(collector, port, protocol=protocol)]):
        base, resource = f"http://127.0.0.1:{port}", Resource.create({"service.name": "third-party"})
        tracer_provider = TracerProvider(resource=resource)
        tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{base}/v1/traces")))
        tracer = tracer_provider.get_tracer("lib", "1.2")
        with tracer.start_as_current_span("parent", attributes={"text": "€", "number": 7, "list": [1.5, 2.5]}) as parent:
            parent.add_event("happened", {"why": "because"})
            with tracer.start_as_current_span("child"):
                pass
        meters = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter(f"{base}/v1/metrics"), export_interval_millis=60_000)])
        meter = meters.get_meter("lib")
        meter.create_counter("jobs", unit="1").add(3, {"kind": "mail"})
        meter.create_histogram("took", unit="s").record(0.3)
        loggers = LoggerProvider(resource=resource)
        loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{base}/v1/logs")))
        loggers.get_logger("lib").emit(body="it happened", severity_number=SeverityNumber.WARN)
        for provider in (tracer_provider, meters, loggers):
            assert provider.force_flush() is not False
            provider.shutdown()
        wait_for(lambda: len(collector.spans()) == 2 and collector.logs() and {"jobs", "took"} <= {it.name for it in collector.metrics()}, "everything at the collector", timeout=30)
        by_name = {it.name: it for it in collector.spans()}
        assert by_name["child"].parent_span_id == by_name["parent"].span_id
        assert {it.key: it.value.WhichOneof("value") for it in by_name["parent"].attributes} == {"text": "string_value", "number": "int_value", "list": "array_value"}
        assert [event.name for event in by_name["parent"].events] == ["happened"]
        assert collector.logs()[0].body.string_value == "it happened" and collector.logs()[0].severity_text == "WARN"
        jobs = next(it for it in collector.metrics() if it.name == "jobs")
        assert jobs.sum.is_monotonic and jobs.sum.data_points[0].as_int == 3
        wait_for(lambda: {"iii.workers.active", "iii.fleet.ready"} <= {it.name for it in collector.metrics()}, "the engine's own metrics", timeout=30)
        resource = collector.of("/v1/traces")[0].resource_spans[0].resource
        assert {it.key: it.value.string_value for it in resource.attributes}["service.name"] == "third-party"


# The receiver


@pytest.mark.parametrize("content_type, status", [
    ("application/json; charset=utf-8", 200), ("Application/JSON", 200), ("text/plain", 415), ("application/jsonx", 415), (None, 415),
])
def test_media_types_are_compared_without_parameters(door, content_type, status):
    answer = send(door.receiver, "/v1/traces", traces(span()), content_type=content_type)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json" and isinstance(answer.json(), dict)


@pytest.mark.parametrize("body, content_type", [(b"", "application/x-protobuf"), (b"", "application/json"), (b"{}", "application/json"), (b'{"resourceSpans":[]}', "application/json")])
def test_nothing_to_store_is_a_success_of_the_type_of_the_request(door, body, content_type):
    answer = send(door.receiver, "/v1/traces", body, content_type=content_type)
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.content == (b"" if "protobuf" in content_type else b"{}")


def test_what_is_left_out_is_reported(door):
    answer = send(door.receiver, "/v1/traces", traces(span("good"), span("bad", startTimeUnixNano="-1"), span("good too")))
    partial = answer.json()["partialSuccess"]
    assert answer.status_code == 200 and partial["rejectedSpans"] == "1" and partial["errorMessage"]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "xyz"}, {}]}]}]}
    assert send(door.receiver, "/v1/logs", logs).json()["partialSuccess"]["rejectedLogRecords"] == "1"


def test_errors_are_told_as_the_protocol_has_them(door):
    base = f"http://127.0.0.1:{door.receiver}"
    assert send(door.receiver, "/v1/traces", b"{nonsense").status_code == 400
    assert send(door.receiver, "/v1/traces", b"\xff\xff", content_type="application/x-protobuf").status_code == 400
    refused = requests.get(f"{base}/v1/traces", timeout=10)
    assert refused.status_code == 405 and refused.headers["allow"] == "POST"
    assert send(door.receiver, "/v1/nothing", b"{}").status_code == 404
    assert send(door.receiver, "/v1/traces", b"{}", content_encoding="br").status_code == 415
    assert send(door.receiver, "/v1/traces", gzip.compress(b"{}")[:-4], content_encoding="gzip").status_code == 400
    assert "message" in send(door.receiver, "/v1/traces", b"{nonsense").json()


def test_gzip_of_several_members_is_one_document(door):
    document = json.dumps(traces(span("packed"))).encode()
    packed = gzip.compress(document[:50]) + gzip.compress(document[50:])
    assert send(door.receiver, "/v1/traces", packed, content_encoding="gzip").json() == {}


def test_a_small_body_that_unpacks_to_much_is_refused(door):
    bomb = gzip.compress(b" " * (200 << 20), 9)
    assert len(bomb) < 1 << 20
    for _ in range(3):
        assert send(door.receiver, "/v1/logs", bomb, content_encoding="gzip").status_code == 413
    assert send(door.receiver, "/v1/logs", b"x" * (2 << 20)).status_code == 413
    with socket.create_connection(("127.0.0.1", door.receiver)) as raw:
        raw.sendall(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n" + b"80000\r\n" + b" " * 0x80000 + b"\r\n80001\r\n" + b" " * 0x80001 + b"\r\n0\r\n\r\n")
        assert b" 413 " in raw.recv(100)
    assert send(door.receiver, "/v1/traces", traces(span())).status_code == 200


def test_a_key_is_asked_for_where_one_is_set(tmp_path):
    port = free_port()
    with fleet(workers=[observability(port, otlp_receiver={"enabled": True, "port": port, "api_key": "secret-of-the-door", "allowed_origins": ["https://app.example"]})]) as it:
        assert send(port, "/v1/traces", b"{}").status_code == 401
        assert send(port, "/v1/traces", b"{}", x_otlp_api_key="secret-of-the-dooR").status_code == 401
        assert send(port, "/v1/traces", b"{}", x_otlp_api_key="secret-of-the-door").status_code == 200
        asked = requests.options(f"http://127.0.0.1:{port}/v1/traces", headers={"origin": "https://app.example"}, timeout=10)
        assert asked.status_code == 204 and asked.headers["access-control-allow-origin"] == "https://app.example"
        assert "access-control-allow-origin" not in requests.options(f"http://127.0.0.1:{port}/v1/traces", headers={"origin": "https://evil.example"}, timeout=10).headers
        assert "secret-of-the-door" not in it.output()


# The exporter


def test_a_receiver_that_is_busy_gets_everything_once_later():
    port = free_port()
    with Collector(answers=[(503, {"retry-after": "1"}, b""), (429, {"retry-after": "banana"}, b""), 502]) as collector, fleet(workers=[exporting(collector, port, metrics_exporter="memory", logs_exporter="memory")]):
        send(port, "/v1/traces", traces(span("once")))
        wait_for(lambda: len(collector.spans()) == 1, "the span", timeout=40)
        assert [status for _, _, status, _ in collector.requests] == [503, 429, 502, 200]


def test_what_is_refused_is_dropped_and_never_sent_again():
    port = free_port()
    partial = json.dumps({"partialSuccess": {"rejectedSpans": "1", "errorMessage": "one is enough"}}).encode()
    with Collector(answers=[400, (200, {}, partial)]) as collector, fleet(workers=[exporting(collector, port, protocol="http/json", metrics_exporter="memory", logs_exporter="memory")]) as it:
        send(port, "/v1/traces", traces(span("refused")))
        wait_for(lambda: len(collector.requests) == 1, "the first request")
        send(port, "/v1/traces", traces(span("a"), span("b")))
        wait_for(lambda: len(collector.requests) == 2, "the second")
        send(port, "/v1/traces", traces(span("last")))
        wait_for(lambda: len(collector.spans()) == 3, "the last")
        assert len(collector.requests) == 3
        assert "export_failed" in it.output() and "one is enough" in it.output()


def test_a_batch_that_is_too_large_is_halved_until_it_fits():
    port = free_port()
    with Collector(limit=64 << 10) as collector, fleet(workers=[exporting(collector, port, metrics_exporter="memory", logs_exporter="memory")]) as it:
        spans = [span(f"s{number}", size=2048) for number in range(200)]
        spans.insert(100, span("giant", size=60_000, events=[{"name": "e", "attributes": [{"key": "k", "value": {"stringValue": "y" * 60_000}}]}] * 3))
        assert send(port, "/v1/traces", traces(*spans)).json() == {}
        wait_for(lambda: len(collector.spans()) == 200, "all but the giant", timeout=40)
        assert "giant" not in {span.name for span in collector.spans()}
        wait_for(lambda: "too large by itself" in it.output(), "the loss in the log", timeout=20)
        refused = [size for _, _, status, size in collector.requests if status == 413]
        assert len(refused) == len(set(refused)), "the same body was sent twice"


def test_headers_are_sent_and_never_logged():
    port = free_port()
    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20dXNlcjpwYXNz==,x-scope=a=b"}
    with Collector() as collector, fleet(workers=[exporting(collector, port)], env=environment) as it:
        send(port, "/v1/traces", traces(span()))
        wait_for(lambda: collector.requests, "a request")
        headers = {name.lower(): value for name, value in collector.requests[0][1].items()}
        assert (headers["authorization"], headers["x-scope"]) == ("Basic dXNlcjpwYXNz==", "a=b")
        assert "dXNlcjpwYXNz" not in it.output() + it.cli("metrics").stdout


@pytest.mark.parametrize("config, sentence", [
    ({"protocol": "grpc"}, "grpc is not in this build"), ({"endpoint": "http://localhost:@"}, "which would take in again what it sends"),
    ({"endpoint": "http://127.0.0.1:@/"}, "which would take in again what it sends"),
], ids=["grpc", "itself", "itself by address"])
def test_an_export_that_cannot_work_ends_the_start_with_a_sentence(tmp_path, config, sentence):
    port = free_port()
    config = {key: value.replace("@", str(port)) for key, value in config.items()}
    it = Fleet(tmp_path, workers=[observability(port, exporter="otlp", **config)]).spawn()
    try:
        wait_for(lambda: sentence in it.output(), sentence, timeout=20)
    finally:
        it.stop()


def test_the_end_waits_for_what_can_be_delivered_and_not_for_what_cannot():
    for silent in (False, True):
        port = free_port()
        with Collector(silent=silent) as collector, fleet(workers=[exporting(collector, port, export_interval_ms=60_000, logs_flush_interval_ms=60_000)]) as it:
            send(port, "/v1/traces", traces(*(span(f"s{number}") for number in range(50))))
            assert it.stop(timeout=25) == 0
            assert len(collector.spans()) == (0 if silent else 50)
            assert ("the end came before everything was exported" in it.output()) == silent


def test_a_log_destination_of_ones_own_gets_what_is_logged(tmp_path):
    page = (ROOT / "docs" / "extending.md").read_text()
    assert (ROOT / "examples" / "spool" / "main.swift").read_text() in page
    port, spool = free_port(), tmp_path / "spool.log"
    entry = observability(port) | {"exec": str(BIN / "spool-observability")}
    with fleet(workers=[entry], env={"SPOOL_FILE": str(spool)}):
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
        record = {"severityNumber": 13, "body": {"stringValue": "nearly out of paper"}}
        send(port, "/v1/logs", {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]})
        wait_for(lambda: spool.exists() and spool.read_text() == "WARN shop: nearly out of paper\n", "the line", timeout=20)


# Alerts


class Hooks:
    """Takes webhooks."""

    def __init__(self, answers=()):
        self.answers, self.bodies = list(answers), []
        hooks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                hooks.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(hooks.answers.pop(0) if hooks.answers else 200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def gauge(name: str, value: float) -> dict:
    return {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": name, "gauge": {"dataPoints": [{"asDouble": value}]}}]}]}]}


def test_alerts_fire_cool_down_and_resolve():
    port, hooks = free_port(), Hooks(answers=[500])
    rules = [
        {"name": "load", "metric": "load", "threshold": 5, "operator": ">", "window_seconds": 0, "action": {"type": "function", "path": "alerts::raise"}},
        {"name": "hook", "metric": "load", "threshold": 5, "operator": "greaterthan", "window_seconds": 0, "action": {"type": "webhook", "url": hooks.url}},
        {"name": "silent", "metric": "never", "threshold": 1, "operator": "<"},
        {"name": "logged", "metric": "load", "threshold": 5, "window_seconds": 0},
    ]
    with fleet(workers=[observability(port, alerts=rules, alerts_allow_private_webhooks=True)]) as it:
        worker, caller = it.connect(), it.connect()
        worker.register("alerts::raise")
        worker.sync()

        def evaluate() -> list[str]:
            return sorted(alert["name"] for alert in caller.call("engine::alerts::evaluate", {})["triggered_alerts"])

        def states() -> dict:
            return {state["name"]: state for state in caller.call("engine::alerts::list", {})["alerts"]}

        assert evaluate() == []
        assert {name: state["status"] for name, state in states().items()} == dict.fromkeys(["load", "hook", "silent", "logged"], "no_data")
        assert send(port, "/v1/metrics", gauge("load", 9)).json() == {}
        triggered = caller.call("engine::alerts::evaluate", {})
        names = {alert["name"] for alert in triggered["triggered_alerts"]}
        call = worker.expect("invokefunction")
        worker.answer(call, None)
        assert names <= {"load", "hook", "logged"}
        payload = call["data"]
        assert {key: payload[key] for key in ("alert", "metric", "value", "threshold", "operator", "firing")} == {"alert": "load", "metric": "load", "value": 9, "threshold": 5, "operator": "GreaterThan", "firing": True}
        assert set(payload) == {"alert", "metric", "value", "threshold", "operator", "timestamp", "firing"}
        wait_for(lambda: len(hooks.bodies) == 2, "the webhook, again after an error", timeout=20)
        assert "firing" not in hooks.bodies[0] and hooks.bodies[0] == hooks.bodies[1]
        assert evaluate() == [], "within the cooldown"
        assert states()["load"]["firing"] and caller.call("engine::alerts::list", {})["firing_count"] == 3
        wait_for(lambda: "alert_triggered" in it.output(), "the log's line")
        send(port, "/v1/metrics", gauge("load", 1))
        evaluate()
        resolved = worker.expect("invokefunction")
        worker.answer(resolved, None)
        assert resolved["data"]["firing"] is False
        wait_for(lambda: hooks.bodies[-1].get("resolved") is True, "the webhook of the end", timeout=20)
        assert states()["load"]["status"] == "ok" and states()["silent"]["status"] == "no_data"
        worker.close()
        caller.close()


def test_errors_of_the_engine_are_counted_within_the_window():
    rules = [{"name": "errors", "metric": "iii.invocations.error", "threshold": 2, "window_seconds": 600}]
    with fleet(workers=[observability(free_port(), alerts=rules)]) as it:
        worker, caller = it.connect(), it.connect()
        worker.register("alerts::fails")
        worker.sync()
        caller.call("engine::alerts::evaluate", {})
        for _ in range(3):
            invocation = caller.invoke("alerts::fails", {})
            worker.answer(worker.expect("invokefunction"), error={"code": "no", "message": "no"})
            caller.result_of(invocation)
        triggered = caller.call("engine::alerts::evaluate", {})["triggered_alerts"]
        assert [alert["name"] for alert in triggered] == ["errors"] and triggered[0]["operator"] == "GreaterThan"
        worker.close()
        caller.close()


def test_without_rules_the_functions_say_so():
    with fleet(workers=[observability(free_port())]) as it:
        caller = it.connect()
        assert caller.call("engine::alerts::list", {})["message"] == "Alert manager not initialized"
        assert caller.call("engine::alerts::evaluate", {})["evaluated"] is False
        caller.close()


@pytest.mark.parametrize("action, sentence", [
    ({"type": "webhook", "url": "http://169.254.169.254/latest"}, "is a private address"), ({"type": "function", "path": "engine::workers::list"}, "is a function of the engine"),
], ids=["webhook", "function"])
def test_targets_that_an_alert_must_not_have_end_the_start(tmp_path, action, sentence):
    it = Fleet(tmp_path, workers=[observability(free_port(), alerts=[{"name": "a", "metric": "m", "threshold": 1, "action": action}])]).spawn()
    try:
        wait_for(lambda: sentence in it.output(), sentence, timeout=20)
    finally:
        it.stop()


def test_a_webhook_whose_name_leads_to_a_private_address_is_not_called():
    port = free_port()
    hooks = Hooks()
    rules = [{"name": "hook", "metric": "load", "threshold": 5, "window_seconds": 0, "action": {"type": "webhook", "url": hooks.url.replace("127.0.0.1", "localhost")}}]
    with fleet(workers=[observability(port, alerts=rules)]) as it:
        caller = it.connect()
        send(port, "/v1/metrics", gauge("load", 9))
        caller.call("engine::alerts::evaluate", {})
        wait_for(lambda: "private" in (caller.call("engine::alerts::list", {})["alerts"][0]["delivery_error"] or ""), "the reason in the state", timeout=20)
        assert hooks.bodies == []
        caller.close()
