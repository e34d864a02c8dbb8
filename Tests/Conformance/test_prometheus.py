"""The Prometheus endpoint of iii-observability, and the chain of metric, alert rule, runbook and dashboard (docs/reference/observability.md#prometheus)."""

import concurrent.futures
import json
import re
import shutil
import socket
import subprocess
import time

import pytest
import requests
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as prometheus_families
from wire import ROOT, Fleet, fleet, free_port, wait_for

RULES = ROOT / "deploy" / "prometheus" / "iii.rules.yml"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
# As Prometheus 2 and 3 ask, and a browser.
ACCEPT = {
    "prometheus": ("application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2", OPENMETRICS),
    "openmetrics": ("application/openmetrics-text; version=1.0.0", OPENMETRICS),
    "plain": ("text/plain", PLAIN),
    "browser": ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN),
    "nothing": (None, PLAIN),
    "refused": ("application/openmetrics-text;q=0, text/plain", PLAIN),
}


def observability(port: int, **config) -> dict:
    return {"name": "iii-observability", "config": {"prometheus": {"port": port}, **config}}


@pytest.fixture(scope="module")
def scraped():
    """A fleet with all built-ins, and the address of its metrics."""
    port = free_port()
    workers = [observability(port), {"name": "iii-cron"}, {"name": "iii-state"}, {"name": "iii-stream", "config": {"port": free_port()}}, {"name": "iii-queue"}, {"name": "iii-pubsub"}]
    with fleet(http={}, workers=workers) as it:
        it.metrics_url = f"http://127.0.0.1:{port}/metrics"
        yield it


def get(url: str, accept: str | None = "text/plain", **options) -> requests.Response:
    return requests.get(url, headers={"accept": accept, "accept-encoding": "identity"}, timeout=30, **options)


@pytest.mark.parametrize("who", ACCEPT)
def test_every_scraper_gets_a_document_of_the_type_it_is_said_to_be(scraped, who):
    accept, expected = ACCEPT[who]
    answer = get(scraped.metrics_url, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, expected)
    parse = openmetrics_families if expected == OPENMETRICS else prometheus_families
    families = list(parse(answer.text))
    assert len({family.name for family in families}) == len(families) > 20
    assert {"iii_build_info", "iii_fleet_ready"} <= {family.name for family in families}
    if expected == OPENMETRICS:
        assert answer.text.endswith("# EOF\n") and "\n\n" not in answer.text


def test_what_is_no_scrape_is_told_so(scraped):
    assert requests.post(scraped.metrics_url, timeout=10).status_code == 405
    assert requests.get(scraped.metrics_url.replace("/metrics", "/"), timeout=10).status_code == 404
    head = requests.head(scraped.metrics_url, timeout=10)
    assert head.status_code == 200 and not head.content and int(head.headers["content-length"]) > 1000
    with socket.create_connection(("127.0.0.1", int(scraped.metrics_url.split(":")[2].split("/")[0]))) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        assert b"400" in raw.recv(100)


def test_many_scrapers_and_slow_ones_harm_nobody(scraped):
    port = int(scraped.metrics_url.split(":")[2].split("/")[0])
    slow = []
    for _ in range(10):
        raw = socket.create_connection(("127.0.0.1", port))
        raw.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        slow.append(raw)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: get(scraped.metrics_url).status_code, range(100)))
    assert set(answers) == {200}
    for raw in slow:
        assert raw.recv(12) == b"HTTP/1.1 200"
        raw.close()


def test_labels_of_any_kind_survive_the_text(scraped):
    worker = scraped.connect()
    name = 'a"b\\c\u00fc€😀'
    worker.register(f"odd::{name}")
    worker.sync()
    caller = scraped.connect()
    invocation = caller.invoke(f"odd::{name}", {})
    worker.answer(worker.expect("invokefunction"), 1)
    caller.result_of(invocation)

    def seen() -> bool:
        return any(
            sample.labels.get("function_id") == f"odd::{name}"
            for family in openmetrics_families(get(scraped.metrics_url, ACCEPT["openmetrics"][0]).text) for sample in family.samples
        )

    wait_for(seen, "the function with the odd name", timeout=20, interval=0.3)
    worker.close()
    caller.close()


def test_a_recorded_call_is_an_exemplar_of_its_bucket(scraped):
    worker, caller = scraped.connect(), scraped.connect()
    worker.register("exemplar::f")
    worker.sync()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for flags in ("00", "01"):
        invocation = caller.invoke("exemplar::f", {}, traceparent=f"00-{trace[:-1]}{flags[1]}-00f067aa0ba902b7-{flags}")
        worker.answer(worker.expect("invokefunction"), 1)
        caller.result_of(invocation)

    def exemplars() -> set[str]:
        families = openmetrics_families(get(scraped.metrics_url, ACCEPT["openmetrics"][0]).text)
        samples = [sample for family in families if family.name == "iii_invocation_duration_seconds" for sample in family.samples]
        return {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar and sample.labels["function_id"] == "exemplar::f"}

    wait_for(lambda: exemplars() == {f"{trace[:-1]}1"}, "the exemplar of the recorded call, and no other", timeout=20, interval=0.3)
    assert "trace_id" not in get(scraped.metrics_url).text
    worker.close()
    caller.close()


def test_a_default_port_that_is_taken_is_left_shut_and_a_configured_one_ends_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 9464)):
        it = Fleet(tmp_path, workers=[{"name": "iii-observability"}]).up()
        try:
            assert "port_taken" in it.output() and it.rows()["iii-observability"]["state"] == "ready"
        finally:
            it.stop()
    (tmp_path / "second").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        it = Fleet(tmp_path / "second", workers=[observability(port)]).spawn()
        try:
            wait_for(lambda: f"address 127.0.0.1:{port} is already in use" in it.output(), "the reason", timeout=20)
        finally:
            it.stop()


# The chain


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\biii_\w+", expression))


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def documented() -> set[str]:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    return {name for row in re.findall(r"(?m)^\| (`iii_[^|]*) \|", page) for name in re.findall(r"`(iii_\w+)`", row)}


def test_rules_and_dashboard_name_only_metrics_that_are_documented():
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "iii.json").read_text())
    expressions = [rule["expr"] for rule in rules()] + [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for expression in expressions for name in metric_names(expression)}
    assert len(named) > 20 and named - documented() == set()


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert():
    sections = set(re.findall(r"(?m)^## (III\w+)$", (ROOT / "docs" / "runbook.md").read_text()))
    assert {rule["alert"] for rule in rules()} == sections
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning")


needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed (scripts/install-packages test)")


@needs_prometheus
def test_promtool_accepts_rules_and_scrapes(scraped):
    subprocess.run(["promtool", "check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml"], check=True, timeout=60, capture_output=True)
    document = get(scraped.metrics_url).text
    checked = subprocess.run(["promtool", "check", "metrics"], input=document, text=True, timeout=60, capture_output=True)
    assert "error while linting" not in checked.stderr and "parse" not in checked.stderr, checked.stderr


@needs_prometheus
def test_a_real_prometheus_scrapes_the_fleet_and_evaluates_the_rules(scraped, tmp_path):
    port, target = free_port(), scraped.metrics_url.split("/")[2]
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    config["rule_files"] = [str(RULES)]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with open(tmp_path / "prometheus.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        def api(path: str, **query):
            return requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=query, timeout=10).json()["data"]

        def is_up() -> bool:
            try:
                return any(it["health"] == "up" for it in api("targets")["activeTargets"])
            except (requests.RequestException, KeyError, ValueError):
                return False

        wait_for(is_up, "a successful scrape", timeout=40, interval=0.3)
        targets = api("targets")["activeTargets"]
        assert [it["lastError"] for it in targets] == [""]
        wait_for(lambda: api("query", query="iii_fleet_ready")["result"], "series of the fleet", timeout=20, interval=0.3)
        wait_for(lambda: all(rule["health"] == "ok" for group in api("rules")["groups"] for rule in group["rules"]), "all rules to be evaluated", timeout=20, interval=0.3)
        assert len(api("query", query="count by (function_id) (iii_invocations_total)")["result"]) > 0
    finally:
        server.terminate()
        server.wait(timeout=20)
