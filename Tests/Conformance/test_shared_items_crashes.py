"""Kills under load on a Redis that two fleets share: what was answered is there, no half of a change is, and clients end with what is stored.

`III_ITEMS_ROUNDS` rounds (default 3), each with a seed of its own; `III_ITEMS_SEED=N` replays from that one.
"""

import os
import random
import signal
import threading
import time

import pytest
import redis_server
from streams import Client, at
from test_shared_items import answer, sharing
from wire import Wire, wait_for

ROUNDS = int(os.environ.get("III_ITEMS_ROUNDS", "3"))
FIRST = int(os.environ.get("III_ITEMS_SEED", "1"))
WRITERS = 4


class Writer:
    """Writes rising numbers to an item of its own, and counts one that all share, over a connection that comes back whatever is killed."""

    def __init__(self, it, number: int):
        self.it, self.key = it, f"w{number}"
        self.asked = self.answered = self.counted = self.doubtful = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        wire = None
        while not self.stop.is_set():
            try:
                wire = wire or Wire(self.it.port, open_timeout=5).hello()
                self.asked += 1
                # Two members that are always equal: no half of a change may ever be seen.
                value = {"id": self.key, "n": self.asked, "same": self.asked}
                if "result" in wire.result_of(wire.invoke("stream::set", {**at("crash", self.key), "data": value}), timeout=20):
                    self.answered = self.asked
                self.doubtful += 1
                count = {"scope": "crash", "key": "n", "ops": [{"type": "increment", "path": "n", "by": 1}]}
                found = wire.result_of(wire.invoke("state::update", count), timeout=20)
                if "result" in found:
                    self.counted += 1
                    self.doubtful -= 1
                elif "not known whether" not in found["error"]["message"] and found["error"]["code"] == "UPDATE_ERROR":
                    self.doubtful -= 1
            except Exception:  # whatever broke: a connection is made anew
                if wire:
                    wire.ws.socket.close()
                wire = None
                self.stop.wait(0.05)


class Watcher:
    """A client that joins again whenever it loses its connection, and looks at every value it sees."""

    def __init__(self, port: int):
        self.port, self.items, self.halves = port, {}, []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.is_set():
            try:
                client = Client(self.port, open_timeout=5)
                client.join("crash", "g")
                while not self.stop.is_set():
                    try:
                        frame = client.recv(0.5)
                    except TimeoutError:
                        continue
                    event = frame["event"]
                    values = event["data"] if event["type"] == "sync" else [event.get("data")]
                    if event["type"] == "error":
                        break
                    if event["type"] == "sync":
                        self.items = {}
                    for value in values:
                        self.items[value["id"]] = value
                        if value["n"] != value["same"]:
                            self.halves.append(value)
                client.close()
            except Exception:  # whatever broke: a connection is made anew
                self.stop.wait(0.05)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + ROUNDS))
def test_what_was_answered_survives_any_kill(seed):
    generator = random.Random(seed)
    with redis_server.running("--appendonly", "yes", "--appendfsync", "always") as server:
        with sharing(server, {"command_timeout_ms": 5000}, {"command_timeout_ms": 5000}) as pair:
            writers = [Writer(pair[number % 2], number) for number in range(WRITERS)]
            watchers = [Watcher(it.stream_port) for it in pair]
            try:
                wait_for(lambda: all(writer.answered for writer in writers), "everybody writes")
                for _ in range(5):
                    # Not a wait for something: any moment under load is to do.
                    time.sleep(generator.uniform(0.1, 0.8))
                    it, victim = generator.choice(pair), generator.choice(["iii-state", "iii-stream", "core", "redis", "redis"])
                    if victim == "core":
                        it.kill()
                        it.up()
                    elif victim == "redis":
                        server.kill()
                        time.sleep(generator.uniform(0, 0.5))
                        server.start()
                    else:
                        pid = it.rows()[victim].get("pid")
                        if pid:
                            os.kill(pid, signal.SIGKILL)
                before = [writer.answered for writer in writers]
                wait_for(lambda: all(writer.answered > count + 2 for writer, count in zip(writers, before)), "everybody writes again", timeout=60)
                for writer in writers:
                    writer.stop.set()
                for writer in writers:
                    writer.thread.join(30)
                wire = pair[0].connect()
                for writer in writers:
                    found = wait_for(lambda: answer(wire, "stream::get", at("crash", writer.key)).get("result"), "it can be read", timeout=30)
                    assert writer.answered <= found["n"] <= writer.asked, f"seed {seed}: {writer.key} has {found}, {writer.answered} was answered"
                counted = wire.call("state::get", {"scope": "crash", "key": "n"})["n"]
                least, doubtful = sum(writer.counted for writer in writers), sum(writer.doubtful for writer in writers)
                assert least <= counted <= least + doubtful, f"seed {seed}: counted {counted}, {least} answered, {doubtful} in doubt"
                stored = {value["id"]: value for value in wire.call("stream::list", at("crash"))}
                for watcher in watchers:
                    wait_for(lambda: watcher.items == stored, f"seed {seed}: clients end with what is stored", timeout=30)
                    assert not watcher.halves
                wire.close()
                print(f"seed {seed}: {sum(writer.answered for writer in writers)} answered, {counted} counted, {doubtful} in doubt")
            finally:
                for one in [*writers, *watchers]:
                    one.stop.set()
