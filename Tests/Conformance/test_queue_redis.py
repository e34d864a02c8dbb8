"""Several engines whose queues live in one Redis (docs/reference/queue.md#redis), and what Redis does to them."""

import contextlib
import os
import signal
import subprocess
import time
import uuid

import pytest
import redis_server
from processes import prepared
from wire import wait_for

QUEUES = {
    "fifo": {"type": "fifo", "message_group_field": "group", "concurrency": 4, "backoff_ms": 20},
    "keyed": {"dedupe_window_ms": 60000},
    "fast": {"max_retries": 2, "backoff_ms": 50},
    "short": {"max_depth": 3},
}


def entry(server, **config) -> dict:
    adapter = {"name": "redis", "config": {"redis_url": server.url, "lease_ms": 1000, **config}}
    return {"name": "iii-queue", "config": {"queue_configs": QUEUES, "adapter": adapter}}


@contextlib.contextmanager
def engines(tmp_path, server, count: int = 2, **config):
    with contextlib.ExitStack() as stack:
        running = []
        for index in range(count):
            directory = tmp_path / f"engine{index}"
            directory.mkdir()
            it = stack.enter_context(prepared(directory, workers=[entry(server, **config)]))
            it.up()
            stack.callback(it.stop)
            running.append(it)
        yield running


@pytest.fixture
def server():
    with redis_server.running("--appendonly", "yes") as it:
        yield it


def function() -> str:
    return f"f::{uuid.uuid4().hex[:8]}"


def enqueue(wire, queue: str, function_id: str, data) -> str:
    return wire.call(function_id, data, action={"type": "enqueue", "queue": queue})["messageReceiptId"]


def stats(wire, name: str) -> dict:
    return wire.call("engine::queue::topic_stats", {"topic": name})


def taken(wire, count: int = 1) -> list:
    data = []
    for _ in range(count):
        call = wire.expect("invokefunction", timeout=30)
        wire.answer(call)
        data.append(call["data"])
    return data


def test_engines_share_the_work_and_a_killed_one_leaves_nothing_behind(tmp_path, server):
    with engines(tmp_path, server) as (first, second):
        a, b = first.connect(), second.connect()
        name = function()
        a.register(name)
        a.sync()
        enqueue(b, "fifo", name, {"group": "g", "n": 1})
        enqueue(b, "fifo", name, {"group": "g", "n": 2})
        call = a.expect("invokefunction", timeout=30)
        assert call["data"]["n"] == 1
        # It dies with its engine, its queue and its worker; nobody comes back for it.
        first.kill()
        b.register(name)
        assert [data["n"] for data in taken(b, 2)] == [1, 2]
        wait_for(lambda: stats(b, "fifo")["depth"] == 0, "the queue is empty")
        assert stats(b, "fifo")["dlq_depth"] == 0


def test_a_topic_has_its_subscribers_at_all_engines_and_each_message_is_handled_once(tmp_path, server):
    with engines(tmp_path, server) as (first, second):
        a, b = first.connect(), second.connect()
        one, both, topic = function(), function(), f"topic.{uuid.uuid4().hex[:6]}"
        for wire, name in [(a, one), (a, both), (b, both)]:
            wire.register(name)
            wire.register_trigger("durable:subscriber", name, config={"topic": topic})
            wire.sync()
        for number in range(20):
            b.call("iii::durable::publish", {"topic": topic, "data": number})
        heard = {one: [], both: []}

        def drain():
            for wire in (a, b):
                with contextlib.suppress(AssertionError):
                    call = wire.expect("invokefunction", timeout=0.2)
                    wire.answer(call)
                    heard[call["function_id"]].append(call["data"])
            return len(heard[one]) >= 20 and len(heard[both]) >= 20

        wait_for(drain, "everything is delivered", timeout=60)
        assert sorted(heard[one]) == sorted(heard[both]) == list(range(20))
        a.close()
        # Its subscription stays: the messages wait for it.
        b.call("iii::durable::publish", {"topic": topic, "data": "later"})
        again = first.connect()
        again.register(one)
        assert "later" in taken(again)


def test_a_pause_at_one_engine_holds_at_the_other_and_through_its_restart(tmp_path, server):
    with engines(tmp_path, server) as (first, second):
        a, b = first.connect(), second.connect()
        name = function()
        b.register(name)
        b.sync()
        a.call("iii::queue::pause", {"queue": "fast"})
        enqueue(b, "fast", name, 1)
        b.quiet()
        second.cli("restart", "iii-queue")
        wait_for(lambda: stats(b, "fast")["paused"], "the other knows of the pause", timeout=20)
        b.quiet()
        a.call("iii::queue::resume", {"queue": "fast"})
        assert taken(b) == [1]


def test_concurrent_duplicates_at_two_engines_get_one_receipt(tmp_path, server):
    with engines(tmp_path, server) as (first, second):
        a, b = first.connect(), second.connect()
        name = function()
        for number in range(100):
            message = {"queue": "keyed", "function_id": name, "data": number, "dedupe_id": f"k{number}"}
            calls = [(wire, wire.invoke("iii::queue::enqueue", message)) for wire in (a, b)]
            receipts = {wire.result_of(call)["result"]["messageReceiptId"] for wire, call in calls}
            assert len(receipts) == 1
            assert a.call("iii::queue::get", {"message_id": receipts.pop()})["state"] in ("waiting", "held", "active")
        b.register(name)
        assert sorted(taken(b, 100)) == list(range(100))


def test_a_group_that_empties_while_it_fills_loses_nothing_and_leaves_no_key(tmp_path, server):
    with engines(tmp_path, server) as (first, second):
        a, b = first.connect(), second.connect()
        name = function()
        a.register(name)
        a.sync()
        received = []
        for number in range(300):
            b.invoke(name, {"group": "g", "n": number}, action={"type": "enqueue", "queue": "fifo"})
            received += [data["n"] for data in taken(a)]
        assert received == list(range(300))
        wait_for(lambda: stats(a, "fifo")["depth"] == 0, "the queue is empty")
        keys = subprocess.run(["redis-cli", "-p", str(server.port), "keys", '*"fifo"*'], capture_output=True, text=True, timeout=10).stdout.split()
        assert all(key.endswith(":s") for key in keys), keys


def test_an_emptied_script_cache_and_a_restart_of_redis_reach_no_caller(tmp_path, server):
    with engines(tmp_path, server, 1) as (it,):
        wire = it.connect()
        name = function()
        wire.register(name)
        wire.sync()
        server.command("SCRIPT", "FLUSH")
        enqueue(wire, "fast", name, 1)
        assert taken(wire) == [1]
        server.kill()
        server.start()
        enqueue(wire, "fast", name, 2)
        assert taken(wire) == [2]
        wait_for(lambda: stats(wire, "fast")["depth"] == 0, "the queue is empty")


def test_while_redis_is_away_callers_hear_it_and_outcomes_are_kept(tmp_path, server):
    with engines(tmp_path, server, 1) as (it,):
        wire = it.connect()
        name = function()
        wire.register(name)
        wire.sync()
        enqueue(wire, "fast", name, 1)
        call = wire.expect("invokefunction")
        server.kill()
        began = time.monotonic()
        answer = wire.result_of(wire.invoke(name, 2, action={"type": "enqueue", "queue": "fast"}), timeout=20)
        assert answer["error"]["code"] == "enqueue_error" and "Redis" in answer["error"]["message"], answer
        assert time.monotonic() - began < 15
        wire.answer(call)
        server.start()
        wait_for(lambda: not wire.result_of(wire.invoke(name, 3, action={"type": "enqueue", "queue": "fast"}), timeout=20).get("error"), "it takes again", timeout=30)
        # The first one may come again: the server had not written down that it was taken.
        seen = taken(wire)
        while 3 not in seen:
            seen += taken(wire)
        wait_for(lambda: stats(wire, "fast")["depth"] == 0, "what ran meanwhile is done", timeout=30)
        assert "redis_unreachable" in it.output()


def test_a_server_that_is_full_refuses_new_messages_and_takes_outcomes(tmp_path, server):
    with engines(tmp_path, server, 1) as (it,):
        wire = it.connect()
        name = function()
        wire.register(name)
        wire.sync()
        for number in range(10):
            enqueue(wire, "fast", name, number)
        calls = [wire.expect("invokefunction") for _ in range(10)]
        server.command("CONFIG", "SET", "maxmemory", "1")
        answer = wire.result_of(wire.invoke(name, "more", action={"type": "enqueue", "queue": "fast"}), timeout=20)
        assert answer["error"]["code"] == "enqueue_error" and "memory" in answer["error"]["message"], answer
        for number, call in enumerate(calls):
            if number < 5:
                wire.answer(call)
            else:
                wire.answer(call, error={"code": "invocation_failed", "message": "boom"})
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert sorted(taken(wire, 5)) == [5, 6, 7, 8, 9]
        wait_for(lambda: stats(wire, "fast")["depth"] == 0, "all are done")
        assert stats(wire, "fast")["dlq_depth"] == 0


def test_a_demoted_primary_is_left_for_the_new_one(tmp_path):
    with redis_server.running("--appendonly", "yes") as old, redis_server.running("--appendonly", "yes") as new:
        with proxied(old.port) as proxy, engines(tmp_path, proxy, 1) as (it,):
            new.command("REPLICAOF", "127.0.0.1", str(old.port))
            wire = it.connect()
            name = function()
            enqueue(wire, "fast", name, 1)
            wait_for(lambda: b"master_link_status:up" in info(new), "the replica is up", timeout=30)
            wait_for(lambda: b"iii:1:queues" in keys_of(new), "the replica has it", timeout=30)
            new.command("REPLICAOF", "NO", "ONE")
            old.command("REPLICAOF", "127.0.0.1", str(new.port))
            proxy.target = new.port
            wait_for(lambda: not wire.result_of(wire.invoke(name, 2, action={"type": "enqueue", "queue": "fast"}), timeout=20).get("error"), "it takes again", timeout=60)
            wire.register(name)
            assert sorted(set(taken(wire, 2))) == [1, 2]


def info(server) -> bytes:
    return subprocess.run(["redis-cli", "-p", str(server.port), "info", "replication"], capture_output=True, timeout=10).stdout


def keys_of(server) -> bytes:
    return subprocess.run(["redis-cli", "-p", str(server.port), "keys", "*"], capture_output=True, timeout=10).stdout


@contextlib.contextmanager
def proxied(port: int):
    """A door whose target can be changed for the connections to come."""
    import socket
    import threading

    class Proxy:
        target = port

        def __init__(self):
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.port = self.listener.getsockname()[1]
            threading.Thread(target=self.accept, daemon=True).start()

        @property
        def url(self) -> str:
            return f"redis://127.0.0.1:{self.port}/0"

        def accept(self):
            with contextlib.suppress(OSError):
                while True:
                    client, _ = self.listener.accept()
                    upstream = socket.create_connection(("127.0.0.1", self.target))
                    for source, sink in ((client, upstream), (upstream, client)):
                        threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

        @staticmethod
        def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.close()

    proxy = Proxy()
    try:
        yield proxy
    finally:
        proxy.listener.close()


def test_a_server_that_keeps_nothing_is_warned_of(tmp_path):
    with redis_server.running("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server, engines(tmp_path, server, 1) as (it,):
        wait_for(lambda: "maxmemory-policy" in it.output() and "append-only" in it.output(), "both warnings")


def test_without_redis_the_start_ends_with_the_reason(tmp_path):
    class Nowhere:
        url = "redis://127.0.0.1:1"

    with prepared(tmp_path, workers=[entry(Nowhere)]) as it:
        it.spawn()
        wait_for(lambda: "Failed to connect to Redis at redis://127.0.0.1:1" in it.output(), "the reason", timeout=20)
        it.stop()


def test_a_queue_process_that_hangs_loses_its_claims_and_its_late_outcome_changes_nothing(tmp_path, server):
    with engines(tmp_path, server) as (first, second):
        a, b = first.connect(), second.connect()
        name = function()
        a.register(name)
        a.sync()
        enqueue(b, "fifo", name, {"group": "g", "n": 1})
        enqueue(b, "fifo", name, {"group": "g", "n": 2})
        call = a.expect("invokefunction", timeout=30)
        pid = first.pid_of("iii-queue")
        os.kill(pid, signal.SIGSTOP)
        try:
            b.register(name)
            again = b.expect("invokefunction", timeout=30)
            assert again["data"]["n"] == 1
        finally:
            os.kill(pid, signal.SIGCONT)
        a.answer(call)
        # The second of the group waits for the claim that counts.
        b.quiet()
        b.answer(again)
        heard = []

        def second_comes():
            for wire in (a, b):
                with contextlib.suppress(AssertionError):
                    late = wire.expect("invokefunction", timeout=0.2)
                    wire.answer(late)
                    heard.append(late["data"]["n"])
            return bool(heard)

        wait_for(second_comes, "the second is delivered", timeout=30)
        assert heard == [2]
