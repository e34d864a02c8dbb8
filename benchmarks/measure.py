"""The instruments that the benchmarks share: load generators, and the processor time of processes."""

import json
import pathlib
import re
import statistics
import subprocess
import sys

import requests

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "Conformance"))
from wire import BIN  # noqa: E402


def routed(peer: str, port: int, in_flight: int, seconds: float, *more: str) -> dict:
    """Round trips of an echo, or with `more` of another function."""
    command = [BIN / "iii-load", "--peer", peer, "--port", str(port), "--in-flight", str(in_flight), "--seconds", str(seconds), *more]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


def wrk(url: str, connections: int, seconds: float) -> dict:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{int(seconds)}s", "--latency", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", text)
    if errors:
        raise SystemExit(f"{url}: {errors.group(0)}")

    def milliseconds(share):
        value, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", text).groups()
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]

    return {
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), "p50_ms": milliseconds(50), "p99_ms": milliseconds(99),
        "requests": int(re.search(r"(\d+) requests in", text).group(1))}


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def cpu_seconds(pids) -> float:
    """What all threads of the processes have run for; the kernel counts it in nanoseconds."""
    return sum(
        int(task.joinpath("schedstat").read_text().split()[0]) for pid in pids for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def median(samples: list[dict]) -> dict:
    return {key: statistics.median(s[key] for s in samples) for key in samples[0] if isinstance(samples[0][key], (int, float))}


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def write_table(name: str, table: str):
    """Puts a table between its marks in docs/benchmarks.md."""
    page = ROOT / "docs" / "benchmarks.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    head, rest = page.read_text().split(begin, 1)
    page.write_text(f"{head}{begin}{table}\n{end}{rest.split(end, 1)[1]}")
