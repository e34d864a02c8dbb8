"""`iii-core metrics`: what a fleet counts, as Prometheus reads it, and the page that explains it (docs/reference/metrics.md)."""

import json
import os
import re
import socket
import subprocess

import pytest
import requests
from certificates import Authority
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families
from processes import run_core, serving
from test_backpressure import connected
from wire import BIN, ROOT, Fleet, Wire, fleet, free_port, wait_for


# The certificate is not what these tests are about.
unverified = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """With everything on that has metrics of its own: all built-ins, TLS on the gateway, a Swift worker."""
    certificate, key = Authority(tmp_path_factory.mktemp("ca")).issue("rsa", key="rsa")
    functions = {"name": "iii-http-functions", "config": {"security": {"require_https": False, "block_private_ips": False}}}
    stream = {"name": "iii-stream", "config": {"port": free_port()}}
    workers = [functions, {"name": "iii-cron"}, {"name": "iii-state"}, stream, {"name": "iii-queue"}, {"name": "iii-pubsub"}]
    workers.append({"name": "iii-observability", "config": {"prometheus": {"port": free_port()}, "exporter": "both", "metrics_exporter": "otlp", "logs_exporter": "both", "endpoint": "http://127.0.0.1:9"}})
    with fleet(http={"tls": {"cert_file": str(certificate), "key_file": str(key)}}, workers=workers) as it:
        with open(it.directory / "traced.log", "wb") as log:
            worker = subprocess.Popen([BIN / "traced-worker"], env={**os.environ, "III_URL": it.url}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield it
        finally:
            worker.terminate()
            worker.wait(timeout=20)


@pytest.fixture
def plain():
    with fleet() as it:
        yield it


def samples(core, *flags) -> dict[str, dict[frozenset, float]]:
    """Name → labels → value of every sample; the document is valid and says nothing twice."""
    parse = openmetrics_families if flags else prometheus_families
    found: dict[str, dict[frozenset, float]] = {}
    names = set()
    for family in parse(core.cli("metrics", *flags, timeout=60).stdout):
        assert family.name not in names, f"{family.name} is there twice"
        names.add(family.name)
        for sample in family.samples:
            series = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in series, sample
            series[labels] = sample.value
    return found


def value(found: dict, name: str, **labels) -> float:
    """The sum over the series of `name` that have these labels."""
    return sum(v for key, v in found.get(name, {}).items() if labels.items() <= dict(key).items())


def metrics_frame(*metrics: dict, attributes: dict | None = None) -> bytes:
    resource = {"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in (attributes or {}).items()]}
    return b"MTRC" + json.dumps({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": list(metrics)}]}]}).encode()


def gauge(name: str, *points: tuple[dict, float]) -> dict:
    return {"name": name, "gauge": {"dataPoints": [{"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in labels.items()], "asDouble": value} for labels, value in points]}}


def total(name: str, value: int) -> dict:
    return {"name": name, "sum": {"isMonotonic": True, "aggregationTemporality": 2, "dataPoints": [{"attributes": [], "asInt": str(value)}]}}


# The document


def documented() -> set[str]:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    return {name for row in re.findall(r"(?m)^\| (`iii_[^|]*) \|", page) for name in re.findall(r"`(iii_\w+)`", row)}


def base(name: str) -> str:
    """The name that the page gives a sample."""
    return re.sub(r"^sdk_", "", re.sub(r"_(bucket|sum|count)$", "", name) if "_seconds_" in name else name)


@unverified
def test_the_page_and_a_running_fleet_name_the_same_metrics(core):
    caller = core.connect()
    wait_for(lambda: "shop::order" in {f["function_id"] for f in caller.call("engine::functions::list")["functions"]}, "the Swift worker")
    caller.call("shop::order", {"items": 1})
    caller.error_of("shop::order", {"items": "three"})
    requests.get(core.http_url + "/nowhere", verify=False)
    caller.register("counted::tick")
    caller.register_trigger("cron", "counted::tick", config={"expression": "* * * * * *"})
    caller.answer(caller.expect("invokefunction"), {})
    caller.call("iii::queue::enqueue", {"queue": "default", "function_id": "shop::order", "data": {"items": 1}})

    def scraped() -> set[str]:
        return {base(name) for name in samples(core) if not name.startswith("shop_")}

    wait_for(lambda: not documented() - scraped(), "every documented metric to be there", timeout=30, interval=0.5)
    assert not scraped() - documented(), "metrics that the page does not explain"
    caller.close()


def test_calls_are_counted_by_function_and_status(core):
    worker, caller = core.connect(), core.connect()
    worker.register("counted::ok")
    worker.register("counted::bad")
    worker.sync()
    for _ in range(3):
        invocation = caller.invoke("counted::ok", {})
        worker.answer(worker.expect("invokefunction"), 1)
        caller.result_of(invocation)
    for code in ("E1", "E1", "E2"):
        invocation = caller.invoke("counted::bad", {})
        worker.answer(worker.expect("invokefunction"), error={"code": code, "message": "no"})
        caller.result_of(invocation)
    caller.invoke("counted::ok", {}, action={"type": "void"})
    worker.answer(worker.expect("invokefunction"), 1)
    worker.sync()
    found = samples(core)
    assert value(found, "iii_invocations_total", function_id="counted::ok", status="ok") == 4
    assert value(found, "iii_invocations_total", function_id="counted::ok", status="error") == 0
    assert value(found, "iii_invocations_total", function_id="counted::bad", status="error") == 3
    assert value(found, "iii_invocation_errors_total", function_id="counted::bad", error_code="E1") == 2
    assert value(found, "iii_invocation_duration_seconds_count", function_id="counted::ok", status="ok") == 4
    assert value(found, "iii_calls_routed_total") >= 7
    invocation = caller.invoke("counted::ok", {})
    worker.expect("invokefunction")
    assert value(samples(core), "iii_calls_in_flight") >= 1
    worker.close()
    assert caller.result_of(invocation)["error"]["code"] == "invocation_stopped"
    found = samples(core)
    assert value(found, "iii_invocation_errors_total", function_id="counted::ok", error_code="invocation_stopped") == 1
    assert value(found, "iii_invocations_total", function_id="counted::bad") == 3, "totals stay when the worker leaves"
    caller.close()


@unverified
def test_requests_are_counted_by_route_and_status(core):
    statuses = iter([200, 200, 404])
    with serving(core.port, {"counted::http": lambda _: {"status_code": next(statuses)}}, {"/counted/:id": "counted::http"}):

        def get(path: str):
            return requests.get(core.http_url + path, verify=False)

        wait_for(lambda: get("/counted/warm").status_code != 404, "the route is live")
        assert [get("/counted/1").status_code, get("/counted/2").status_code, get("/nowhere").status_code] == [200, 404, 404]

    def counted(**labels) -> float:
        return value(samples(core), "iii_http_requests_total", method="GET", worker_name="iii-http", **labels)

    wait_for(lambda: counted(route="/counted/:id", status="200") == 2, "the requests to be counted", timeout=30, interval=0.5)
    assert counted(route="/counted/:id", status="404") == 1 and counted(route="none", status="404") >= 1
    found = samples(core)
    assert value(found, "iii_http_request_duration_seconds_count", route="/counted/:id") == 3
    assert value(found, "iii_http_requests_active") == 0
    assert value(found, "iii_tls_handshakes_total", worker_name="iii-http", result="ok") >= 3


def test_the_fleet_is_in_it(core):
    found = samples(core)
    for entry in ("iii-core", "iii-http"):
        assert value(found, "iii_fleet_ready", entry=entry) == 1
        assert value(found, "iii_fleet_memory_rss_bytes", entry=entry) > 1_000_000
    restarts = value(found, "iii_fleet_restarts_total", entry="iii-http")
    core.cli("restart", "iii-http", timeout=60)
    assert value(samples(core), "iii_fleet_restarts_total", entry="iii-http") == restarts + 1


def test_openmetrics_and_json_say_the_same(core):
    prometheus, openmetrics = samples(core), samples(core, "--openmetrics")
    assert prometheus.keys() == openmetrics.keys()
    document = json.loads(core.cli("metrics", "--json").stdout)
    counted = next(family for family in document if family["name"] == "iii.workers.active")
    assert counted["kind"] == "gauge" and counted["points"][0]["value"] >= 2
    duration = next(family for family in document if family["name"] == "iii.invocation.duration")
    point = duration["points"][0]
    assert len(point["counts"]) == len(point["bounds"]) + 1 and sum(point["counts"]) == point["count"]


def test_without_an_engine_the_exit_code_says_so(tmp_path):
    done = run_core("metrics", "--port", "1", cwd=tmp_path)
    assert done.returncode == 4 and "no engine answers" in done.stderr


def test_json_and_openmetrics_at_once_is_a_usage_error(tmp_path):
    assert run_core("metrics", "--json", "--openmetrics", cwd=tmp_path).returncode == 2


# Workers


def test_the_newest_numbers_of_a_worker_are_there_until_it_leaves(plain):
    worker = plain.connect()
    worker.call("engine::workers::register", {"name": "shop", "runtime": "python"})
    worker.send(metrics_frame(total("shop.orders", 1)))
    worker.send(metrics_frame(total("shop.orders", 2)))
    worker.sync()
    found = samples(plain)
    assert value(found, "shop_orders_total", worker_name="shop", worker_id=worker.worker_id) == 2
    worker.close()
    wait_for(lambda: "shop_orders_total" not in samples(plain), "the series to end")


def test_a_telemetry_socket_says_who_it_is(plain):
    socket_ = Wire(plain.port, path="/otel")
    socket_.send(metrics_frame(gauge("shop.load", ({}, 0.5)), attributes={"service.name": "shop", "service.instance.id": "i-1"}))
    wait_for(lambda: value(samples(plain), "shop_load", worker_name="shop", worker_id="i-1") == 0.5, "the gauge")
    socket_.close()
    wait_for(lambda: "shop_load" not in samples(plain), "the series to end")


def test_no_worker_speaks_for_the_engine_or_spoils_the_document(plain):
    worker, other = plain.connect(), plain.connect()
    spoofed = {"worker.id": "somebody", "worker_name": "iii-core", "entry": "iii-core"}
    worker.send(
        metrics_frame(
            gauge("iii.workers.active", ({}, 1e9)),
            gauge("iii.calls.received.total", ({}, 7)),
            gauge("iii.fleet.ready", (spoofed, 0)),
            gauge("a.total", ({}, 1)),
            total("a", 2),
            gauge("h_count", ({}, 1)),
            {"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [{"count": "1", "sum": 1, "bucketCounts": ["1", "0"], "explicitBounds": [1]}]}},
            gauge('we"ird\n{name}', ({'la"bel\n': 'va"l\\ue\n', "la_bel_": "again"}, 1), ({"b": "\x1b[31m"}, float(2))),
            gauge("", ({}, 1)),
            gauge("twice", ({}, 1), ({}, 2)),
        )
    )
    other.send(metrics_frame(total("twice", 1), gauge("a", ({}, 1))))
    worker.sync()
    other.sync()
    found = samples(plain)
    assert samples(plain, "--openmetrics")
    assert value(found, "iii_workers_active") == 2
    assert value(found, "sdk_iii_workers_active", worker_id=worker.worker_id) == 1e9
    assert value(found, "iii_fleet_ready", entry="iii-core") == 1
    (labels,) = found["sdk_iii_fleet_ready"]
    assert dict(labels)["worker_id"] == worker.worker_id and dict(labels)["worker_name"] == worker.worker_id
    worker.close()
    other.close()


def test_a_document_of_many_megabytes_arrives_whole(plain):
    """More than the control socket keeps for a client, at the client's own pace."""
    workers = []
    for number in range(8):
        worker = plain.connect(max_size=None)
        points = [({"path": f"/{number}/{n}/" + "x" * 5_000}, n) for n in range(250)]
        worker.send(metrics_frame(gauge("shop.paths", *points)))
        worker.sync()
        workers.append(worker)
    done = plain.cli("metrics", timeout=120)
    assert len(done.stdout) > 9_000_000
    assert done.stdout.count("\nshop_paths{") == 2_000
    for worker in workers:
        worker.close()


def test_a_client_that_does_not_read_holds_up_nobody(plain):
    worker = plain.connect(max_size=None)
    worker.send(metrics_frame(gauge("shop.paths", *[({"path": f"/{n}/" + "x" * 5_000}, n) for n in range(500)])))
    worker.sync()
    path = next(plain.directory.rglob("*.sock"))
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(path))
        idle.sendall(b'{"command":"metrics"}\n' * 3)
        assert value(samples(plain), "iii_workers_active") == 1
        assert "iii-exec" not in plain.rows()
    worker.close()


# Bounds


def test_what_finds_no_room_is_left_out_and_counted():
    with fleet(manager={"metrics_buffer_bytes": 4_000}) as it:
        first, second = it.connect(), it.connect()
        first.send(metrics_frame(gauge("first", ({}, 1))))
        first.sync()
        second.send(metrics_frame(gauge("second", ({"x": "y" * 5_000}, 1))))
        second.sync()
        found = samples(it)
        assert value(found, "first") == 1 and "second" not in found
        assert value(found, "iii_telemetry_dropped_total", reason="metrics_buffer_full") == 1
        assert 0 < value(found, "iii_telemetry_metrics_bytes") <= 4_000
        first.close()
        second.close()


def test_a_flood_of_functions_shares_one_series_and_totals_stay_exact(plain):
    worker, caller = plain.connect(), plain.connect()
    count = 2_100
    worker.register("early::one")
    for number in range(count):
        worker.register(f"flood::{number}")
    worker.sync()

    def call(function: str):
        invocation = caller.invoke(function, {})
        worker.answer(worker.expect("invokefunction"), 1)
        caller.result_of(invocation)

    call("early::one")
    for number in range(count):
        call(f"flood::{number}")
    found = samples(plain)
    assert len({dict(key)["function_id"] for key in found["iii_invocations_total"]}) <= 2_001
    assert value(found, "iii_invocations_total", function_id="early::one") == 1
    mine = sum(v for key, v in found["iii_invocations_total"].items() if re.match(r"early|flood|other", dict(key)["function_id"]))
    assert mine >= count + 1
    assert value(found, "iii_invocations_total", function_id="other") >= 100
    worker.close()
    caller.close()


def test_metrics_can_be_off(tmp_path):
    entry = {"name": "iii-observability", "exec": "sleep 600", "startup_timeout_ms": 600_000, "config": {"metrics_enabled": False}}
    it = Fleet(tmp_path, workers=[entry]).spawn()
    try:
        caller = wait_for(lambda: connected(it), "the worker port")
        caller.call("engine::workers::list")
        caller.close()
        found = samples(it)
        assert "iii_invocations_total" not in found and value(found, "iii_calls_received_total") >= 1
    finally:
        it.stop()
