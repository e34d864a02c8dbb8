"""One update told to many sockets: `iii-stream` beside a Node server that broadcasts with `ws`; and what an idle socket costs. In alternating rounds
of one run on loopback; bounded in time, stopped by pid. Processor time is that of the serving process alone.
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import selectors
import socket
import statistics
import subprocess
import tempfile
import time

from measure import ROOT, cpu_seconds, resident, write_table
from wire import Fleet, free_port  # found by measure

NODE = {**os.environ, "NODE_PATH": "/usr/share/nodejs:/usr/lib/nodejs"}
MARK = b'"streamName"'
VALUE = {"id": "k", "text": "x" * 100}


class Sockets:
    """Clients that count the frames they get."""

    def __init__(self, port: int, path: str, count: int):
        self.selector = selectors.DefaultSelector()
        self.all = []
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        for start in range(0, count, 200):
            burst = []
            for _ in range(min(200, count - start)):
                one = socket.create_connection(("127.0.0.1", port), timeout=30)
                one.sendall(head)
                burst.append(one)
            for one in burst:
                answer = b""
                while b"\r\n\r\n" not in answer:
                    answer += one.recv(4096)
                assert b" 101 " in answer, answer
                one.setblocking(False)
                self.selector.register(one, selectors.EVENT_READ, [answer.split(b"\r\n\r\n", 1)[1]])
            self.all += burst

    def take(self, count: int, timeout: float = 60) -> list[float]:
        """Waits for so many frames; answers when each has come."""
        found, end = [], time.monotonic() + timeout
        while len(found) < count:
            assert time.monotonic() < end, f"{len(found)} of {count} frames came"
            for key, _ in self.selector.select(1):
                data = key.data[0] + key.fileobj.recv(1 << 18)
                seen = data.count(MARK)
                # A mark that is cut in two is seen with the next piece.
                key.data[0] = data[-len(MARK) + 1:] if not data.endswith(MARK) else b""
                found += [time.monotonic()] * seen
        return found

    def close(self):
        for one in self.all:
            one.close()


class Ours:
    name = "iii-stream"

    def __init__(self, stack: contextlib.ExitStack, count: int):
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iii-fanout-")))
        self.port = free_port()
        kv = {"name": "kv", "config": {"store_method": "in_memory"}}
        fleet = Fleet(directory, workers=[{"name": "iii-stream", "config": {"host": "127.0.0.1", "port": self.port, "max_connections": 20_000, "adapter": kv}}])
        stack.callback(fleet.stop)
        fleet.up()
        # Nobody reads it while sockets are waited for.
        self.pid, self.wire, self.path = fleet.pid_of("iii-stream"), fleet.connect(ping_interval=None), "/stream/bench/g"
        self.empty = resident(self.pid)
        self.sockets = Sockets(self.port, self.path, count)
        stack.callback(self.sockets.close)
        self.sockets.take(count)  # the snapshots

    def tell(self, count: int):
        item = {"stream_name": "bench", "group_id": "g", "item_id": "k", "data": VALUE}
        for call in [self.wire.invoke("stream::set", item) for _ in range(count)]:
            self.wire.result_of(call)


class Node:
    name = "Node `ws`"

    def __init__(self, stack: contextlib.ExitStack, count: int):
        self.port = free_port()
        self.process = subprocess.Popen(["node", ROOT / "benchmarks" / "peers" / "broadcast.js", str(self.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=NODE)
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        assert self.process.stdout.readline() == "ready\n"
        self.pid = self.process.pid
        self.empty = resident(self.pid)
        self.sockets = Sockets(self.port, "/", count)
        stack.callback(self.sockets.close)
        self.line = json.dumps({"type": "stream", "timestamp": 1760000000000, "streamName": "bench", "groupId": "g", "id": "k", "event": {"type": "update", "data": VALUE}}) + "\n"

    def tell(self, count: int):
        self.process.stdin.write(self.line * count)
        self.process.stdin.flush()


def round_of(server, sockets: int, burst: int, updates: int) -> dict:
    """Bursts of updates, each after the one before has reached everybody."""
    before, late, deliveries = cpu_seconds([server.pid]), [], 0
    for _ in range(updates // burst):
        started = time.monotonic()
        server.tell(burst)
        times = server.sockets.take(sockets * burst)
        late += [1000 * (at - started) for at in times]
        deliveries += len(times)
    late.sort()
    return {"rate": deliveries / (cpu_seconds([server.pid]) - before), "p99": late[int(len(late) * 0.99)]}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sockets", type=int, default=1000)
    options.add_argument("--updates", type=int, default=200, help="of each round")
    options.add_argument("--idle", type=int, default=10_000, help="idle sockets")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = options.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    samples: dict[tuple[int, str], list[dict]] = {}
    with contextlib.ExitStack() as stack:
        servers = [Ours(stack, options.sockets), Node(stack, options.sockets)]
        for server in servers:
            round_of(server, options.sockets, 1, 20)
        for _ in range(options.rounds):
            for burst in (1, 50):
                for server in servers:
                    samples.setdefault((burst, server.name), []).append(round_of(server, options.sockets, burst, max(burst, options.updates)))
    idle = {}
    for kind in (Ours, Node):
        with contextlib.ExitStack() as stack:
            server = kind(stack, options.idle)
            time.sleep(2)
            idle[kind.name] = (resident(server.pid) - server.empty) / options.idle

    def value(burst: int, name: str, key: str) -> float:
        return statistics.median(sample[key] for sample in samples[burst, name])

    lines = [f"| {options.sockets:,} sockets | iii-stream | Node `ws` | ratio |", "|---|---:|---:|---:|"]
    for burst, what, goal in [(1, "single updates", 1.2), (50, "bursts of 50", 3)]:
        ours, node = (value(burst, name, "rate") for name in (Ours.name, Node.name))
        lines.append(f"| deliveries per processor second, {what} (goal {goal}) | {ours:,.0f} | {node:,.0f} | {ours / node:.2f} |")
        lines.append(f"| p99 from the update to a client, {what} | {value(burst, Ours.name, 'p99'):.1f} ms | {value(burst, Node.name, 'p99'):.1f} ms | |")
    lines.append(f"| bytes for each of {options.idle:,} idle sockets | {idle[Ours.name]:,.0f} | {idle[Node.name]:,.0f} | {idle[Ours.name] / idle[Node.name]:.2f} |")
    table = "\n".join(lines)
    print(table)
    if options.write:
        write_table("fanout", table)


if __name__ == "__main__":
    main()
