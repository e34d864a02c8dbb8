"""Measures the engine against named peers in one run and writes the table of docs/benchmarks.md; with `--against DIRECTORY` against
another build of itself (`against.py`).

Figures are medians of alternated rounds; only their ratios mean anything, since load generator, peers and engine share the
machine. Everything runs on loopback, is bounded in time, and is stopped by pid.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import re
import subprocess
import tempfile
import time

import requests

import against
from certificates import Authority, kept
from measure import ROOT, cpu_seconds, median, routed, wrk
from wire import BIN, Fleet, Wire, free_port, wait_for

PEERS = ROOT / "benchmarks" / "peers"


@contextlib.contextmanager
def process(command, port, **options):
    import socket

    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)

    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    try:
        wait_for(listens, f"{command[0]} to listen")
        yield child
    finally:
        child.terminate()
        child.wait(10)


def another(stack, directory: pathlib.Path, workers: list, http: dict) -> Fleet:
    """A second fleet, for what is compared within ours."""
    directory.mkdir()
    fleet = Fleet(directory, http=http, workers=workers)
    stack.callback(fleet.stop)
    return fleet.up()


def with_routes(fleet: Fleet, count: int) -> Wire:
    """Puts `count` routes of mixed shapes beside the one that is measured; they live as long as the returned connection."""
    wire = Wire(fleet.port).hello()
    wire.register("many::route")
    for n in range(count):
        path = (f"/tenants/{n % 100}/items/:id/part/{n}", f"/hello/{n}", f"/r{n}/:a/:b", f"/static/area{n % 500}/page{n}")[n % 4]
        wire.register_trigger("http", "many::route", config={"api_path": path})
    # The last one is live, so all are.
    wait_for(lambda: "GET" in requests.options(f"{fleet.http_url}{path.replace(':id', '1').replace(':a', '1').replace(':b', '1')}", timeout=30).headers.get("allow", ""), "the routes", timeout=60)
    return wire


def compared(options, first: tuple[str, str], second: tuple[str, str]) -> dict:
    """Alternated rounds of two URLs at 64 connections."""
    samples = {first[0]: [], second[0]: []}
    for _ in range(options.rounds):
        for name, url in (first, second):
            samples[name].append(wrk(url, 64, options.seconds))
    result = {name: median(s) for name, s in samples.items()}
    print(json.dumps(result), flush=True)
    return result


def pair_table(title: str, row: dict, of: str, to: str) -> list[str]:
    cells = [f"{row[n]['per_second']:,.0f} ({row[n]['p50_ms']:.2f} / {row[n]['p99_ms']:.2f})" for n in (of, to)]
    ratio = row[of]["per_second"] / row[to]["per_second"]
    return ["", f"| HTTP hello, requests/s (p50 / p99 ms) | {of} | {to} | {of} ÷ {to} |", "|---|---:|---:|---:|", f"| {title} | {' | '.join(cells)} | {ratio:.2f} |"]


def secured(stack, directory: pathlib.Path, workers: list) -> Fleet:
    """A second fleet like the first whose gateway speaks TLS."""
    certificates = directory.with_suffix(".certificates")
    certificates.mkdir()
    authority = Authority(certificates)
    certificate, key = authority.issue("bench")
    fleet = another(stack, directory, workers, {"tls": {"cert_file": str(certificate), "key_file": str(key)}})

    def answers():
        connection = kept(fleet.http_port, authority.trust())
        connection.request("GET", "/hello")
        return connection.getresponse().status == 200

    wait_for(answers, "hello over TLS")
    return fleet


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=2)
    options.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options.add_argument("--against", type=pathlib.Path, metavar="DIRECTORY", help="compare with the executables of another build instead")
    options.add_argument("--pairs", type=int, default=12, help="with --against: pairs of rounds for each row, 10 at least")
    options.add_argument("--rows", help="with --against: these only, e.g. routed-64,http-64")
    options.add_argument("--short", action="store_true", help="with --against: 10 pairs of 1 s for routed-64 and http-64, under two minutes")
    options = options.parse_args()
    if options.short:
        options.pairs, options.seconds, options.rows = against.MINIMUM_PAIRS, 1, options.rows or "routed-64,http-64"
    if options.against:
        return against.run(options.against, options.pairs, options.seconds, options.rows)
    node_path = os.environ.get("NODE_PATH", "/usr/share/nodejs:/usr/lib/nodejs")
    uvicorn = ROOT / ".cache" / "venv-bench" / "bin" / "uvicorn"

    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iii-bench-")))
        started = time.monotonic()
        hello = [{"name": "iii-exec", "config": {"exec": [str(BIN / "hello-worker")]}}]
        # The same engine by a listener with access rules: every call is looked up in them.
        ruled_port = free_port()
        ruled = {"name": "iii-worker-manager", "config": {"port": ruled_port, "rbac": {"expose_functions": ['match("other::*")', 'match("bench::*")']}}}
        fleet = Fleet(directory, http={}, workers=[*hello, ruled])
        stack.callback(fleet.stop)
        fleet.up()
        up_ms = int(re.search(r"iii-core ready in (\d+) ms", fleet.output()).group(1))
        nats_port, node_port, fastapi_port, nginx_port = (free_port() for _ in range(4))
        stack.enter_context(process(["nats-server", "-a", "127.0.0.1", "-p", nats_port], nats_port))
        stack.enter_context(process(["node", PEERS / "router.js", node_port], node_port, env={**os.environ, "NODE_PATH": node_path}))
        stack.enter_context(process([uvicorn, "fastapi_hello:app", "--host", "127.0.0.1", "--port", fastapi_port, "--log-level", "critical"], fastapi_port, cwd=PEERS))
        nginx = directory / "nginx.conf"
        nginx.write_text(
            f"daemon off; pid {directory}/nginx.pid; error_log stderr crit; worker_processes 1; events {{ worker_connections 1024; }}\n"
            f"http {{ access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory}; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{nginx_port}; location / {{ default_type application/json; return 200 '{{\"message\":\"Hello, world!\"}}'; }} }} }}\n")
        stack.enter_context(process(["nginx", "-c", nginx], nginx_port))

        routes = {}
        for in_flight in (1, 16, 64, 256):
            samples = {"iii": [], "nats": [], "node": []}
            for _ in range(options.rounds):
                samples["iii"].append(routed("iii", fleet.port, in_flight, options.seconds))
                samples["nats"].append(routed("nats", nats_port, in_flight, options.seconds))
                samples["node"].append(routed("iii", node_port, in_flight, options.seconds))
            routes[in_flight] = {name: median(s) for name, s in samples.items()}
            print(in_flight, json.dumps(routes[in_flight]), flush=True)
        access = {"with access rules": [], "without": []}
        for _ in range(options.rounds):
            for name, port in (("with access rules", ruled_port), ("without", fleet.port)):
                access[name].append(routed("iii", port, 64, options.seconds))
        access = {name: median(s) for name, s in access.items()}
        print(json.dumps(access), flush=True)
        web = {}
        for connections in (1, 64, 128):
            samples = {"iii": [], "fastapi": [], "nginx": []}
            for _ in range(options.rounds):
                samples["iii"].append(wrk(f"{fleet.http_url}/hello", connections, options.seconds))
                samples["fastapi"].append(wrk(f"http://127.0.0.1:{fastapi_port}/hello", connections, options.seconds))
                samples["nginx"].append(wrk(f"http://127.0.0.1:{nginx_port}/hello", connections, options.seconds))
            web[connections] = {name: median(s) for name, s in samples.items()}
            print(connections, json.dumps(web[connections]), flush=True)
        encrypted = secured(stack, directory / "tls", hello)
        tls = compared(options, ("over TLS", f"{encrypted.http_url}/hello"), ("plain", f"{fleet.http_url}/hello"))
        encrypted.stop()
        crowded = another(stack, directory / "routes", hello, {})
        few, many = with_routes(fleet, 9), with_routes(crowded, 9_999)
        routed_hello = compared(options, ("10,000 routes", f"{crowded.http_url}/hello"), ("10 routes", f"{fleet.http_url}/hello"))
        few.close()
        many.close()
        crowded.stop()
        pids = [fleet.process.pid] + [row["pid"] for row in fleet.rows().values() if row.get("pid")]
        before = cpu_seconds(pids)
        idle_from = time.monotonic()
        time.sleep(20)
        idle = (cpu_seconds(pids) - before) / (time.monotonic() - idle_from) * 100

    host = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {time.strftime('%Y-%m-%d')}, medians of {options.rounds} rounds of {options.seconds:g} s"
    lines = [f"Host: {host}.", "", "| routed round trips/s (p50 / p99 µs) | iii | nats-server | Node `ws` router | iii ÷ nats | iii ÷ Node |", "|---|---:|---:|---:|---:|---:|"]
    for in_flight, row in routes.items():
        cells = [f"{row[n]['round_trips_per_second']:,.0f} ({row[n]['p50_us']:.0f} / {row[n]['p99_us']:.0f})" for n in ("iii", "nats", "node")]
        rate = {n: row[n]["round_trips_per_second"] for n in row}
        lines.append(f"| {in_flight} in flight | {' | '.join(cells)} | {rate['iii'] / rate['nats']:.2f} | {rate['iii'] / rate['node']:.2f} |")
    cells = [f"{row['round_trips_per_second']:,.0f} ({row['p50_us']:.0f} / {row['p99_us']:.0f})" for row in access.values()]
    ratio = access["with access rules"]["round_trips_per_second"] / access["without"]["round_trips_per_second"]
    lines += ["", "| routed round trips/s (p50 / p99 µs) | with access rules | without | with ÷ without |", "|---|---:|---:|---:|"]
    lines.append(f"| 64 in flight | {' | '.join(cells)} | {ratio:.2f} |")
    lines += ["", "| HTTP hello, requests/s (p50 / p99 ms) | iii: HTTP → function → HTTP | FastAPI in process | nginx `return` | iii ÷ FastAPI | iii ÷ nginx |", "|---|---:|---:|---:|---:|---:|"]
    for connections, row in web.items():
        cells = [f"{row[n]['per_second']:,.0f} ({row[n]['p50_ms']:.2f} / {row[n]['p99_ms']:.2f})" for n in ("iii", "fastapi", "nginx")]
        lines.append(f"| {connections} connections | {' | '.join(cells)} | {row['iii']['per_second'] / row['fastapi']['per_second']:.2f} | {row['iii']['per_second'] / row['nginx']['per_second']:.2f} |")
    lines += pair_table("64 connections, kept alive", tls, "over TLS", "plain")
    lines += pair_table("64 connections", routed_hello, "10,000 routes", "10 routes")
    lines += ["", f"`up` to all ready: {up_ms} ms. Idle fleet (core, iii-http, hello-worker): {idle:.2f} % of one core."]
    table = "\n".join(lines)
    print(table)
    if options.write:
        page = ROOT / "docs/benchmarks.md"
        text = page.read_text()
        head, rest = text.split("<!-- table -->\n", 1)
        tail = rest.split("<!-- /table -->", 1)[1]
        page.write_text(f"{head}<!-- table -->\n{table}\n<!-- /table -->{tail}")


if __name__ == "__main__":
    main()
