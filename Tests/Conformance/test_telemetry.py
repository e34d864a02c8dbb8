"""Metrics and spans on their way from a process to the engine (docs/reference/metrics.md)."""

import contextlib
import json
import os
import re
import subprocess

import pytest
import requests
from processes import Service, ok, wait_for_http
from wire import BIN, BUILTIN_SECRET, ROOT, Fleet, builtin, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    directory = tmp_path_factory.mktemp("telemetry")
    secret = directory / "secret"
    secret.write_text(BUILTIN_SECRET)
    secret.chmod(0o600)
    queues = {"name": "iii-queue", "config": {"queue_configs": {"traced": {"backoff_ms": 20}}}}
    fleet = Fleet(directory, workers=[queues], http={}, env={"III_BUILTIN_TOKEN_FILE": str(secret)})
    try:
        yield fleet.up()
    finally:
        fleet.stop()


class Consumer:
    """`iii-observability`, as far as the engine can tell: a built-in that gets all frames."""

    def __init__(self, core):
        self.wire = builtin(core, "iii-observability")
        self.spans: list[dict] = []
        self.results: dict[str, dict] = {}
        self.metrics: dict[str, dict] = {}

    def read(self, timeout: float) -> None:
        try:
            frame = self.wire.ws.recv(timeout=timeout)
        except TimeoutError:
            return
        if isinstance(frame, str):
            message = json.loads(frame)
            if message["type"] == "invokefunction":
                self.wire.answer(message, {})
            elif message["type"] == "invocationresult":
                self.results[message["invocation_id"]] = message
            return
        document = json.loads(frame[4:])
        for resource in document.get("resourceSpans", []):
            self.spans += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
        for resource in document.get("resourceMetrics", []):
            attributes = {a["key"]: a["value"]["stringValue"] for a in resource["resource"]["attributes"]}
            source = attributes.get("iii.component") or attributes["service.name"]
            self.metrics.setdefault(source, {}).update({m["name"]: m for scope in resource["scopeMetrics"] for m in scope["metrics"]})

    def ask_for(self, ratio: float | None):
        """Every built-in has been told when this returns."""
        invocation = self.wire.invoke("core::telemetry::trace", {"ratio": ratio})
        self.until(lambda: invocation in self.results, "the core's answer")

    def until(self, condition, what: str):
        def look():
            self.read(0.1)
            return condition()

        return wait_for(look, what, timeout=30)

    def span(self, name: str) -> dict:
        return self.until(lambda: next((s for s in self.spans if s["name"] == name), None), f"a span named {name}")


@pytest.fixture
def consumer(core):
    it = Consumer(core)
    yield it
    it.wire.close()


@contextlib.contextmanager
def traced_worker(core, **env):
    with open(core.directory / "traced.log", "wb") as log:
        process = subprocess.Popen(
            [BIN / "traced-worker"], env={**os.environ, "III_URL": core.url, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    caller = core.connect()
    try:
        wait_for(lambda: "shop::charge" in {f["function_id"] for f in caller.call("engine::functions::list")["functions"]}, "the worker to be there")
        yield caller
    finally:
        caller.close()
        process.terminate()
        process.wait(timeout=20)
        assert "error" not in (core.directory / "traced.log").read_text()


def value(metric: dict | None):
    if metric is None:
        return None
    (point,) = (metric.get("sum") or metric["gauge"])["dataPoints"]
    return point.get("asInt", point.get("asDouble"))


def test_two_lines_bring_counters_and_spans_to_the_engine(core, consumer):
    with traced_worker(core) as caller:
        assert caller.call("shop::order", {"items": 3}, traceparent=SAMPLED) == {"charged": True}
        order, charge, inner = (consumer.span(name) for name in ("execute shop::order", "charge", "execute shop::charge"))
        assert {span["traceId"] for span in (order, charge, inner)} == {TRACE}
        assert order["parentSpanId"] == CALLER, "the parent is the caller's span"
        assert charge["parentSpanId"] == order["spanId"], "a span of the handler is a child of the handler's"
        assert inner["parentSpanId"] == charge["spanId"], "what it calls is a child of that"
        assert {"key": "shop.items", "value": {"intValue": "3"}} in charge["attributes"]
        consumer.until(lambda: value(consumer.metrics.get("traced-worker", {}).get("shop.orders")) == "1", "the counter to arrive")


def test_a_failing_handler_is_a_failed_span(core, consumer):
    with traced_worker(core) as caller:
        assert caller.error_of("shop::order", {"items": "three"}, traceparent=SAMPLED)["code"] == "INVALID_ARGUMENTS"
        span = consumer.span("execute shop::order")
        assert span["status"]["code"] == 2 and "items" in span["status"]["message"]
        attributes = {a["key"]: a["value"]["stringValue"] for a in span["attributes"]}
        assert attributes["error.type"] == "INVALID_ARGUMENTS"
        assert [event["name"] for event in span["events"]] == ["exception"]


@pytest.mark.parametrize(
    ("env", "traceparent"),
    [({"OTEL_ENABLED": "false"}, SAMPLED), ({}, f"00-{TRACE}-{CALLER}-00"), ({}, None), ({}, f"cc-{TRACE}-{CALLER}-08-more")],
    ids=["tracing off", "not sampled by the caller", "no trace", "of a later version"],
)
def test_what_is_not_recorded_passes_through(core, consumer, env, traceparent):
    with traced_worker(core, **env) as caller:
        charge = core.connect()
        charge.register("shop::charge")
        charge.sync()
        context = {"traceparent": traceparent, "baggage": "tenant=a,k=1+1", "tracestate": "vendor=1" if traceparent else None}
        invocation = caller.invoke("shop::order", {"items": 1}, **context)
        call = charge.expect("invokefunction")
        assert {key: call.get(key) for key in context} == context
        charge.answer(call, {"charged": True})
        assert "error" not in caller.result_of(invocation)
        charge.close()
    consumer.until(lambda: consumer.metrics.get("traced-worker", {}).get("shop.orders"), "the last frame")
    assert consumer.spans == []


def test_the_root_decides(core, consumer):
    with traced_worker(core, OTEL_TRACES_SAMPLER_ARG="1") as caller:
        caller.call("shop::order", {"items": 1})
        assert "parentSpanId" not in consumer.span("execute shop::order")


def test_every_built_in_sends_its_numbers(core, consumer):
    consumer.until(lambda: consumer.metrics.get("iii-http", {}).get("iii.worker.memory.rss"), "metrics of iii-http")


def test_observability_says_what_built_ins_record(core, consumer):
    other = builtin(core, "probe")
    assert other.call("core::builtin::hello", {"name": "probe"})["trace_ratio"] is None
    assert other.error_of("core::telemetry::trace", {"ratio": 1})["code"] == "INVALID_ARGUMENTS"
    other.register("builtin::probe::trace")
    other.sync()
    for ratio in (2, -1, "all", True):
        assert consumer.wire.error_of("core::telemetry::trace", {"ratio": ratio})["code"] == "INVALID_ARGUMENTS", ratio
    for ratio in (0.25, None):
        invocation = consumer.wire.invoke("core::telemetry::trace", {"ratio": ratio})
        told = other.expect("invokefunction", function_id="builtin::probe::trace")
        assert told["data"] == {"ratio": ratio}
        other.answer(told, {})
        consumer.until(lambda: other.call("core::builtin::hello", {"name": "probe"})["trace_ratio"] == ratio, f"{invocation} to hold")
    other.close()


def test_a_request_is_a_span_between_client_and_function(core, consumer):
    consumer.ask_for(0)
    seen = []

    class Traced(Service):
        def _answer(self, call):
            seen.append(call)
            super()._answer(call)

    worker = Traced(core.port, {"traced::get": ok}, {"/traced/:id": "traced::get"})
    wait_for_http(core.http_url + "/traced/1")
    headers = {"traceparent": SAMPLED, "baggage": "tenant=a", "tracestate": "vendor=1"}
    assert requests.get(core.http_url + "/traced/7?q=1", headers=headers).status_code == 200
    span = consumer.span("GET /traced/:id")
    assert span["traceId"] == TRACE and span["parentSpanId"] == CALLER and span["kind"] == 2 and span["status"]["code"] == 1
    attributes = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
    assert attributes["http.route"] == "/traced/:id" and attributes["url.path"] == "/traced/7" and attributes["url.query"] == "q=1"
    assert attributes["http.response.status_code"] == "200"
    call = seen[-1]
    assert call["traceparent"] == f"00-{TRACE}-{span['spanId']}-01", "the function's parent is the request"
    assert call["baggage"] == "tenant=a" and call["tracestate"] == "vendor=1"
    assert len([s for s in consumer.spans if s["name"] == "GET /traced/:id"]) == 1, "the root decides: ratio 0, and no client's context"
    consumer.ask_for(None)
    consumer.until(lambda: requests.get(core.http_url + "/traced/8", headers=headers).ok and seen[-1]["traceparent"] == SAMPLED, "it passes through again")
    worker.close()


def test_the_page_shows_the_example_as_it_is():
    page = (ROOT / "docs" / "extending.md").read_text()
    example = (ROOT / "examples" / "traced" / "TracedWorker.swift").read_text()
    assert example in re.findall(r"```swift\n(.*?)```", page, re.S)


def test_a_message_is_a_span_between_its_sender_and_every_attempt(core, consumer):
    consumer.ask_for(1.0)
    with contextlib.closing(core.connect()) as wire:
        wire.register("traced::message")
        wire.sync()
        wire.call("traced::message", {"n": 1}, action={"type": "enqueue", "queue": "traced"}, traceparent=SAMPLED)
        call = wire.expect("invokefunction")
        wire.answer(call, error={"code": "invocation_failed", "message": "boom"})
        again = wire.expect("invokefunction")
        wire.answer(again)
        enqueued = consumer.span("enqueue traced::message → traced")
        consumer.until(lambda: len([s for s in consumer.spans if s["name"] == "fn_queue traced"]) == 2, "two attempts")
    first, second = sorted((s for s in consumer.spans if s["name"] == "fn_queue traced"), key=lambda s: int(s["startTimeUnixNano"]))
    assert {s["traceId"] for s in (enqueued, first, second)} == {TRACE}
    assert enqueued["kind"] == 4 and first["kind"] == second["kind"] == 5
    assert first["parentSpanId"] == second["parentSpanId"] == enqueued["spanId"], "every attempt is a child of the enqueue"
    assert [link["spanId"] for link in second["links"]] == [first["spanId"]] and "links" not in first
    assert first["status"]["code"] == 2 and second["status"]["code"] == 1
    assert call["traceparent"].split("-")[1] == TRACE
    consumer.ask_for(None)
