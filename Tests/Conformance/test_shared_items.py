"""State and streams that several fleets share through one Redis, and what becomes of them when it, or one of us, fails."""

import contextlib
import json
import os
import pathlib
import re
import signal
import tempfile
import threading
import time
import uuid

import pytest
import redis_server
from processes import prepared, run_core, settle
from streams import Client, at
from test_state import raw_call
from wire import ROOT, free_port, wait_for


def adapter(server, **config) -> dict:
    return {"adapter": {"name": "redis", "config": {"redis_url": getattr(server, "url", server), **config}}}


@contextlib.contextmanager
def sharing(server, *configs):
    """A fleet with state and streams for each of `configs`, by default two that share everything."""
    with contextlib.ExitStack() as stack:
        running = []
        for config in configs or ({}, {}):
            directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="iii-")))
            port = free_port()
            workers = [
                {"name": "iii-state", "config": adapter(server, **config)},
                {"name": "iii-stream", "config": {"host": "127.0.0.1", "port": port, **adapter(server, **config)}},
            ]
            it = stack.enter_context(prepared(directory, workers=workers))
            it.stream_port = port
            it.up()
            stack.callback(it.stop)
            running.append(it)
        yield running


@pytest.fixture(scope="module")
def server():
    with redis_server.running("--appendonly", "yes", "--appendfsync", "always", "--databases", "64") as it:
        yield it


@pytest.fixture(scope="module")
def pair(server):
    with sharing(server) as running:
        yield running


@pytest.fixture
def name():
    return f"n-{uuid.uuid4()}"


@contextlib.contextmanager
def connections(*fleets):
    wires = [it.connect() for it in fleets]
    try:
        yield wires
    finally:
        for wire in wires:
            wire.close()


def answer(wire, function_id, data) -> dict:
    """The answering frame, whatever it says."""
    return wire.result_of(wire.invoke(function_id, data))


def follow(client: Client, items: dict, until) -> dict:
    """Applies frames as a client does until `until(items)`, which sees what the client sees."""
    end = time.monotonic() + 30
    while not until(items):
        assert time.monotonic() < end, f"not within 30 s; last seen {items}"
        frame = client.recv(30)
        event = frame["event"]
        match event["type"]:
            case "sync":
                items.clear()
                items.update({value["id"]: value for value in event["data"]})
            case "create" | "update":
                items[frame["id"]] = event["data"]
            case "delete":
                items.pop(frame["id"], None)
    return items


# Two fleets


def test_one_fleet_sees_what_the_other_writes(pair, name):
    with connections(*pair) as (a, b):
        at_ = {"scope": name, "key": "k"}
        a.call("state::set", {**at_, "value": {"n": 1}})
        assert b.call("state::get", at_) == {"n": 1}
        assert b.call("state::update", {**at_, "ops": [{"type": "increment", "path": "n", "by": 1}]})["new_value"] == {"n": 2}
        assert a.call("state::delete", at_) == {"n": 2}
        assert name not in b.call("state::list_groups")["groups"]


def test_events_reach_the_clients_of_both_and_triggers_fire_where_the_write_was(pair, name):
    with connections(*pair) as wires:
        calls = []
        for index, it in enumerate(pair):
            worker = it.connect()
            worker.register(f"x{index}::on")
            worker.register_trigger("stream", f"x{index}::on", config={"stream_name": name})
            worker.sync()
            calls.append(worker)
        clients = [Client(it.stream_port) for it in pair]
        for own in clients:
            own.join(name, "g")
            assert own.recv()["event"] == {"type": "sync", "data": []}
        wires[0].call("stream::set", {**at(name, "k"), "data": 1})
        wires[1].call("stream::set", {**at(name, "k"), "data": 2})
        wires[0].call("stream::send", {**at(name), "type": "typing", "data": {"by": "a"}})
        wires[1].call("stream::delete", at(name, "k"))
        expected = [("create", "k", 1), ("update", "k", 2), ("event", None, {"type": "typing", "data": {"by": "a"}}), ("delete", "k", 2)]
        for own in clients:
            assert own.events(4) == expected
            own.quiet()
            own.close()
        kinds = [[], []]
        for index, worker in enumerate(calls):
            for _ in range(2):
                call = worker.expect("invokefunction")
                kinds[index].append(call["data"]["event"]["type"])
                worker.answer(call, None)
            worker.quiet()
            worker.close()
        assert kinds == [["create", "event"], ["update", "delete"]]


def test_increments_from_two_fleets_lose_nothing_and_none_fails(pair, name):
    failures, threads = [], []

    def count(it):
        wire = it.connect()
        for _ in range(50):
            found = answer(wire, "state::update", {"scope": name, "key": "n", "ops": [{"type": "increment", "path": "n", "by": 1}]})
            if "error" in found:
                failures.append(found["error"])
        wire.close()

    for index in range(64):
        threads.append(threading.Thread(target=count, args=(pair[index % 2],)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert not failures
    with connections(pair[0]) as (wire,):
        assert wire.call("state::get", {"scope": name, "key": "n"}) == {"n": 3200}


def test_two_writers_of_one_item_with_every_operation_lose_nothing(pair, name):
    at_, rounds = {**at(name, "k")}, 60
    watching = Client(pair[1].stream_port)
    watching.join(name, "g", "k")
    assert watching.recv()["event"] == {"type": "sync", "data": None}

    def write(index):
        wire, own = pair[index].connect(), f"own{index}"
        for number in range(rounds):
            found = answer(wire, "stream::update", {**at_, "ops": [
                {"type": "increment", "path": "n", "by": 2}, {"type": "decrement", "path": "n", "by": 1},
                {"type": "append", "path": "all", "value": [index, number]}, {"type": "append", "path": ["deep", own], "value": number},
                {"type": "set", "path": own, "value": number}, {"type": "merge", "path": ["m", own], "value": {str(number): True}},
                {"type": "set", "path": "gone", "value": own}, {"type": "remove", "path": "gone"}]})
            assert "result" in found and "errors" not in found["result"], found
        wire.close()

    writers = [threading.Thread(target=write, args=(index,)) for index in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with connections(pair[0]) as (wire,):
        final = wire.call("stream::get", at_)
    assert final["n"] == 2 * rounds and sorted(final["all"]) == [[index, number] for index in range(2) for number in range(rounds)]
    for index in range(2):
        own = f"own{index}"
        assert final[own] == rounds - 1 and final["deep"][own] == list(range(rounds)) and len(final["m"][own]) == rounds
    assert "gone" not in final
    seen = [watching.recv()["event"] for _ in range(2 * rounds)]
    assert [event["data"]["n"] for event in seen] == list(range(1, 2 * rounds + 1)), "each change once, in the order of the commits"
    assert [event["type"] for event in seen] == ["create"] + ["update"] * (2 * rounds - 1) and seen[-1]["data"] == final
    watching.close()


def test_a_join_misses_nothing_of_what_both_fleets_write(pair, name):
    stop = threading.Event()

    def write(it, key):
        wire, number = it.connect(), 0
        while not stop.is_set():
            number += 1
            wire.call("stream::set", {**at(name, key), "data": {"id": key, "n": number}})
        wire.close()

    writers = [threading.Thread(target=write, args=(it, f"k{index}")) for index, it in enumerate(pair)]
    for writer in writers:
        writer.start()
    try:
        for round_ in range(30):
            own = Client(pair[round_ % 2].stream_port)
            own.join(name, "g")
            first = own.recv()["event"]
            assert first["type"] == "sync"
            seen = {value["id"]: value["n"] for value in first["data"]}
            for _ in range(20):
                frame = own.recv()
                key, number = frame["id"], frame["event"]["data"]["n"]
                assert number == seen.get(key, 0) + 1, f"{key}: {number} after {seen.get(key)}"
                seen[key] = number
            own.close()
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_values_come_back_as_they_were_written(pair, server, name):
    with connections(*pair) as (a, b):
        value = '{"v":15947634569000323,"w":[130775545883395173],"x":98765432109876543210,"o":{},"l":[],"f":1.0,"z":-0.0,"b":true,"u":null,"n":1}'
        raw_call(a, "state::set", f'{{"scope":"{name}","key":"k","value":{value}}}')
        frame = raw_call(b, "state::update", f'{{"scope":"{name}","key":"k","ops":[{{"type":"increment","path":"n","by":1}}]}}')
        assert f'"new_value":{value[:-2]}2}}' in frame
        assert value[:-2].encode() + b"2}" in server.command("HGET", f"state:{name}", "k"), "the reference's key and form"
        frame = raw_call(a, "state::update", f'{{"scope":"{name}","key":"d","ops":[{{"type":"set","path":"a","value":10.3}},{{"type":"increment","path":"a","by":10.33}}]}}')
        assert '"new_value":{"a":20.630000000000003}' in frame


def test_a_revision_is_never_used_twice_across_fleets(pair, name):
    with connections(*pair) as (a, b):
        at_ = {"scope": name, "key": "k"}
        first = a.call("state::set", {**at_, "value": 1, "return_meta": True})["revision"]
        b.call("state::delete", at_)
        b.call("state::set", {**at_, "value": 1})
        assert a.error_of("state::set", {**at_, "value": 2, "if_revision": first})["code"] == "CONFLICT"
        now = a.call("state::get", {**at_, "with_meta": True})["revision"]
        assert now > first
        assert b.call("state::set", {**at_, "value": 2, "if_revision": now})["old_value"] == 1


def test_an_expiry_is_told_once_to_everybody(pair, name):
    with connections(*pair) as (a, b):
        clients = [Client(it.stream_port) for it in pair]
        for own in clients:
            own.join(name, "g")
            own.recv()
        a.call("stream::set", {**at(name, "k"), "data": 1, "ttl_ms": 300})
        for own in clients:
            assert own.events(2) == [("create", "k", 1), ("delete", "k", 1)]
        assert "result" not in answer(b, "stream::get", at(name, "k"))
        for own in clients:
            own.quiet()
            own.close()


def test_a_key_of_another_type_stops_neither_expiry_nor_lists(pair, server, name):
    with connections(*pair) as (a, b):
        for scope in ("broken", "whole"):
            a.call("state::set", {"scope": f"{name}-{scope}", "key": "k", "value": 1, "ttl_ms": 1500})
        server.command("DEL", f"state:{name}-broken")
        server.command("SET", f"state:{name}-broken", "somebody else's")
        server.command("ZADD", "iii:expiry:state", "1", "rubbish")
        a.call("state::set", {"scope": f"{name}-other", "key": "k", "value": 1})
        wait_for(lambda: f"{name}-whole" not in b.call("state::list_groups")["groups"], "what has expired is gone")
        wait_for(lambda: server.command("ZSCORE", "iii:expiry:state", "rubbish") == b"$-1\r\n", "rubbish is taken out")
        assert f"{name}-other" in b.call("state::list_groups")["groups"]
        assert b"somebody else" in server.command("GET", f"state:{name}-broken"), "it is left as it is"


@pytest.mark.parametrize("key", ["a\0b", "é\"\\/", "a:b"], ids=["nul", "escapes", "colon"])
def test_an_expiry_is_told_under_any_name(pair, name, key):
    with connections(pair[0]) as (a,):
        own = Client(pair[1].stream_port)
        own.join(name + key, key)
        own.recv()
        a.call("stream::set", {"stream_name": name + key, "group_id": key, "item_id": key, "data": [1], "ttl_ms": 200})
        assert own.events(2) == [("create", key, [1]), ("delete", key, [1])]
        assert key not in a.call("stream::list_groups", {"stream_name": name + key})
        own.close()


# Names and neighbours

HOSTILE = ["", " ", ":", "a:b", "::", "a\0b", "*", "x[1]", "c:\\d", "é", "e\u0301", "😀", "\n", '"', "{x}", "iii:facts:x", "%2F", "n" * 512]


def test_names_of_any_kind_are_names_of_their_own(pair, name):
    with connections(*pair) as (a, b):
        for index, key in enumerate(HOSTILE):
            a.call("state::set", {"scope": name, "key": key, "value": index})
            a.call("stream::set", {"stream_name": name + key[:400], "group_id": key, "item_id": key, "data": index})
        for index, key in enumerate(HOSTILE):
            assert b.call("state::get", {"scope": name, "key": key}) == index
            assert b.call("stream::list", {"stream_name": name + key[:400], "group_id": key}) == [index]
            assert key in b.call("stream::list_groups", {"stream_name": name + key[:400]})
        assert b.call("state::list", {"scope": name}) == list(range(len(HOSTILE)))
        assert a.error_of("state::set", {"scope": name, "key": "k" * (1 << 20), "value": 1})["code"] == "LIMIT_EXCEEDED"


def test_streams_whose_names_have_colons_share_nothing(pair, name):
    with connections(*pair) as (a, b):
        a.call("stream::set", {"stream_name": name, "group_id": "b:c", "item_id": "k", "data": 1})
        b.call("stream::set", {"stream_name": f"{name}:b", "group_id": "c", "item_id": "k", "data": 2})
        assert b.call("stream::list", {"stream_name": name, "group_id": "b:c"}) == [1]
        assert a.call("stream::list", {"stream_name": f"{name}:b", "group_id": "c"}) == [2]
        assert a.call("stream::list_groups", {"stream_name": name}) == ["b:c"]
        assert a.call("stream::list_groups", {"stream_name": f"{name}:b"}) == ["c"]


def test_prefixes_and_databases_keep_fleets_apart(server, name):
    other = server.url.replace("/0", "/7")
    with sharing(server, {"key_prefix": "staging:"}, {"redis_url": other}, {}) as fleets, connections(*fleets) as wires:
        clients = [Client(it.stream_port) for it in fleets]
        for own in clients:
            own.join(name, "g")
            assert own.recv()["event"]["data"] == []
        for index, wire in enumerate(wires):
            wire.call("stream::set", {**at(name, "k"), "data": index})
            wire.call("state::set", {"scope": name, "key": "k", "value": index})
        for index, (wire, own) in enumerate(zip(wires, clients)):
            assert own.events(1) == [("create", "k", index)]
            assert wire.call("state::list", {"scope": name}) == [index]
            assert wire.call("stream::list_groups", {"stream_name": name}) == ["g"]
        for own in clients:
            own.quiet()
            own.close()


@pytest.mark.parametrize("prefix", ["staging", "state:", "a:stream:"])
def test_a_prefix_that_could_meet_another_is_refused(server, tmp_path, prefix):
    with prepared(tmp_path, workers=[{"name": "iii-state", "config": adapter(server, key_prefix=prefix)}]) as it:
        it.spawn()
        wait_for(lambda: "key_prefix" in it.output() and f"'{prefix}'" in it.output(), "the prefix is named")


def test_what_the_reference_has_written_is_taken_over():
    with redis_server.running() as server:
        server.command("HSET", "state:users", "u1", '{"n":9007199254740993, "e":[]}')
        server.command("HSET", "state:users", "u2", "1.0")
        server.command("HSET", "stream:chat:room:1", "m1", '{"id":"m1"}')
        server.command("SET", "state:not-a-hash", "1")
        server.command("HSET", "state:users", "bad", "not json")
        with sharing(server, {}) as (it,), connections(it) as (wire,):
            assert wire.call("state::list_groups")["groups"] == ["users"]
            assert sorted(map(json.dumps, wire.call("state::list", {"scope": "users"}))) == ["1.0", '{"n": 9007199254740993, "e": []}']
            assert wire.call("stream::list_all", None)["stream"] == [{"id": "chat", "groups": ["room:1"]}]
            assert wire.call("stream::list", at("chat", group="room:1")) == [{"id": "m1"}]
            # What it writes while we run is served, and has a revision of its own.
            seen = wire.call("state::get", {"scope": "users", "key": "u2", "with_meta": True})["revision"]
            server.command("HSET", "state:users", "u2", "22")
            found = wire.call("state::get", {"scope": "users", "key": "u2", "with_meta": True})
            assert found["value"] == 22 and found["revision"] > seen
            server.command("HSET", "state:later", "k", "5")
            assert wire.call("state::get", {"scope": "later", "key": "k"}) == 5
            assert "later" in wire.call("state::list_groups")["groups"]
            server.command("HDEL", "state:users", "u2")
            assert wire.call("state::count", {"scope": "users"})["count"] == 2
            # What cannot be served harms nobody.
            error = wire.error_of("state::get", {"scope": "users", "key": "bad"})
            assert error["code"] == "GET_ERROR" and "not JSON" in error["message"]
            assert "not JSON" in wire.error_of("state::update", {"scope": "users", "key": "bad", "ops": []})["message"]
            assert wire.call("state::set", {"scope": "users", "key": "bad", "value": 3}) == {"old_value": None, "new_value": 3}
            error = wire.error_of("state::set", {"scope": "not-a-hash", "key": "k", "value": 1})
            assert error["code"] == "SET_ERROR" and "'state:not-a-hash'" in error["message"]
            assert "redis_foreign_value" in it.output()


def test_events_of_the_reference_reach_clients_and_rubbish_harms_nobody(pair, server, name):
    own = Client(pair[0].stream_port)
    own.join(name, "g")
    own.recv()
    server.command("PUBLISH", "stream::events", "rubbish")
    server.command("PUBLISH", "stream::events", '{"type":"stream"}')
    frame = {"type": "stream", "timestamp": 1, "streamName": name, "groupId": "g", "id": "m", "event": {"type": "create", "data": {"id": "m"}}}
    server.command("PUBLISH", "stream::events", json.dumps(frame))
    assert own.events(1) == [("create", "m", {"id": "m"})]
    own.close()


def test_what_others_do_to_the_keys_beside_the_values_mends_itself(pair, server, name):
    """An evicting server, or a person with a shell."""
    with connections(*pair) as (a, b):
        at_ = {"scope": name}
        for key in "cab":
            a.call("state::set", {**at_, "key": key, "value": key})
        for beside in ("facts", "order", "names"):
            assert server.command("DEL", f"iii:{beside}:state:{name}") == b":1\r\n"
            assert sorted(b.call("state::list", at_)) == ["a", "b", "c"]
            page = b.call("state::list", {**at_, "order": "id", "limit": 2, "with_ids": True})
            assert [item["id"] for item in page["items"]] == ["a", "b"], beside
            assert a.call("state::set", {**at_, "key": "a", "value": "a"})["old_value"] == "a"
        server.command("DEL", f"state:{name}")
        assert a.call("state::list", at_) == [] and a.call("state::count", at_) == {"count": 0}
        assert name not in b.call("state::list_groups")["groups"]
        for rubbish in ("x", "99999999999999999999999"):
            server.command("SET", "iii:revision", rubbish)
            first = a.call("state::set", {**at_, "key": "k", "value": 1, "return_meta": True})["revision"]
            assert b.call("state::set", {**at_, "key": "k", "value": 2, "return_meta": True})["revision"] > first


def test_a_user_with_no_more_rights_than_documented_can_do_it_all(name):
    text = (ROOT / "docs/operations.md").read_text()
    rights = re.search(r"and `(\+@all[^`]*)`", text).group(1).split()
    with redis_server.running() as server:
        server.command("ACL", "SETUSER", "iii", "on", ">secret", "~*", "&stream::events", "&iii:echo:*", *rights)
        url = server.url.replace("redis://", "redis://iii:secret@")
        with sharing(url, {}) as (it,), connections(it) as (wire,):
            own = Client(it.stream_port)
            own.join(name, "g")
            own.recv()
            wire.call("stream::set", {**at(name, "k"), "data": 1, "ttl_ms": 300})
            assert own.events(2) == [("create", "k", 1), ("delete", "k", 1)]
            wire.call("stream::send", {**at(name), "type": "t", "data": 1})
            assert own.events(1)[0][0] == "event"
            assert wire.call("state::set_many", {"scope": name, "items": [{"key": "a", "value": 1}]})["items"]
            assert "secret" not in it.output()
            own.close()


# Trouble


def test_flushed_scripts_are_not_noticed(pair, server, name):
    stop, failures = threading.Event(), []

    def write(it):
        wire = it.connect()
        while not stop.is_set():
            found = answer(wire, "state::update", {"scope": name, "key": "n", "ops": [{"type": "increment", "path": "", "by": 1}]})
            if "error" in found:
                failures.append(found["error"])
            else:
                done.append(1)
        wire.close()

    done = []
    writers = [threading.Thread(target=write, args=(it,)) for it in pair]
    for writer in writers:
        writer.start()
    for _ in range(10):
        server.command("SCRIPT", "FLUSH")
        before = len(done)
        wait_for(lambda: len(done) > before + 5, "writes go on")
    stop.set()
    for writer in writers:
        writer.join()
    assert not failures
    with connections(pair[1]) as (wire,):
        assert wire.call("state::get", {"scope": name, "key": "n"}) == len(done)


def test_a_lost_subscription_comes_back_with_a_fresh_snapshot(pair, server, name):
    with connections(*pair) as (a, b):
        clients = [Client(it.stream_port) for it in pair]
        for own in clients:
            own.join(name, "g")
            own.recv()
        assert server.command("CLIENT", "KILL", "TYPE", "pubsub")[:1] == b":"
        for number in range(10):
            (a, b)[number % 2].call("stream::set", {**at(name, f"k{number}"), "data": {"id": f"k{number}"}})
        for own in clients:
            follow(own, {}, lambda items: len(items) == 10)
        a.call("stream::set", {**at(name, "late"), "data": {"id": "late"}})
        for own in clients:
            follow(own, {}, lambda items: "late" in items)
            own.close()


def test_nobody_goes_on_from_a_place_before_a_gap(pair, server, name):
    with connections(*pair) as (a, b):
        first = Client(pair[0].stream_port)
        first.join(name, "g")
        first.recv()
        a.call("stream::set", {**at(name, "k"), "data": {"id": "k"}})
        frame = first.recv()
        place = {"epoch": frame["epoch"], "seq": frame["seq"]}
        first.ws.socket.close()
        watching = Client(pair[0].stream_port)
        watching.join(name, "g")
        assert watching.recv()["event"]["type"] == "sync"
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        b.call("stream::set", {**at(name, "missed"), "data": {"id": "missed"}})
        follow(watching, {}, lambda items: "missed" in items)
        again = Client(pair[0].stream_port)
        again.join(name, "g", resume=place)
        follow(again, {"k": {"id": "k"}}, lambda items: set(items) == {"k", "missed"})
        for own in (watching, again):
            own.close()


def test_a_subscription_at_the_wrong_server_is_found_out(server, name):
    """The address leads somewhere else than the subscription: what a failover behind one address leaves."""
    with redis_server.running("--appendonly", "yes") as other, redis_server.Switch(server) as switch:
        with sharing(switch, {}) as (it,), connections(it) as (wire,):
            own = Client(it.stream_port)
            own.join(name, "g")
            own.recv()
            # New connections go to the other server; only those of commands are cut.
            switch.lead_to(other)
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            wait_for(lambda: "result" in answer(wire, "stream::set", {**at(name, "k"), "data": {"id": "k"}}), "writes go to the other server")
            follow(own, {}, lambda items: "k" in items)
            own.close()


def test_a_restarted_redis_loses_nothing_and_clients_are_shown_the_rest(name):
    with redis_server.running("--appendonly", "yes", "--appendfsync", "always") as server, sharing(server) as pair:
        stop, answered = threading.Event(), [{}, {}]

        def write(index):
            wire, number = pair[index].connect(), 0
            while not stop.is_set():
                number += 1
                found = answer(wire, "stream::set", {**at(name, f"k{index}"), "data": {"id": f"k{index}", "n": number}})
                if "result" in found:
                    answered[index] = {"id": f"k{index}", "n": number}
                else:
                    assert found["error"]["code"] == "STREAM_SET_ERROR", found
            wire.close()

        clients = [Client(it.stream_port) for it in pair]
        for own in clients:
            own.join(name, "g")
            own.recv()
        writers = [threading.Thread(target=write, args=(index,)) for index in range(2)]
        for writer in writers:
            writer.start()
        for _ in range(3):
            wait_for(lambda: all(answered), "both write")
            server.kill()
            settle(0.3)
            server.start()
            marks = [it.get("n", 0) for it in answered]
            wait_for(lambda: all(now.get("n", 0) > mark for now, mark in zip(answered, marks)), "both write again", timeout=40)
        stop.set()
        for writer in writers:
            writer.join()
        with connections(*pair) as wires:
            for index in range(2):
                found = wires[1 - index].call("stream::get", at(name, f"k{index}"))
                assert found["n"] >= answered[index]["n"]
                final = {"id": f"k{index}", "n": -1}
                wires[index].call("stream::set", {**at(name, f"k{index}"), "data": final})
            for own in clients:
                follow(own, {}, lambda items: [it.get("n") for it in items.values()] == [-1, -1])
                own.close()


def test_a_paused_redis_costs_an_answer_within_the_timeout_and_nothing_else(name):
    with redis_server.running() as server, sharing(server, {"command_timeout_ms": 1000}) as (it,), connections(it) as (wire,):
        at_ = {"scope": name, "key": "k"}
        wire.call("state::set", {**at_, "value": 0})
        own = Client(it.stream_port)
        own.join(name, "g")
        own.recv()
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            calls = [wire.invoke("state::set", {**at_, "value": number}) for number in range(1, 20)]
            errors = [wire.result_of(call)["error"] for call in calls]
            assert {error["code"] for error in errors} == {"SET_ERROR"}
            assert any("not known whether this took effect" in error["message"] for error in errors)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wait_for(lambda: "result" in answer(wire, "state::set", {**at_, "value": "after"}), "it goes on by itself")
        assert wire.call("state::get", at_) == "after"
        wait_for(lambda: "result" in answer(wire, "stream::set", {**at(name, "k"), "data": {"id": "k"}}), "streams go on")
        follow(own, {}, lambda items: "k" in items)
        own.close()


def test_a_redis_without_memory_refuses_writes_by_name_and_lets_remove(name):
    with redis_server.running("--maxmemory-policy", "noeviction") as server, sharing(server, {}) as (it,), connections(it) as (wire,):
        for number in range(50):
            wire.call("state::set", {"scope": name, "key": f"k{number}", "value": "x" * 1000})
        server.command("CONFIG", "SET", "maxmemory", "1mb")
        error = wire.error_of("state::set", {"scope": name, "key": "more", "value": 1})
        assert error["code"] == "SET_ERROR" and "out of memory" in error["message"]
        assert wire.call("state::get", {"scope": name, "key": "k1"}) == "x" * 1000
        assert wire.call("state::delete", {"scope": name, "key": "k1"}) == "x" * 1000
        assert "result" not in answer(wire, "state::get", {"scope": name, "key": "more"})
        server.command("CONFIG", "SET", "maxmemory", "0")
        assert wire.call("state::set", {"scope": name, "key": "more", "value": 1})["new_value"] == 1


def test_a_server_that_is_a_replica_for_a_while_takes_writes_again_afterwards(name):
    with redis_server.running() as primary, redis_server.running() as server:
        with sharing(server, {"command_timeout_ms": 1500}) as (it,), connections(it) as (wire,):
            wire.call("state::set", {"scope": name, "key": "k", "value": 1})
            # A caught-up one: the other server has all that this one has.
            primary.command("REPLICAOF", "127.0.0.1", str(server.port))
            wait_for(lambda: b"master_link_status:up" in primary.command("INFO", "replication"), "the other one has caught up")
            primary.command("REPLICAOF", "NO", "ONE")
            server.command("REPLICAOF", "127.0.0.1", str(primary.port))
            found = answer(wire, "state::set", {"scope": name, "key": "k", "value": 2})
            assert found["error"]["code"] == "SET_ERROR" and ("replica" in found["error"]["message"] or "Redis" in found["error"]["message"])
            server.command("REPLICAOF", "NO", "ONE")
            wait_for(lambda: "result" in answer(wire, "state::set", {"scope": name, "key": "k", "value": 3}), "it takes writes again", timeout=30)
            assert wire.call("state::get", {"scope": name, "key": "k"}) == 3


def test_with_wait_replicas_a_failover_loses_nothing_that_was_answered(name):
    with redis_server.running() as primary, redis_server.running() as replica, redis_server.Switch(primary) as switch:
        replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
        wait_for(lambda: b"master_link_status:up" in replica.command("INFO", "replication"), "the replica has caught up")
        with sharing(switch, {"wait_replicas": 1, "wait_timeout_ms": 1000}) as (it,), connections(it) as (wire,):
            stop, answered = threading.Event(), []

            def write():
                own, number = it.connect(), 0
                while not stop.is_set():
                    number += 1
                    if "result" in answer(own, "state::set", {"scope": name, "key": f"k{number}", "value": number}):
                        answered.append(number)
                own.close()

            writers = [threading.Thread(target=write)]
            for writer in writers:
                writer.start()
            wait_for(lambda: len(answered) > 100, "writes are answered")
            primary.kill()
            replica.command("REPLICAOF", "NO", "ONE")
            switch.lead_to(replica)
            stop.set()
            for writer in writers:
                writer.join()
            kept = wait_for(lambda: answer(wire, "state::list", {"scope": name}).get("result"), "the new primary serves", timeout=30)
            assert set(answered) <= set(kept)
            # There is no replica any more: whoever asks for one is told so.
            error = wire.error_of("state::set", {"scope": name, "key": "k", "value": 1})
            assert error["code"] == "SET_ERROR" and "replicas have confirmed" in error["message"]


def test_a_start_without_redis_or_password_says_why(tmp_path):
    for index, (settings, words) in enumerate([(None, "Failed to connect to Redis at redis://127.0.0.1:"), (["--requirepass", "secret-word"], "password")]):
        directory = tmp_path / str(index)
        directory.mkdir()
        with contextlib.ExitStack() as stack:
            url = f"redis://127.0.0.1:{free_port()}" if settings is None else None
            if settings:
                # It asks for a password; so does the test's own PING.
                server = redis_server.RedisServer(directory, *settings)
                stack.callback(server.kill)
                server.start(b"-NOAUTH")
                url = f"redis://:not-this-one@127.0.0.1:{server.port}"
            with prepared(directory, workers=[{"name": "iii-state", "config": adapter(url)}]) as it:
                it.spawn()
                wait_for(lambda: words in it.output(), f"the log says '{words}'", timeout=30)
                assert "not-this-one" not in it.output()


def test_settings_of_redis_that_break_a_promise_are_said_at_the_start():
    with redis_server.running("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru") as server, sharing(server, {}) as (it,):
        wait_for(lambda: "maxmemory-policy is 'allkeys-lru'" in it.output() and "append-only file is off" in it.output(), "both are said")
    with redis_server.running("--appendonly", "yes") as server, sharing(server, {}) as (it,):
        wait_for(lambda: "appendfsync is 'everysec'" in it.output(), "the last second is said")


def test_config_check_knows_the_adapter(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "workers:\n"
        "  - {name: iii-state, config: {adapter: {name: redis, config: {redis_url: 'redis://h:1/2', key_prefix: 'a:', wait_replicas: 1, wait_timeout_ms: 500, command_timeout_ms: 5000}}}}\n"
        "  - {name: iii-stream, config: {adapter: {name: redis, config: {redis_url: 'http://h'}}}}\n")
    done = run_core("config", "check", "-c", config, cwd=tmp_path)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "redis_url" in text and "iii-stream" in text and "key_prefix" not in text
