"""Compares two builds of the engine in one run: routed and HTTP rows, new and old alternated, the ratio of each pair kept.

A single pair says little on a machine whose speed wanders. So there are many (10 at least), who goes first changes from pair to
pair, and what is printed is the median of their ratios with an interval that holds the true one in 95 of 100 runs.
"""

import contextlib
import json
import math
import pathlib
import statistics
import sys
import tempfile
import time

import measure
from wire import BIN, Fleet, wait_for

MINIMUM_PAIRS = 10
IN_FLIGHT = (1, 16, 64, 256)
CONNECTIONS = (1, 64, 128)


def rows(names: str | None) -> list[tuple[str, int]]:
    """`routed-64,http-1` as pairs; all of them for None."""
    everything = [("routed", n) for n in IN_FLIGHT] + [("http", n) for n in CONNECTIONS]
    if names is None:
        return everything
    known = {f"{kind}-{n}": (kind, n) for kind, n in everything}
    wrong = [name for name in names.split(",") if name not in known]
    if wrong:
        raise SystemExit(f"--rows: there is no {', '.join(wrong)}; known are {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def executables(directory: pathlib.Path) -> pathlib.Path:
    lacking = [name for name in ("iii-core", "iii-http", "hello-worker") if not (directory / name).is_file()]
    if lacking:
        raise SystemExit(f"--against: {directory} has no {', '.join(lacking)}; build them there with `make build`")
    return directory.resolve()


def start(stack, directory: pathlib.Path, bin: pathlib.Path) -> Fleet:
    directory.mkdir()
    fleet = Fleet(directory, http={}, workers=[{"name": "iii-exec", "config": {"exec": [str(bin / "hello-worker")]}}], bin=bin)
    stack.callback(fleet.stop)
    fleet.up()
    wait_for(lambda: measure.answers(f"{fleet.http_url}/hello"), f"hello from {bin}")
    fleet.pids = [fleet.process.pid] + [row["pid"] for row in fleet.rows().values() if row.get("pid")]
    return fleet


def sample(fleet: Fleet, kind: str, count: int, seconds: float) -> dict:
    """Operations per second, and the CPU time that the fleet's processes took for one of them, in µs."""
    before = measure.cpu_seconds(fleet.pids)
    if kind == "routed":
        # The warm-up takes time of the processor too, so its calls count there.
        result = measure.routed("iii", fleet.port, count, seconds)
        rate, done = result["round_trips_per_second"], result["round_trips"]
    else:
        result = measure.wrk(f"{fleet.http_url}/hello", count, max(1, seconds))
        rate, done = result["per_second"], result["requests"]
    return {"rate": rate, "cpu": (measure.cpu_seconds(fleet.pids) - before) / done * 1e6}


def interval(values: list[float]) -> tuple[float, float]:
    """The ordered values between which the median lies with a probability of 95 % at least, whatever the distribution."""
    ordered, n = sorted(values), len(values)
    rank, outside = 0, 0.0
    while (outside := outside + 2 * math.comb(n, rank) / 2**n) <= 0.05:
        rank += 1
    return ordered[max(0, rank - 1)], ordered[min(n - 1, n - rank)]


def ratio(pairs: list[tuple[dict, dict]], what: str) -> str:
    """new ÷ old: the median of the pairs and its interval."""
    values = [new[what] / old[what] for new, old in pairs]
    low, high = interval(values)
    return f"{statistics.median(values):.3f} ({low:.3f}–{high:.3f})"


def table(results: dict) -> list[str]:
    lines = [
        "| row | old /s | new /s | new ÷ old (95 %) | old µs CPU each | new µs CPU each | new ÷ old (95 %) |", "|---|---:|---:|---:|---:|---:|---:|"]
    for (kind, count), pairs in results.items():
        median = {(side, what): statistics.median(pair[side][what] for pair in pairs) for side in (0, 1) for what in ("rate", "cpu")}
        name = f"routed, {count} in flight" if kind == "routed" else f"HTTP hello, {count} connections"
        lines.append(
            f"| {name} | {median[1, 'rate']:,.0f} | {median[0, 'rate']:,.0f} | {ratio(pairs, 'rate')} "
            f"| {median[1, 'cpu']:.2f} | {median[0, 'cpu']:.2f} | {ratio(pairs, 'cpu')} |")
    return lines


def run(old: pathlib.Path, pairs: int, seconds: float, names: str | None) -> None:
    if pairs < MINIMUM_PAIRS:
        raise SystemExit(f"--pairs must be {MINIMUM_PAIRS} at least: fewer say nothing about a difference of some percent")
    wanted, old, new = rows(names), executables(old), executables(BIN)
    each = sum(2 * pairs * (seconds * 1.2 if kind == "routed" else max(1, seconds)) for kind, _ in wanted)
    print(f"new: {new}\nold: {old}\n{pairs} pairs of {seconds:g} s for {len(wanted)} rows: about {each / 60:.0f} min", file=sys.stderr, flush=True)
    results = {row: [] for row in wanted}
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iii-against-")))
        fleets = start(stack, directory / "new", new), start(stack, directory / "old", old)
        began = time.monotonic()
        # Pair by pair over all rows, so that a slow minute of the machine falls on all of them.
        for number in range(pairs):
            for kind, count in wanted:
                order = (0, 1) if number % 2 == 0 else (1, 0)
                taken = {side: sample(fleets[side], kind, count, seconds) for side in order}
                results[kind, count].append((taken[0], taken[1]))
            print(f"pair {number + 1} of {pairs} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print("\n".join(table(results)))
    print(json.dumps({f"{kind}-{count}": taken for (kind, count), taken in results.items()}), file=sys.stderr)
