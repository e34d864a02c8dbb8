"""`state::set` beside what it is made of: a bare routed call, and a loop of the C library that commits as many rows at once. In alternating rounds of
one run on loopback; bounded in time, stopped by pid.
"""

import argparse
import contextlib
import pathlib
import subprocess
import tempfile

from measure import ROOT, median, routed, write_table
from wire import Fleet  # found by measure

SET = ["--function", "state::set", "--data", '{"scope":"bench","key":"k@","value":{"text":"' + "x" * 80 + '"}}']


def bare_rows(program: pathlib.Path, directory: pathlib.Path, batch: int) -> float:
    """Rows per second of the C library, synced, so many in one transaction."""
    for file in directory.glob("bare*"):
        file.unlink()
    return float(subprocess.run([program, directory / "bare", "full", str(1000 * batch), str(batch)], check=True, capture_output=True, timeout=60).stdout)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--in-flight", type=int, default=64)
    options.add_argument("--seconds", type=float, default=5, help="length of each measurement")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = options.parse_args()
    with contextlib.ExitStack() as stack:
        # On a disk: a directory in memory has nothing to sync.
        (ROOT / ".cache").mkdir(exist_ok=True)
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / ".cache")))
        program = directory / "store"
        subprocess.run(["cc", "-O2", "-o", program, ROOT / "benchmarks" / "stores" / "store.c", "-lsqlite3"], check=True)
        fleets = {}
        for name, config in [("durability: full", {"file_path": str(directory / "kept"), "durability": "full"}), ("in memory", {"store_method": "in_memory"})]:
            (directory / name).mkdir()
            fleets[name] = Fleet(directory / name, workers=[{"name": "iii-state", "config": {"adapter": {"name": "kv", "config": config}}}])
            stack.callback(fleets[name].stop)
            fleets[name].up()
        samples: dict[str, list[dict]] = {}
        for _ in range(options.rounds):
            samples.setdefault("C library", []).append({"per_second": bare_rows(program, directory, options.in_flight)})
            samples.setdefault("routed call", []).append(routed("iii", fleets["in memory"].port, options.in_flight, options.seconds))
            for name, fleet in fleets.items():
                samples.setdefault(name, []).append(routed("iii", fleet.port, options.in_flight, options.seconds, *SET))
    medians = {name: median(found) for name, found in samples.items()}
    call, rows = medians["routed call"]["per_second"], medians["C library"]["per_second"]
    lines = ["| | per second | p50 / p99 µs | beside | ratio |", "|---|---:|---:|---|---:|"]
    lines.append(f"| C library, {options.in_flight} rows a transaction, synced | {rows:,.0f} | | | |")
    lines.append(f"| routed call | {call:,.0f} | {medians['routed call']['p50_us']:,.0f} / {medians['routed call']['p99_us']:,.0f} | | |")
    for name, beside, goal in [("durability: full", "the lower of both (goal 0.45)", min(call, rows)), ("in memory", "the routed call (goal 0.75)", call)]:
        own = medians[name]
        lines.append(f"| `state::set`, {name} | {own['per_second']:,.0f} | {own['p50_us']:,.0f} / {own['p99_us']:,.0f} | {beside} | {own['per_second'] / goal:.2f} |")
    table = "\n".join(lines)
    print(table)
    if options.write:
        write_table("embedded", table)


if __name__ == "__main__":
    main()
