"""Streams through a Python function on the official SDK: a large upload and download with the memory of every process, and
many event streams at once. Everything runs on loopback, is bounded in time, and is stopped by pid.
"""

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "Tests" / "Conformance"))
from processes import wait_for_http  # noqa: E402
from wire import Fleet  # noqa: E402

BLOCK = bytes(range(256)) * 4096


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Memory:
    """The highest growth of each process while it is watched, in MiB."""

    def __init__(self, pids: dict[str, int]):
        self.pids = pids

    def __enter__(self):
        self.before = {name: resident(pid) for name, pid in self.pids.items()}
        self.peak = dict(self.before)
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(0.1):
            for name, pid in self.pids.items():
                self.peak[name] = max(self.peak[name], resident(pid))

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.growth = {name: (self.peak[name] - self.before[name]) / (1 << 20) for name in self.pids}


def upload(port: int, mib: int) -> float:
    expected = hashlib.sha256()
    for _ in range(mib):
        expected.update(BLOCK)
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/upload", body=(BLOCK for _ in range(mib)), headers={"content-type": "application/octet-stream", "content-length": str(mib << 20)})
    answer = json.loads(connection.getresponse().read())
    seconds = time.monotonic() - started
    assert answer == {"count": mib << 20, "sha256": expected.hexdigest()}, answer
    return mib / seconds


def download(port: int, mib: int) -> float:
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", f"/download?mib={mib}")
    response = connection.getresponse()
    count = 0
    while piece := response.read(1 << 20):
        count += len(piece)
    assert count == mib << 20, count
    return mib / (time.monotonic() - started)


async def event_streams(port: int, clients: int, count: int) -> list[int]:
    """How many events each of `clients` saw."""

    async def client() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events?count=%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % count)
        seen = (await asyncio.wait_for(reader.read(-1), 300)).count(b"data: ")
        writer.close()
        return seen

    tasks = []
    for _ in range(clients):
        tasks.append(asyncio.create_task(client()))
        # A rate of arrival that one Python worker can take: it opens a socket for each.
        await asyncio.sleep(0.003)
    return await asyncio.gather(*tasks)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--clients", type=int, default=2000)
    options.add_argument("--events", type=int, default=15, help="one a second for each client")
    options.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iii-streams-")))
        fleet = Fleet(directory, http={"concurrency_request_limit": 4096})
        stack.callback(fleet.stop)
        fleet.up()
        worker = subprocess.Popen([sys.executable, ROOT / "benchmarks" / "streams_worker.py"], env={**os.environ, "III_URL": fleet.url})
        stack.callback(worker.wait)
        stack.callback(worker.kill)
        wait_for_http(f"{fleet.http_url}/download?mib=1")
        pids = {"iii-core": fleet.process.pid, "iii-http": fleet.pid_of("iii-http"), "Python worker": worker.pid}
        rows = []
        for name, run in [("up", upload), ("down", download)]:
            with Memory(pids) as memory:
                rate = run(fleet.http_port, options.mib)
            rows.append((f"{options.mib} MiB {name}", f"{rate:,.0f} MiB/s", memory.growth))
            print(rows[-1], flush=True)
        with Memory(pids) as memory:
            seen = asyncio.run(event_streams(fleet.http_port, options.clients, options.events))
        assert seen == [options.events] * options.clients, f"{sum(n != options.events for n in seen)} clients missed events"
        rows.append((f"{options.clients:,} event streams of {options.events} events", "all events seen by all", memory.growth))
        print(rows[-1], flush=True)
    lines = ["| | | growth of iii-core | of iii-http | of the Python worker |", "|---|---:|---:|---:|---:|"]
    for what, result, growth in rows:
        lines.append(f"| {what} | {result} | {' | '.join(f'{growth[name]:.0f} MiB' for name in pids)} |")
    table = "\n".join(lines)
    print(table)
    if options.write:
        page = ROOT / "docs/benchmarks.md"
        head, rest = page.read_text().split("<!-- streams -->\n", 1)
        page.write_text(f"{head}<!-- streams -->\n{table}\n<!-- /streams -->{rest.split('<!-- /streams -->', 1)[1]}")


if __name__ == "__main__":
    main()
