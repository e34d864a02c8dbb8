"""Kills under load: what was acknowledged is delivered, and the order of every group holds (docs/guarantees.md).

`III_QUEUE_ROUNDS` rounds (default 5) for each store, each with a seed of its own; `III_QUEUE_SEED=N` replays from that one.
"""

import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import tempfile
import threading
import time

import pytest
import redis_server

from processes import prepared
from wire import Wire, wait_for

ROUNDS = int(os.environ.get("III_QUEUE_ROUNDS", "5"))
FIRST = int(os.environ.get("III_QUEUE_SEED", "1"))
GROUPS = 8
QUEUES = {"ordered": {"type": "fifo", "message_group_field": "group", "concurrency": 4, "backoff_ms": 20, "max_retries": 50, "max_crashes": 1000}}


class Client:
    """A connection that comes back whatever is killed, on a thread of its own."""

    def __init__(self, port: int):
        self.port = port
        self.isStopped = threading.Event()
        self.wire = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.isStopped.is_set():
            try:
                self.wire = Wire(self.port, open_timeout=5).hello()
                self.connected()
                while not self.isStopped.is_set():
                    self.turn()
            except Exception:  # whatever broke: a connection is made anew
                self.isStopped.wait(0.05)
            finally:
                if self.wire:
                    self.wire.ws.socket.close()

    def connected(self):
        pass

    def turn(self):
        raise NotImplementedError

    def stop(self):
        self.isStopped.set()
        self.thread.join(20)


class Producer(Client):
    """Puts numbers into its group, one after the other; a number is acknowledged once its receipt has come."""

    def __init__(self, port: int, group: str):
        self.group = group
        self.next = 0
        self.acknowledged = set()
        super().__init__(port)

    def turn(self):
        number = self.next
        self.next += 1
        data = {"group": self.group, "n": number}
        invocation = self.wire.invoke("crash::take", data, action={"type": "enqueue", "queue": "ordered"})
        answer = self.wire.result_of(invocation, timeout=10)
        if "error" not in answer:
            self.acknowledged.add(number)


class Consumer(Client):
    def __init__(self, port: int, seed: int):
        self.generator = random.Random(seed)
        self.deliveries = collections.defaultdict(list)
        super().__init__(port)

    def connected(self):
        self.wire.register("crash::take")

    def turn(self):
        try:
            message = json.loads(self.wire.ws.recv(timeout=1))
        except TimeoutError:
            return
        if message["type"] != "invokefunction":
            return
        self.deliveries[message["data"]["group"]].append(message["data"]["n"])
        if self.generator.random() < 0.02:
            self.wire.answer(message, error={"code": "invocation_failed", "message": "by chance"})
        else:
            self.wire.answer(message)


@contextlib.contextmanager
def stored(store: str):
    """What a fleet needs for its store: the adapter, and the server that can be killed."""
    if store == "builtin":
        yield {"name": "builtin"}, None
    else:
        with redis_server.running("--appendonly", "yes", "--appendfsync", "always") as server:
            yield {"name": "redis", "config": {"redis_url": server.url, "lease_ms": 2000}}, server


@pytest.mark.parametrize("store", ["builtin", "redis"])
@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_nothing_acknowledged_is_lost_and_every_group_keeps_its_order(store, seed):
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="iii-crash-") as directory, stored(store) as (adapter, server):
        entry = {"name": "iii-queue", "config": {"queue_configs": QUEUES, "adapter": adapter}}
        with prepared(pathlib.Path(directory), workers=[entry]) as it:
            it.up()
            consumer = Consumer(it.port, seed)
            producers = [Producer(it.port, f"g{n}") for n in range(GROUPS)]
            try:
                for _ in range(4):
                    # Not a wait for something: any moment under load is to do.
                    time.sleep(generator.uniform(0.2, 1.0))
                    victim = generator.choice(["iii-queue", "iii-queue", "core", "worker"] + ["server"] * (3 if server else 0))
                    if victim == "server":
                        server.kill()
                        server.start()
                    elif victim == "core":
                        it.kill()
                        it.spawn()
                        it.wait_ready()
                    elif victim == "worker":
                        consumer.wire.ws.socket.close()
                    else:
                        pid = it.rows()["iii-queue"].get("pid")
                        if pid:
                            os.kill(pid, signal.SIGKILL)
                wait_for(lambda: it.rows()["iii-queue"]["state"] == "ready", "the queue is back", timeout=30)
                before = [len(producer.acknowledged) for producer in producers]
                wait_for(lambda: all(len(p.acknowledged) > count for p, count in zip(producers, before)), "every producer is served again", timeout=60)
                for producer in producers:
                    producer.isStopped.set()
                for producer in producers:
                    producer.stop()

                def missing() -> dict:
                    return {p.group: sorted(p.acknowledged - set(consumer.deliveries[p.group]))[:5] for p in producers if p.acknowledged - set(consumer.deliveries[p.group])}

                wait_for(lambda: not missing(), f"everything acknowledged is delivered (seed {seed}); missing now {missing()}", timeout=60)
                checker = it.connect()
                wait_for(lambda: checker.call("engine::queue::topic_stats", {"topic": "ordered"})["depth"] == 0, "the queue is empty", timeout=60)
                assert checker.call("engine::queue::topic_stats", {"topic": "ordered"})["dlq_depth"] == 0
                checker.close()
            finally:
                for client in [*producers, consumer]:
                    client.isStopped.set()
                consumer.stop()
            acknowledged = sum(len(p.acknowledged) for p in producers)
            delivered = sum(len(numbers) for numbers in consumer.deliveries.values())
            distinct = sum(len(set(numbers)) for numbers in consumer.deliveries.values())
            assert acknowledged > 50, "there was no load"
            for group, numbers in consumer.deliveries.items():
                # Repeated, maybe; never one before one that it must follow.
                assert all(a <= b for a, b in zip(numbers, numbers[1:])), f"seed {seed}, group {group}: {numbers}"
            print(f"{store}, seed {seed}: {acknowledged} acknowledged, {delivered} delivered, {delivered - distinct} of them again")
            it.stop()
