"""The state on a Redis beside its peers in one run: the bare routed call, and redis-benchmark running the same script with the same arguments.

Everything runs on loopback, is bounded in time, and is stopped by pid.
"""

import argparse
import ast
import contextlib
import json
import os
import pathlib
import platform
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

from measure import BIN, ROOT, median, routed

sys.path.insert(0, str(ROOT / "Tests" / "Conformance"))
import redis_server  # noqa: E402
from wire import Fleet, wait_for  # noqa: E402

BEGIN, END = "<!-- state -->\n", "<!-- /state -->"
PAGE = ROOT / "docs" / "benchmarks.md"
VALUE = json.dumps({"id": 1, "text": "x" * 80}, separators=(",", ":"))
AT = '"scope":"bench","key":"k@"'
CALLS = {
    "state::set": f'{{{AT},"value":{VALUE}}}',
    "state::update": f'{{{AT},"ops":[{{"type":"increment","path":"id","by":1}}]}}',
    "state::get": f"{{{AT}}}",
}


def calls(port: int, function: str, in_flight: int, seconds: float) -> dict:
    command = [BIN / "iii-load", "--port", str(port), "--in-flight", str(in_flight), "--seconds", str(seconds), "--function", function, "--data", CALLS[function]]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


def command_of(server, act) -> list[str]:
    """The EVALSHA that `act` makes us send, word by word."""
    with socket.create_connection(("127.0.0.1", server.port)) as monitor:
        monitor.sendall(b"MONITOR\r\n")
        heard, done = b"", threading.Event()

        def read():
            nonlocal heard
            monitor.settimeout(0.1)
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    heard += monitor.recv(65536)

        reader = threading.Thread(target=read)
        reader.start()
        wait_for(lambda: b"+OK" in heard, "MONITOR answers")
        act()
        line = wait_for(lambda: [it for it in heard.decode().split("\r\n") if '"EVALSHA"' in it and "bench" in it], "the command is seen")[0]
        done.set()
        reader.join()
    return [ast.literal_eval(word) for word in re.findall(r'"(?:[^"\\]|\\.)*"', line)]


def script(server, words: list[str], in_flight: int, seconds: float) -> dict:
    """redis-benchmark with that command, over one connection as ours, on as many keys."""
    words = ["k__rand_int__" if word == "k1" else word for word in words]
    count, rate = 20_000, 0.0
    while True:
        command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(server.port), "-c", "1", "-P", str(in_flight), "-n", str(count), "-r", str(in_flight), "--csv", *words]
        begun = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise SystemExit(f"redis-benchmark: {done.stderr}\n{(server.directory / 'log').read_text()[-1500:]}")
        # The command, in quotes that it does not escape, then numbers.
        rate = float(re.search(r'"([\d.]+)"(?:,"[\d.]+"){6}$', done.stdout.strip().splitlines()[-1]).group(1))
        if time.monotonic() - begun >= seconds / 2:
            return {"round_trips_per_second": rate}
        count = int(rate * seconds)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=2)
    options.add_argument("--in-flight", type=int, default=64)
    options.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = options.parse_args()
    depth = options.in_flight
    with redis_server.running() as server, tempfile.TemporaryDirectory(prefix="iii-bench-") as directory, contextlib.ExitStack() as stack:
        adapter = {"name": "redis", "config": {"redis_url": server.url}}
        fleet = Fleet(pathlib.Path(directory), workers=[{"name": "iii-state", "config": {"adapter": adapter}}])
        stack.callback(fleet.stop)
        fleet.up()
        wire = fleet.connect()
        for slot in range(depth):
            wire.call("state::set", {"scope": "bench", "key": f"k{slot}", "value": json.loads(VALUE)})
        at = {"scope": "bench", "key": "k1"}
        acts = {
            "state::set": lambda: wire.call("state::set", {**at, "value": json.loads(VALUE)}),
            "state::get": lambda: wire.call("state::get", at),
        }
        commands = {function: command_of(server, act) for function, act in acts.items()}
        wire.close()
        samples = {name: [] for name in ("routed", *CALLS, *(f"script of {name}" for name in commands))}
        for _ in range(options.rounds):
            samples["routed"].append(routed("iii", fleet.port, depth, options.seconds))
            for function in CALLS:
                samples[function].append(calls(fleet.port, function, depth, options.seconds))
            for function, words in commands.items():
                samples[f"script of {function}"].append(script(server, words, depth, options.seconds))
        found = {name: median(each) for name, each in samples.items()}
    rate = {name: row["round_trips_per_second"] for name, row in found.items()}
    host = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {time.strftime('%Y-%m-%d')}, medians of {options.rounds} rounds of {options.seconds:g} s"
    lines = [f"Host: {host}, {depth} in flight, values of {len(VALUE)} bytes.", "", "| state on a Redis, calls/s (p50 / p99 µs) | iii | bare routed call | redis-benchmark, same script | iii ÷ the lower |", "|---|---:|---:|---:|---:|"]
    for function in CALLS:
        peer = f"script of {function if function in commands else 'state::set'}"
        lower = min(rate["routed"], rate[peer])
        lines.append(f"| `{function}` | {rate[function]:,.0f} ({found[function]['p50_us']:.0f} / {found[function]['p99_us']:.0f}) | {rate['routed']:,.0f} | {rate[peer]:,.0f} | {rate[function] / lower:.2f} |")
    table = "\n".join(lines)
    print(table)
    if options.write:
        text = PAGE.read_text()
        head, rest = text.split(BEGIN, 1)
        PAGE.write_text(f"{head}{BEGIN}{table}\n{END}{rest.split(END, 1)[1]}")


if __name__ == "__main__":
    main()
