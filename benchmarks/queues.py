"""Queues: how fast messages are taken, brought to their function and kept, on the embedded store and on Redis, beside the bare routed call,
Celery on the same Redis, and a bare XADD/XREADGROUP loop. Everything runs on loopback, is bounded in time, and is stopped by pid.
"""

import argparse
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "Conformance"))
import redis_server  # noqa: E402
from measure import routed  # noqa: E402
from wire import BIN, Fleet, Wire, wait_for  # noqa: E402

BEGIN, END = "<!-- queue -->\n", "<!-- /queue -->"
PAGE = ROOT / "docs" / "benchmarks.md"
IN_FLIGHT = 64
PEERS = ROOT / ".cache" / "venv-bench" / "bin" / "python"
LIMITS = {"max_in_flight": 100_000}

# Celery's tasks and its producer; the last job says that it has run.
CELERY = """
import os, celery, redis
app = celery.Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True)
@app.task
def noop(number): pass
@app.task
def last(): redis.Redis.from_url(os.environ["BENCH_REDIS"]).set("done", 1)
"""
CELERY_PRODUCER = """
import os, sys, time, redis, bench_tasks
store = redis.Redis.from_url(os.environ["BENCH_REDIS"])
count = int(sys.argv[1])
def run(jobs):
    store.delete("done")
    start = time.monotonic()
    for number in range(jobs): bench_tasks.noop.delay(number)
    bench_tasks.last.delay()
    while not store.get("done"): time.sleep(0.005)
    return jobs / (time.monotonic() - start)
run(50)
print(run(count))
"""

# The official Python SDK as the worker.
PYTHON_WORKER = """
import os, time
from iii import InitOptions, register_worker
worker = register_worker(address=os.environ["III_URL"], options=InitOptions(worker_name="bench"))
worker.register_function("bench::noop", lambda data: None)
time.sleep(600)
"""


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def resident(pid: int) -> float:
    """Mebibytes."""
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / (1 << 20)


@contextlib.contextmanager
def engine(adapter: dict, directory: pathlib.Path):
    queues = {"bench": {"concurrency": 256}, "held": {}}
    it = Fleet(directory, workers=[{"name": "iii-queue", "config": {"queue_configs": queues, "adapter": adapter}}], manager=LIMITS)
    try:
        yield it.up()
    finally:
        it.stop()


class Worker:
    """Answers `bench::noop` and notes when its calls came."""

    def __init__(self, port: int):
        self.wire = Wire(port).hello()
        self.wire.register("bench::noop")
        self.wire.sync()
        self.came: dict[int, float] = {}
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(Exception):
            for frame in self.wire.ws:
                now = time.monotonic()
                message = json.loads(frame)
                if message["type"] == "invokefunction":
                    self.came[message["data"]["n"]] = now
                    self.wire.answer(message)

    def close(self):
        with contextlib.suppress(Exception):
            self.wire.close()
        self.thread.join(5)


def enqueue_rate(it, seconds: float, queue: str = "bench", function: str = "nobody::serves") -> dict:
    """`iii-load` with 64 enqueues in flight."""
    data = json.dumps({"queue": queue, "function_id": function, "data": {"n": 0, "text": "x" * 80}})
    command = [BIN / "iii-load", "--port", str(it.port), "--in-flight", str(IN_FLIGHT), "--seconds", str(seconds)]
    command += ["--function", "iii::queue::enqueue", "--data", data]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)


def end_to_end(it, control: Wire, start_worker, function: str, seconds: float) -> float:
    """Jobs a second from the first enqueue to the last outcome, producer and worker at the same time."""
    worker = start_worker()
    try:
        before = control.call("engine::queue::topic_stats", {"topic": "bench"})["delivered"]
        wait_for(lambda: function in {f["function_id"] for f in control.call("engine::functions::list")["functions"]}, "the worker", timeout=30)
        start = time.monotonic()
        enqueue_rate(it, seconds, function=function)
        wait_for(lambda: control.call("engine::queue::topic_stats", {"topic": "bench"})["depth"] == 0, "all are done", timeout=180)
        done = control.call("engine::queue::topic_stats", {"topic": "bench"})["delivered"] - before
        return done / (time.monotonic() - start)
    finally:
        worker.terminate()
        worker.wait(timeout=20)


def latencies(it, seconds: float, per_second: float) -> list[float]:
    """Milliseconds from sending an enqueue to the start of the function."""
    worker, producer = Worker(it.port), Wire(it.port).hello()
    try:
        sent, begin = {}, time.monotonic()
        for number in range(int(seconds * per_second)):
            pause = begin + number / per_second - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            sent[number] = time.monotonic()
            producer.send({"type": "invokefunction", "function_id": "bench::noop", "data": {"n": number}, "action": {"type": "enqueue", "queue": "bench"}})
        wait_for(lambda: len(worker.came) >= len(sent), "all have come", timeout=60)
        return [1000 * (worker.came[number] - moment) for number, moment in sent.items()]
    finally:
        producer.close()
        worker.close()


def streams_loop(port: int, count: int = 20_000, batch: int = 64) -> float:
    """Jobs a second of the least that Redis can do: XADD, XREADGROUP, XACK, XDEL, pipelined by hand."""
    def words(*parts) -> bytes:
        return f"*{len(parts)}\r\n".encode() + b"".join(f"${len(p)}\r\n{p}\r\n".encode() for p in map(str, parts))

    def replies(stream, number: int) -> list:
        def one():
            line = stream.readline().rstrip()
            kind, rest = line[:1], line[1:]
            if kind == b"*":
                return [one() for _ in range(int(rest))]
            if kind == b"$":
                return None if rest == b"-1" else stream.read(int(rest) + 2)[:-2]
            return rest

        return [one() for _ in range(number)]

    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as stream:
        connection.sendall(words("XGROUP", "CREATE", "bare", "g", "0", "MKSTREAM"))
        replies(stream, 1)
        start = time.monotonic()
        for _ in range(count // batch):
            connection.sendall(b"".join(words("XADD", "bare", "*", "d", "x" * 100) for _ in range(batch)))
            replies(stream, batch)
            connection.sendall(words("XREADGROUP", "GROUP", "g", "c", "COUNT", batch, "STREAMS", "bare", ">"))
            entries = [entry[0].decode() for entry in replies(stream, 1)[0][0][1]]
            connection.sendall(words("XACK", "bare", "g", *entries) + words("XDEL", "bare", *entries))
            replies(stream, 2)
        return (count // batch * batch) / (time.monotonic() - start)


def celery(url: str, directory: pathlib.Path, count: int) -> float:
    (directory / "bench_tasks.py").write_text(CELERY)
    env = {**os.environ, "BENCH_REDIS": url, "PYTHONPATH": str(directory)}
    with open(directory / "celery.log", "wb") as log:
        worker = subprocess.Popen(
            [PEERS, "-m", "celery", "-A", "bench_tasks", "worker", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"],
            env=env, cwd=directory, stdout=log, stderr=log)
        try:
            done = subprocess.run([PEERS, "-c", CELERY_PRODUCER, str(count)], env=env, cwd=directory, check=True, capture_output=True, timeout=120)
            return float(done.stdout)
        finally:
            worker.terminate()
            worker.wait(timeout=30)


def million(directory: pathlib.Path, count: int, seconds: float) -> dict:
    """Enqueueing with 1,000 waiting and with `count`; memory and start with all of them."""
    with engine({"name": "builtin"}, directory) as it:
        control = it.connect()
        control.call("iii::queue::pause", {"queue": "held"})
        before = enqueue_rate(it, seconds, "held")["round_trips_per_second"]
        message = json.dumps({"queue": "held", "function_id": "bench::noop", "data": {"text": "x" * 80}})
        command = [BIN / "iii-load", "--port", str(it.port), "--in-flight", "1024", "--seconds", "5"]
        deadline = time.monotonic() + 120
        while depth(control) < count and time.monotonic() < deadline:
            subprocess.run([*command, "--function", "iii::queue::enqueue", "--data", message], check=True, capture_output=True, timeout=60)
        after = enqueue_rate(it, seconds, "held")["round_trips_per_second"]
        waiting = depth(control)
        pid = it.pid_of("iii-queue")
        memory = resident(pid)
        os.kill(pid, 9)
        start = time.monotonic()
        wait_for(lambda: (row := it.rows()["iii-queue"])["pid"] not in (None, pid) and row["state"] == "ready", "it is back", timeout=60)
        return {"before": before, "after": after, "waiting": waiting, "memory": memory, "start": time.monotonic() - start}


def depth(control: Wire) -> int:
    return control.call("engine::queue::topic_stats", {"topic": "held"})["depth"]


def store_rows(kind: str, adapter: dict, seconds: float, workers: dict) -> dict:
    """Everything that is measured of one store."""
    row = {"name": kind}
    with tempfile.TemporaryDirectory(prefix="iii-bench-") as name, engine(adapter, pathlib.Path(name)) as it:
        control = it.connect()
        row["routed"] = routed("iii", it.port, IN_FLIGHT, seconds)["round_trips_per_second"]
        control.call("iii::queue::pause", {"queue": "bench"})
        row["enqueue"] = enqueue_rate(it, seconds)["round_trips_per_second"]
        control.call("iii::queue::purge", {"queue": "bench", "state": "all"})
        control.call("iii::queue::resume", {"queue": "bench"})
        for language, (command, function) in workers.items():
            quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            row[language] = end_to_end(it, control, lambda command=command: subprocess.Popen(command, env={**os.environ, "III_URL": it.url}, **quiet), function, seconds)
        row["idle"] = latencies(it, min(seconds, 5), 50)
        row["half"] = latencies(it, min(seconds, 5), min(2000, row["enqueue"] / 2))
        control.close()
    return row


def table(rows: list[dict], raw: dict, big: dict) -> str:
    lines = ["| | enqueue/s at 64 | of the bare call | jobs/s, Swift worker | jobs/s, Python worker | start after, idle p50 / p99 ms | at load |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        idle, half = ([percentile(row[key], part) for part in (0.5, 0.99)] for key in ("idle", "half"))
        lines.append(
            f"| {row['name']} | {row['enqueue']:,.0f} | {row['enqueue'] / row['routed']:.2f} | {row['swift']:,.0f} | {row['python']:,.0f} | "
            f"{idle[0]:.1f} / {idle[1]:.1f} | {half[0]:.1f} / {half[1]:.1f} |")
    lines += [
        "", f"On the same Redis: Celery (a producer and a worker process) {raw['celery']:,.0f} jobs/s; a bare `XADD`/`XREADGROUP`/`XACK` loop, pipelined by 64, {raw['streams']:,.0f}.",
        "", f"With {big['waiting']:,} messages waiting in the embedded store: {big['memory']:.0f} MiB resident, back {big['start']:.1f} s after `kill -9`, enqueueing at "
        f"{big['after'] / big['before']:.2f} of the rate with few.", "",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="length of each measurement")
    parser.add_argument("--messages", type=int, default=1_000_000, help="messages that wait in the largest queue")
    parser.add_argument("--jobs", type=int, default=3000, help="jobs of Celery")
    parser.add_argument("--write", action="store_true", help="renew the table of docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="iii-bench-") as name, redis_server.running("--appendonly", "yes") as server:
        directory = pathlib.Path(name)
        (directory / "worker.py").write_text(PYTHON_WORKER)
        workers = {"swift": ([BIN / "hello-worker"], "hello::greet"), "python": ([sys.executable, str(directory / "worker.py")], "bench::noop")}
        rows = [
            store_rows("builtin, `durability: full`", {"name": "builtin"}, options.seconds, workers),
            store_rows("redis, `appendonly yes`", {"name": "redis", "config": {"redis_url": server.url}}, options.seconds, workers),
        ]
        raw = {"celery": celery(server.url, directory, options.jobs), "streams": streams_loop(server.port)}
        held = directory / "million"
        held.mkdir()
        text = table(rows, raw, million(held, options.messages, options.seconds))
    print(text)
    if options.write:
        page = PAGE.read_text()
        head, rest = page.split(BEGIN)
        PAGE.write_text(head + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
