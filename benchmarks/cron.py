"""Schedules in bulk: many triggers of `iii-cron` that fire now and then, one that fires every second beside a bare timerfd, and APScheduler
with its jobs. Everything runs on loopback, is bounded in time, and is stopped by pid.
"""

import argparse
import ctypes
import datetime
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "Conformance"))
from wire import Fleet, Wire, wait_for  # noqa: E402

# One worker registers them all.
LIMITS = {"max_triggers_per_worker": 1_000_000, "registered_bytes": 1 << 30, "registered_bytes_per_worker": 1 << 30}
TICKS = os.sysconf("SC_CLK_TCK")
BEGIN, END = "<!-- cron -->\n", "<!-- /cron -->"
PAGE = ROOT / "docs" / "benchmarks.md"

# APScheduler's process: adds its jobs, says so, runs them for a while, and says how late each was.
PEER = """
import datetime, json, logging, random, sys, time
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
logging.disable(logging.CRITICAL)
count, seconds = int(sys.argv[1]), float(sys.argv[2])
scheduler = BackgroundScheduler(timezone="UTC")
rng, late = random.Random(1), []
triggers = {}
def job(number):
    now = time.time()
    late.append(now - int(now))
scheduler.start()
start = time.monotonic()
for number in range(count):
    scheduler.add_job(job, CronTrigger(second=rng.randrange(60), minute=rng.randrange(60), timezone="UTC"), args=[number], misfire_grace_time=60)
print(json.dumps({"adds": count / (time.monotonic() - start)}), flush=True)
time.sleep(seconds)
late.clear()
time.sleep(seconds)
print(json.dumps({"late": late}), flush=True)
"""


def processor_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def share(pid: int, seconds: float) -> float:
    """The part of one core that a process takes, in percent."""
    before, start = processor_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (processor_seconds(pid) - before) / (time.monotonic() - start)


def late(payload: dict) -> float:
    """Milliseconds from a tick to its call."""
    def instant(text: str) -> float:
        head, _, fraction = text.removesuffix("+00:00").partition(".")
        return datetime.datetime.fromisoformat(head + "+00:00").timestamp() + float(f"0.{fraction or 0}")

    return 1_000 * (instant(payload["actual_time"]) - instant(payload["scheduled_time"]))


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


class Firing:
    """A worker that counts how late its functions are called."""

    def __init__(self, wire: Wire):
        self.wire = wire
        self.late: dict[str, list[float]] = {}
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            for frame in self.wire.ws:
                message = json.loads(frame)
                if message["type"] == "invokefunction":
                    self.late.setdefault(message["function_id"], []).append(late(message["data"]))
                    self.wire.answer(message)
        except Exception:
            return


def timerfd_late(seconds: int) -> list[float]:
    """How late an empty loop on a timerfd wakes for each second, in milliseconds."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(0, 0)
    found = []
    for _ in range(seconds):
        target = int(time.time()) + 1
        libc.timerfd_settime(descriptor, 1, struct.pack("qqqq", 0, 0, target, 0), None)
        os.read(descriptor, 8)
        found.append(1_000 * (time.time() - target))
    os.close(descriptor)
    return found


def hourly(rng: random.Random, quiet: float) -> str:
    """Some second of every hour, but none of the next `quiet` ones."""
    at = int(time.time() + quiet + rng.uniform(1, 3_600 - quiet)) % 3_600
    return f"{at % 60} {at // 60} * * * *"


def ours(count: int, seconds: float) -> dict:
    rng = random.Random(1)
    # For the registrations, at 4,000 a second if need be, and for a look at what it costs while nothing is due.
    quiet = count / 4_000 + 3 + seconds
    with tempfile.TemporaryDirectory(prefix="iii-bench-") as directory:
        fleet = Fleet(pathlib.Path(directory), workers=[{"name": "iii-cron", "config": {}}], manager=LIMITS)
        fleet.up()
        try:
            pid = fleet.pid_of("iii-cron")
            empty = resident(pid)
            serving, wire, asking = fleet.connect(), fleet.connect(), fleet.connect()
            serving.register("bench::often")
            serving.register("bench::rare")
            serving.sync()
            # From the first fire on: what nobody answers would hold up what comes after it.
            firing = Firing(serving)
            start = time.monotonic()
            # The last one that iii-cron takes is the one that fires every second.
            for number in range(count - 1):
                wire.register_trigger("cron", "bench::rare", trigger_id=f"t{number}", config={"expression": hourly(rng, quiet - (time.monotonic() - start)), "key": f"k{number}"})
            wait_for(lambda: asking.call("cron::list", {"limit": 1})["total"] == count - 1, "all triggers are in force", timeout=300, interval=0.2)
            registrations = count / (time.monotonic() - start)
            time.sleep(2)
            if time.monotonic() - start + seconds > quiet:
                raise SystemExit(f"the registrations took {time.monotonic() - start:.0f} s: the first are due before there was a look at what nothing costs")
            idle = share(pid, seconds)
            time.sleep(max(0, quiet + 1 - (time.monotonic() - start)))
            firing.late.clear()
            busy = share(pid, seconds)
            rare = list(firing.late.get("bench::rare", []))
            memory = resident(pid)
            asking.register_trigger("cron", "bench::often", config={"expression": "* * * * * *"})
            beside: list[float] = []
            bare = threading.Thread(target=lambda: beside.extend(timerfd_late(int(seconds))))
            bare.start()
            bare.join()
            return {
                "registrations": registrations, "memory": memory / (1 << 20), "growth": (memory - empty) / count, "idle": idle, "busy": busy, "fires": len(rare),
                "p50": percentile(rare, 0.5), "p99": percentile(rare, 0.99), "often": max(firing.late.get("bench::often", [float("nan")])), "bare": max(beside),
            }
        finally:
            fleet.stop()


def peer(count: int, seconds: float) -> dict:
    python = ROOT / ".cache" / "venv-bench" / "bin" / "python"
    process = subprocess.Popen([python if python.exists() else sys.executable, "-c", PEER, str(count), str(seconds)], stdout=subprocess.PIPE, text=True)
    try:
        adds = json.loads(process.stdout.readline())["adds"]
        memory = resident(process.pid)
        busy = share(process.pid, seconds)
        values = [1_000 * value for value in json.loads(process.stdout.readline())["late"]]
        return {"registrations": adds, "memory": memory / (1 << 20), "busy": busy, "fires": len(values), "p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
    finally:
        process.kill()
        process.wait()


def table(rows: list[tuple[str, dict]], single: dict, count: int) -> str:
    lines = [
        "| | registrations/s | memory | of one core, nothing due | firing | fires seen | late, p50 / p99 ms |", "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows:
        idle = f"{row['idle']:.2f} %" if "idle" in row else ""
        lines.append(f"| {name} | {row['registrations']:,.0f} | {row['memory']:.0f} MiB | {idle} | {row['busy']:.2f} % | {row['fires']} | {row['p50']:.1f} / {row['p99']:.1f} |")
    lines += [
        "", f"One trigger that fires every second, beside {count:,} others: {single['often']:.1f} ms late at the worst; an empty loop on a timerfd in the same seconds: {single['bare']:.1f} ms.", "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triggers", type=int, default=100_000, help="triggers of iii-cron")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of APScheduler, and triggers of iii-cron beside them")
    parser.add_argument("--seconds", type=float, default=20, help="length of each measurement")
    parser.add_argument("--write", action="store_true", help="renew the table of docs/benchmarks.md")
    options = parser.parse_args()
    many = ours(options.triggers, options.seconds)
    few = ours(options.jobs, options.seconds)
    other = peer(options.jobs, options.seconds)
    text = table([(f"iii-cron, {options.triggers:,} triggers", many), (f"iii-cron, {options.jobs:,} triggers", few), (f"APScheduler, {options.jobs:,} jobs", other)], many, options.triggers)
    print(text)
    if options.write:
        page = PAGE.read_text()
        head, rest = page.split(BEGIN)
        PAGE.write_text(head + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
