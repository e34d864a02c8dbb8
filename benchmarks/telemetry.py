"""What telemetry costs: routed calls with everything off, with metrics only and with every call traced; how many spans a second are taken in, beside a
receiver in Python and bare SQLite inserts; and what a full store holds and answers. Everything runs on loopback, is bounded in time, and is stopped by pid.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from measure import cpu_seconds, median, routed

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "Conformance"))
from wire import Fleet, free_port, wait_for  # noqa: E402

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

BEGIN, END = "<!-- telemetry -->\n", "<!-- /telemetry -->"
PAGE = ROOT / "docs" / "benchmarks.md"
OFF = {"enabled": False, "metrics_enabled": False, "logs_enabled": False}
SHUT = {"prometheus": {"enabled": False}}
MODES = {"everything off": {**OFF, **SHUT}, "metrics only": {"sampling_ratio": 0, **SHUT}, "every call traced": {"sampling_ratio": 1, "memory_max_spans": 200_000, **SHUT}}

# A receiver as one would write it: decodes what it is sent and keeps it.
PEER = """
import sys
sys.path.insert(0, sys.argv[1])
from collector import Collector
it = Collector()
print(it.port, flush=True)
sys.stdin.read()
"""


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def observability(**config) -> list:
    return [{"name": "iii-observability", "config": config}]


def calls(options, directory: pathlib.Path) -> dict:
    """Alternated rounds of the three modes at 64 calls in flight, with the processor time of core and iii-observability per call."""
    samples = {mode: [] for mode in MODES}
    with contextlib.ExitStack() as stack:
        fleets = {}
        for number, (mode, config) in enumerate(MODES.items()):
            (directory / str(number)).mkdir()
            fleets[mode] = Fleet(directory / str(number), workers=observability(**config))
            stack.callback(fleets[mode].stop)
            fleets[mode].up()
        for _ in range(options.rounds):
            for mode, fleet in fleets.items():
                pids = [fleet.process.pid, fleet.pid_of("iii-observability")]
                before = cpu_seconds(pids)
                sample = routed("iii", fleet.port, 64, options.seconds)
                sample["cpu_us"] = 1e6 * (cpu_seconds(pids) - before) / (sample["per_second"] * options.seconds * 1.2)
                samples[mode].append(sample)
    base = samples["everything off"]
    result = {}
    for mode, rounds in samples.items():
        result[mode] = median(rounds)
        result[mode]["ratio"] = statistics.median(one["per_second"] / other["per_second"] for one, other in zip(rounds, base))
    return result


def document(number: int, count: int) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name", value={"string_value": "bench"})
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    now = time.time_ns()
    for index in range(count):
        place = number * count + index
        span = scope.spans.add(trace_id=(place // 8 + 1).to_bytes(16, "big"), span_id=(place + 1).to_bytes(8, "big"), name=f"call shop::f{place % 50}", kind=2)
        span.start_time_unix_nano, span.end_time_unix_nano = now - 5_000_000, now - 1_000 * (place % 1000)
        if place % 8:
            span.parent_span_id = (place // 8 * 8 + 1).to_bytes(8, "big")
        for key, value in (("function_id", f"shop::f{place % 50}"), ("http.request.method", "POST"), ("customer", f"c{place % 10_000}")):
            span.attributes.add(key=key, value={"string_value": value})
    return request.SerializeToString()


def posted(port: int, bodies: list[bytes], senders: int = 4) -> float:
    """Seconds until all bodies are answered."""
    waiting, lock = list(bodies), threading.Lock()

    def send():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                if not waiting:
                    return
                body = waiting.pop()
            while True:
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
                time.sleep(0.05)

    threads = [threading.Thread(target=send) for _ in range(senders)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start


def inserted(bodies: list[bytes]) -> float:
    """Rows a second of SQLite alone: one row a span, one transaction a document, as a store on disk would at least need."""
    with tempfile.TemporaryDirectory() as directory:
        database = sqlite3.connect(f"{directory}/spans.db")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("CREATE TABLE spans (trace BLOB, span BLOB, start INTEGER, payload BLOB, PRIMARY KEY (trace, span)) WITHOUT ROWID")
        rows = [[(s.trace_id, s.span_id, s.start_time_unix_nano, s.SerializeToString()) for s in ExportTraceServiceRequest.FromString(b).resource_spans[0].scope_spans[0].spans] for b in bodies]
        start = time.monotonic()
        for batch in rows:
            with database:
                database.executemany("INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?)", batch)
        return sum(map(len, rows)) / (time.monotonic() - start)


def ingest(options, directory: pathlib.Path) -> dict:
    count = 512
    bodies = [document(number, count) for number in range(options.spans // count)]
    port = free_port()
    (directory / "ingest").mkdir()
    fleet = Fleet(directory / "ingest", workers=observability(memory_max_spans=len(bodies) * count, otlp_receiver={"enabled": True, "port": port}, **SHUT)).up()
    try:
        pid = fleet.pid_of("iii-observability")
        before, cpu = resident(pid), cpu_seconds([pid])
        ours = len(bodies) * count / posted(port, bodies)
        caller = fleet.connect()
        caller.call("engine::traces::list", {"limit": 1})
        cpu = 1e6 * (cpu_seconds([pid]) - cpu) / (len(bodies) * count)
        held = resident(pid) - before
        trace = f"{3:032x}"
        queries = {"list": {"limit": 50}, "list by name": {"name": "f7", "search_all_spans": True, "limit": 50}, "list by attribute": {"attributes": [["customer", "c8"]]}, "slowest": {"sort_by": "duration", "sort_order": "desc", "limit": 20}, "tree": {"trace_id": trace}}
        answers = {}
        for name, query in queries.items():
            function, times = "engine::traces::tree" if name == "tree" else "engine::traces::list", []
            end = time.monotonic() + options.seconds
            while time.monotonic() < end or len(times) < 3:
                start = time.monotonic()
                caller.call(function, query)
                times.append(1000 * (time.monotonic() - start))
            answers[name] = {"p50_ms": statistics.median(times), "p99_ms": percentile(times, 0.99)}
    finally:
        fleet.stop()
    peer = subprocess.Popen([sys.executable, "-c", PEER, ROOT / "Tests" / "Conformance"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        some = bodies[: max(1, len(bodies) // 8)]
        python = len(some) * count / posted(int(peer.stdout.readline()), some)
    finally:
        peer.terminate()
        peer.wait(20)
    sqlite = inserted(bodies[: max(1, len(bodies) // 4)])
    return {"spans": len(bodies) * count, "per_second": ours, "cpu_us": cpu, "held_bytes": held, "python_per_second": python, "sqlite_per_second": sqlite, "queries": answers}


def table(calls: dict, ingest: dict) -> str:
    lines = ["| Routed calls, 64 in flight | calls/s | p99 ms | processor time of a call, µs | ÷ everything off |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {mode} | {row['per_second']:,.0f} | {row['p99_ms']:.2f} | {row['cpu_us']:.1f} | {row['ratio']:.2f} |" for mode, row in calls.items()]
    lines += ["", "| Spans taken in | spans/s |", "|---|---:|", f"| iii-observability, OTLP/HTTP, 4 senders ({ingest['cpu_us']:.1f} µs of processor time each) | {ingest['per_second']:,.0f} |",
              f"| a receiver in Python that decodes them | {ingest['python_per_second']:,.0f} |", f"| bare SQLite inserts | {ingest['sqlite_per_second']:,.0f} |",
              "", f"{ingest['spans']:,} spans kept take {ingest['held_bytes'] / 1e6:,.0f} MB of memory ({ingest['held_bytes'] / ingest['spans']:,.0f} bytes each).", "", "| Question to the full store | p50 ms | p99 ms |", "|---|---:|---:|"]
    lines += [f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |" for name, row in ingest["queries"].items()]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="of one round, and of one kind of question")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spans", type=int, default=1_000_000, help="how many are stored")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        routes = calls(options, pathlib.Path(directory))
        print(json.dumps(routes), flush=True)
        stored = ingest(options, pathlib.Path(directory))
    print(json.dumps(stored), flush=True)
    text = table(routes, stored)
    print(text)
    if options.write:
        page = PAGE.read_text()
        start, end = page.index(BEGIN) + len(BEGIN), page.index(END)
        PAGE.write_text(page[:start] + text + page[end:])


if __name__ == "__main__":
    main()
