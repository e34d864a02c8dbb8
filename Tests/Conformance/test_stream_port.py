"""The stream port under strain: TLS, crowds, kills at random moments, providers and functions that hang, frames that nobody would send."""

import asyncio
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import threading
import time

import pytest
from certificates import Authority
from processes import entries_of, save
from streams import Client, at, entry, set_
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire import RawSocket, fleet, free_port, wait_for

ROUNDS = int(os.environ.get("III_STREAM_ROUNDS", "5"))
CROWD = 2000


def listeners(wire, stream: str) -> int:
    """How many subscriptions there were; there are none afterwards."""
    return wire.call("stream::disconnect", {"stream_name": stream})["disconnected"]


@pytest.fixture(scope="module")
def core():
    port = free_port()
    with fleet(workers=[entry(port, auth_function="x::admit")]) as it:
        it.stream_port = port
        yield it


class Door:
    """The auth function: it answers as the path of the client says."""

    def __init__(self, core):
        self.wire = core.connect()
        self.wire.register("x::admit")
        self.wire.sync()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        try:
            for frame in self.wire.ws:
                message = json.loads(frame)
                if message["type"] == "invokefunction" and message["data"]["query_params"] != {"hang": [""]}:
                    self.wire.answer(message, {"context": {"path": message["data"]["path"]}})
        except Exception:
            return


@pytest.fixture(scope="module")
def door(core):
    it = Door(core)
    yield it
    it.wire.close()


# TLS


def serial(port: int, authority) -> int:
    # One TLS handshake alone: under load one upgrade in 500 by websockets over TLS got no answer (ours or its: open).
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, authority.trust().wrap_socket(raw, server_hostname="localhost") as tls:
        return int(tls.getpeercert()["serialNumber"], 16)


def test_clients_come_over_tls_and_a_renewed_certificate_cuts_nobody_off(tmp_path):
    authority = Authority(tmp_path)
    files = tmp_path / "cert.pem", tmp_path / "key.pem"

    def renew(name):
        for source, place in zip(authority.issue(name), files):
            shutil.copy(source, f"{place}.new")
            os.replace(f"{place}.new", place)

    renew("one")
    port = free_port()
    with fleet(workers=[entry(port, tls={"cert_file": str(files[0]), "key_file": str(files[1])})]) as it:
        wire, old = it.connect(), serial(port, authority)
        pid = it.pid_of("iii-stream")
        with connect(f"wss://localhost:{port}/stream/st/g", ssl=authority.trust(), compression=None, max_size=None) as ws:
            assert json.loads(ws.recv(timeout=10))["event"] == {"type": "sync", "data": []}
            renew("two")
            wait_for(lambda: serial(port, authority) != old, "new clients see the new certificate")
            set_(wire, "st", "k", "x" * 300_000)
            assert len(json.loads(ws.recv(timeout=10))["event"]["data"]) == 300_000, "the old connection lives on"
            # Other files, by the configuration.
            third = authority.issue("three")
            entries = entries_of(it)
            next(e for e in entries if e["name"] == "iii-stream")["config"]["tls"] = {"cert_file": str(third[0]), "key_file": str(third[1])}
            second = serial(port, authority)
            save(it, entries)
            wait_for(lambda: serial(port, authority) not in (old, second), "a reload takes other files")
            set_(wire, "st", "k", 2)
            assert json.loads(ws.recv(timeout=10))["event"] == {"type": "update", "data": 2}
        assert it.pid_of("iii-stream") == pid


# Crowds


def test_two_thousand_clients_are_all_told():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    port = free_port()

    async def open_one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream/st/g HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert b" 101 " in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        return reader, writer

    async def frame(reader) -> dict:
        head = await reader.readexactly(2)
        size = head[1]
        if size == 126:
            size = struct.unpack(">H", await reader.readexactly(2))[0]
        return json.loads(await reader.readexactly(size))

    async def crowd(wire):
        clients = []
        for _ in range(CROWD // 100):
            clients += await asyncio.gather(*(open_one() for _ in range(100)))
        frames = await asyncio.gather(*(frame(reader) for reader, _ in clients))
        assert all(it["event"] == {"type": "sync", "data": []} for it in frames)
        for number in range(3):
            await asyncio.to_thread(set_, wire, "st", "k", number)
        for kind, number in [("create", 0), ("update", 1), ("update", 2)]:
            frames = await asyncio.gather(*(frame(reader) for reader, _ in clients))
            assert all(it["event"] == {"type": kind, "data": number} for it in frames)
        for _, writer in clients:
            writer.close()

    try:
        with fleet(workers=[entry(port)]) as it:
            wire = it.connect()
            asyncio.run(asyncio.wait_for(crowd(wire), 240))
            wait_for(lambda: listeners(wire, "st") == 0, "nothing is left of them", timeout=30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Kills


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_under_load_lose_nothing_that_was_answered(tmp_path, seed):
    """Writers, batches and a client go on while iii-stream is killed at random moments: what was answered is there, no batch is half there,
    and what a client is shown first and told after that is what is stored."""
    rng = random.Random(seed)
    port = free_port()
    kv = {"name": "kv", "config": {"file_path": str(tmp_path / "items")}}
    with fleet(workers=[entry(port, adapter=kv)]) as it:
        stop, answered, batches, seen = threading.Event(), [{} for _ in range(3)], [0], [0]
        problems: list[str] = []

        def guarded(body):
            def run():
                try:
                    body()
                except Exception as error:
                    problems.append(repr(error))
            return threading.Thread(target=run)

        def writer(number: int):
            def run():
                own, attempt = it.connect(), 0
                while not stop.is_set():
                    attempt += 1
                    key = f"w{number}-{attempt % 5}"
                    if "error" not in own.result_of(own.invoke("stream::set", {**at("st", key), "data": {"id": key, "n": attempt}})):
                        answered[number][key] = attempt
                own.close()
            return run

        def batch():
            own, attempt = it.connect(), 0
            while not stop.is_set():
                attempt += 1
                items = [{"item_id": f"b{n}", "data": {"id": f"b{n}", "n": attempt}} for n in range(20)]
                if "error" not in own.result_of(own.invoke("stream::set_many", {**at("st", group="batches"), "items": items})):
                    batches[0] = attempt
            own.close()

        def client():
            while not stop.is_set():
                try:
                    ws = Client(port)
                    ws.join("st", "g")
                    held = None
                    while not stop.is_set():
                        frame = ws.recv(timeout=5)
                        if frame["event"]["type"] == "sync":
                            held = {value["id"]: value["n"] for value in frame["event"]["data"]}
                        else:
                            key, value = frame["id"], frame["event"]["data"]["n"]
                            if held is None or (frame["event"]["type"] == "create") != (key not in held):
                                problems.append(f"{frame['event']['type']} of {key} after {held}")
                            elif value <= held.get(key, 0):
                                problems.append(f"{key} went from {held[key]} to {value}")
                            held[key] = value
                        seen[0] += 1
                except (ConnectionClosed, InvalidStatus, OSError, TimeoutError, EOFError):
                    time.sleep(0.01)

        threads = [guarded(body) for body in (*(writer(n) for n in range(3)), batch, client)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = seen[0]
                target = before + rng.randrange(5, 200)
                wait_for(lambda: seen[0] >= target or problems, "the client hears of writes", timeout=60)
                pid = it.rows()["iii-stream"].get("pid")
                if pid:
                    os.kill(pid, signal.SIGKILL)
            last = batches[0]
            wait_for(lambda: batches[0] > last or problems, "batches go on after the last kill", timeout=60)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not problems, problems[:3]
        wire = it.connect()
        stored = {value["id"]: value["n"] for value in wire.call("stream::list", at("st"))}
        for keys in answered:
            for key, attempt in keys.items():
                assert stored[key] >= attempt
        numbers = {value["n"] for value in wire.call("stream::list", at("st", group="batches"))}
        assert len(numbers) == 1 and numbers.pop() >= batches[0], "no batch is half there"


# Those who want to break it


def test_a_client_that_hangs_in_the_auth_function_hinders_nobody(core, door, wire, stream):
    hanging = [RawSocketWithoutAnswer(core.stream_port, "/?hang") for _ in range(50)]
    it = Client(core.stream_port)
    it.join(stream, "g")
    assert it.events(1) == [("sync", None, [])]
    assert hanging[0].status() == 503
    for one in hanging:
        one.socket.close()
    it.close()


class RawSocketWithoutAnswer:
    """An upgrade that was asked for."""

    def __init__(self, port: int, path: str):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())

    def status(self) -> int:
        return int(self.socket.recv(4096).split()[1])


@pytest.mark.parametrize("seed", range(6))
def test_frames_that_nobody_would_send_end_their_own_connection_at_most(core, door, wire, stream, seed):
    rng = random.Random(seed)
    good = Client(core.stream_port)
    good.join(stream, "g")
    good.events(1)
    pid = core.pid_of("iii-stream")
    join = {"type": "join", "data": {"subscriptionId": "s", "streamName": stream, "groupId": "g"}}
    for _ in range(40):
        raw = RawSocket(core.stream_port, greets=False)
        raw.socket.settimeout(5)
        try:
            for _ in range(rng.randrange(1, 8)):
                text = json.dumps(join).encode()
                choice = rng.randrange(8)
                if choice == 0:
                    raw.socket.sendall(rng.randbytes(rng.randrange(1, 200)))
                elif choice == 1:
                    place = rng.randrange(len(text))
                    raw.frame(1, text[:place] + rng.randbytes(1) + text[place + 1:])
                elif choice == 2:
                    raw.frame(rng.randrange(16), text, fin=rng.random() < 0.5, rsv=rng.randrange(2))
                elif choice == 3:
                    raw.frame(1, text, mask=False)
                elif choice == 4:
                    raw.frame(1, b'{"type":"join","data":' * 5000)
                elif choice == 5:
                    raw.frame(1, json.dumps({**join, "data": {**join["data"], rng.choice(["presence", "resume", "ack", "id", "presenceKey", "groupId"]): rng.choice([None, 1, [], {}, "x" * 600, [[[]]], True])}}).encode())
                elif choice == 6:
                    raw.frame(1, text, length=b"\x7f" + struct.pack(">Q", 1 << 62))
                else:
                    raw.frame(2, text)
                    raw.frame(8, struct.pack(">H", rng.choice([1000, 1005, 4000, 70])) + b"\xff")
        except OSError:
            pass
        raw.close()
    set_(wire, stream, "k", seed)
    assert good.events(1) == [("create", "k", seed)]
    assert core.pid_of("iii-stream") == pid
    good.close()


def test_a_flood_of_joins_and_leaves_is_limited_and_leaves_nothing(core, door, wire, stream):
    flood, other = Client(core.stream_port), Client(core.stream_port)
    other.join(stream, "g")
    other.events(1)
    for number in range(600):
        flood.join(stream, f"g{number}" + "x" * 480, subscription=f"s{number}")
        flood.leave(stream, "g", subscription=f"s{number}")
    kinds = [flood.recv()["event"] for _ in range(600)]
    limited = [event for event in kinds if event["type"] == "error"]
    assert limited and all(event["error"]["code"] == "rate_limited" for event in limited)
    flood.send({"type": "join", "data": {"subscriptionId": "s", "streamName": "s" * 513, "groupId": "g"}})
    assert "512" in flood.recv()["event"]["error"]["message"]
    set_(wire, stream, "k", 1)
    assert other.events(1) == [("create", "k", 1)]
    for own in (flood, other):
        own.close()
    wait_for(lambda: listeners(wire, stream) == 0, "nothing is left of them")


@pytest.mark.parametrize("list_", ["text", {"a": 1}, 5], ids=["text", "object", "number"])
def test_a_provider_whose_list_is_none_costs_the_join(core, door, wire, stream, list_):
    provider = core.connect()
    provider.register(f"stream::list({stream})")
    provider.sync()
    wait_for(lambda: provides(core, provider, stream, list_), "the provider is known")
    it = Client(core.stream_port)
    it.join(stream, "g")
    provider.answer(provider.expect("invokefunction"), list_)
    assert it.recv()["event"]["error"]["code"] == "snapshot_failed"
    it.quiet()
    it.close()
    provider.close()


def provides(core, provider, stream, answer) -> bool:
    """Whether a call reaches the provider by now."""
    own = core.connect()
    try:
        call = own.invoke("stream::list", at(stream))
        try:
            provider.answer(provider.expect("invokefunction", timeout=1), answer)
        except Exception:
            return False
        return own.result_of(call)["result"] == answer
    finally:
        own.close()


def test_a_provider_that_hangs_costs_the_join_and_nobody_else(core, door, wire, stream):
    provider = core.connect()
    provider.register(f"stream::list({stream})")
    provider.sync()
    wait_for(lambda: provides(core, provider, stream, []), "the provider is known")
    it, other = Client(core.stream_port), Client(core.stream_port)
    it.join(stream, "g")
    provider.expect("invokefunction")
    other.join(f"{stream}-other", "g")
    assert other.events(1) == [("sync", None, [])]
    set_(wire, stream, "k", 1)
    assert it.recv(timeout=25)["event"]["error"]["code"] == "snapshot_failed"
    it.quiet()
    for own in (it, other, provider):
        own.close()


# Who fails to decide


@pytest.fixture(scope="module")
def lenient():
    port = free_port()
    with fleet(workers=[entry(port, auth_function="x::absent", auth_failure="anonymous", join_failure="deny")]) as it:
        it.stream_port = port
        yield it


def test_without_a_decision_clients_come_in_anonymously_when_that_is_wanted(lenient, stream):
    gate = lenient.connect()
    gate.register("x::join")
    gate.register_trigger("stream:join", "x::join", config={"stream_name": stream})
    gate.sync()
    it = Client(lenient.stream_port)
    it.join(stream, "g")
    call = gate.expect("invokefunction")
    assert call["data"]["context"] is None
    gate.answer(call, None)
    assert it.events(1) == [("sync", None, [])]
    it.close()
    gate.close()


def test_a_function_of_a_join_that_fails_refuses_when_that_is_wanted(lenient, stream):
    gate = lenient.connect()
    gate.register("x::failing")
    gate.register_trigger("stream:join", "x::failing", config={"stream_name": stream})
    gate.sync()
    it = Client(lenient.stream_port)
    it.join(stream, "g")
    gate.answer(gate.expect("invokefunction"), error={"code": "x", "message": "broken"})
    assert it.recv()["event"] == {"type": "unauthorized"}
    it.quiet()
    it.close()
    gate.close()


# Providers


def test_a_provider_is_taken_at_its_word_and_its_mistakes_are_named(core, door, wire, stream):
    provider = core.connect()
    for operation in ("get", "set", "delete", "list"):
        provider.register(f"stream::{operation}({stream})")
    provider.sync()
    wait_for(lambda: provides(core, provider, stream, []), "the provider is known")

    def asked(function: str, data: dict, **answer) -> dict:
        call = wire.invoke(function, {**at(stream, "k"), **data})
        provider.answer(provider.expect("invokefunction"), **answer)
        return wire.result_of(call)

    assert "result" not in asked("stream::get", {}, result=None)
    assert asked("stream::get", {}, error={"code": "MINE", "message": "no"})["error"]["code"] == "MINE"
    assert asked("stream::set", {"data": 1}, result={"old": 1})["error"]["code"] == "JSON_ERROR"
    assert asked("stream::set", {"data": 1}, error={"code": "MINE", "message": "no"})["error"]["code"] == "STREAM_SET_ERROR"
    assert asked("stream::delete", {}, result={})["result"] == {"old_value": None}
    it = Client(core.stream_port)
    it.join(stream, "g")
    provider.answer(provider.expect("invokefunction"), [{"id": "k"}])
    assert it.events(1) == [("sync", None, [{"id": "k"}])]
    assert asked("stream::set", {"data": 1}, result={"new_value": 2, "old_value": 1, "more": 3})["result"] == {"old_value": 1, "new_value": 2}
    assert it.events(1) == [("update", "k", 2)]
    # There is no `update`: it is made of `get` and `set`.
    call = wire.invoke("stream::update", {**at(stream, "k"), "ops": [{"type": "increment", "path": "n", "by": 2}]})
    provider.answer(provider.expect("invokefunction", function_id=f"stream::get({stream})"), {"n": 1})
    storing = provider.expect("invokefunction", function_id=f"stream::set({stream})")
    assert storing["data"]["data"] == {"n": 3}
    provider.answer(storing, {"new_value": {"n": 3}})
    assert wire.result_of(call)["result"] == {"old_value": {"n": 1}, "new_value": {"n": 3}}
    assert it.events(1) == [("update", "k", {"n": 3})]
    it.close()
    provider.close()
    wait_for(lambda: wire.result_of(wire.invoke("stream::list", at(stream))).get("result") == [], "the store answers again")
