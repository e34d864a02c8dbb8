"""`iii-stream` over the wire: functions, the stream port, triggers, providers, slow clients, restarts."""

import json
import os
import random
import re
import signal
import socket
import threading
import time

import pytest
from processes import entries_of, save
from streams import Client, at, entry, set_
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire import DEADLINE, ROOT, Fleet, fleet, free_port, wait_for


@pytest.fixture(scope="module")
def core():
    port = free_port()
    with fleet(workers=[entry(port)]) as it:
        it.stream_port = port
        yield it


# Functions


def test_items_are_set_read_listed_and_removed(wire, stream):
    assert set_(wire, stream, "c", {"n": 1}) == {"old_value": None, "new_value": {"n": 1}}
    assert set_(wire, stream, "a", 2) == {"old_value": None, "new_value": 2}
    assert set_(wire, stream, "c", 3) == {"old_value": {"n": 1}, "new_value": 3}
    assert wire.call("stream::get", at(stream, "c")) == 3
    assert "result" not in wire.result_of(wire.invoke("stream::get", at(stream, "none")))
    assert wire.call("stream::list", at(stream)) == [3, 2]
    assert wire.call("stream::list", at(stream, group="none")) == []
    assert wire.call("stream::update", {**at(stream, "a"), "ops": [{"type": "increment", "path": "", "by": 1}]}) == {"old_value": 2, "new_value": 3}
    assert wire.call("stream::delete", at(stream, "a")) == {"old_value": 3}
    assert wire.call("stream::delete", at(stream, "a")) == {"old_value": None}


def test_groups_and_streams_are_listed_while_they_have_items(wire, stream):
    for group in ["b", "a", "a:b"]:
        set_(wire, stream, "k", 1, group)
    set_(wire, f"{stream}:a", "k", 1, "b")
    assert wire.call("stream::list_groups", {"stream_name": stream}) == ["a", "a:b", "b"]
    wire.call("stream::delete", at(stream, "k", "b"))
    assert wire.call("stream::list_groups", {"stream_name": stream}) == ["a", "a:b"]
    everything = wire.call("stream::list_all", None)
    assert everything["count"] == len(everything["stream"])
    assert [row for row in everything["stream"] if row["id"].startswith(stream)] == [{"id": stream, "groups": ["a", "a:b"]}, {"id": f"{stream}:a", "groups": ["b"]}]


def test_many_items_are_set_counted_paged_and_removed_with_an_event_each(wire, stream, client):
    listening = client()
    listening.join(stream, "g")
    assert listening.events(1) == [("sync", None, [])]
    items = [{"item_id": f"k{n}", "data": n} for n in range(5)]
    assert wire.call("stream::set_many", {**at(stream), "items": items})["items"][4] == {"item_id": "k4", "old_value": None, "new_value": 4}
    assert listening.events(5) == [("create", f"k{n}", n) for n in range(5)]
    assert wire.call("stream::count", at(stream)) == {"count": 5}
    page = wire.call("stream::list", {**at(stream), "limit": 3, "with_ids": True})
    assert page["items"] == [{"id": f"k{n}", "value": n} for n in range(3)]
    assert wire.call("stream::list_ids", {**at(stream), "cursor": page["next_cursor"]}) == {"ids": ["k3", "k4"], "next_cursor": None}
    assert wire.call("stream::get_many", {**at(stream), "item_ids": ["k4", "no", "k0"]}) == {"items": [{"item_id": "k4", "value": 4}, {"item_id": "k0", "value": 0}]}
    assert wire.call("stream::delete_group", at(stream)) == {"deleted": 5}
    assert listening.events(5) == [("delete", f"k{n}", n) for n in range(5)]


def test_input_that_cannot_be_read_is_named(wire):
    error = wire.error_of("stream::set", {"stream_name": "a", "group_id": "b", "data": 1})
    assert error == {"code": "deserialization_error", "message": "Failed to deserialize input for stream::set: missing field `item_id`"}


# Joining


def test_a_group_is_told_first_as_it_is_and_then_what_changes(wire, stream, client):
    set_(wire, stream, "m1", {"id": "m1"})
    own = client()
    own.join(stream, "g")
    first = own.recv()
    assert {key: first[key] for key in ("type", "streamName", "groupId", "id", "event")} == {
        "type": "stream", "streamName": stream, "groupId": "g", "id": None, "event": {"type": "sync", "data": [{"id": "m1"}]}}
    set_(wire, stream, "m2", 1)
    set_(wire, stream, "m2", 2)
    wire.call("stream::delete", at(stream, "m2"))
    wire.call("stream::delete", at(stream, "m2"))
    assert wire.call("stream::send", {**at(stream), "type": "typing", "data": {"who": "al"}}) is None
    assert own.events(4) == [("create", "m2", 1), ("update", "m2", 2), ("delete", "m2", 2), ("event", None, {"type": "typing", "data": {"who": "al"}})]
    own.quiet()
    assert wire.call("stream::list", at(stream)) == [{"id": "m1"}]


def test_an_item_is_told_by_itself(wire, stream, client):
    own = client()
    own.join(stream, "g", "k")
    assert own.events(1) == [("sync", "k", None)]
    set_(wire, stream, "other", 1)
    set_(wire, stream, "k", 2)
    wire.call("stream::send", {**at(stream), "type": "a", "data": 1})
    wire.call("stream::send", {**at(stream), "type": "b", "data": 1, "id": "k"})
    assert own.events(2) == [("create", "k", 2), ("event", "k", {"type": "b", "data": 1})]
    own.quiet()


def test_one_socket_gets_one_copy_and_nothing_after_it_has_left(wire, stream, client):
    own = client()
    own.join(stream, "g", subscription="sg")
    own.join(stream, "g", "k", subscription="si")
    own.events(2)
    set_(wire, stream, "k", 1)
    assert own.events(1) == [("create", "k", 1)]
    own.quiet()
    own.leave(stream, "g", "sg")
    own.quiet()
    set_(wire, stream, "k", 2)
    set_(wire, stream, "z", 1)
    assert own.events(1) == [("update", "k", 2)]
    own.quiet()


def test_numbers_and_times_rise_strictly(wire, stream, client):
    own = client()
    own.join(stream, "g")
    for number in range(100):
        wire.invoke("stream::set", {**at(stream, "k"), "data": number})
    frames = [own.recv() for _ in range(101)]
    assert all(a["timestamp"] < b["timestamp"] for a, b in zip(frames, frames[1:]))
    assert all(a["seq"] < b["seq"] for a, b in zip(frames, frames[1:]))
    assert len({frame["epoch"] for frame in frames}) == 1
    assert [frame["event"]["data"] for frame in frames[1:]] == list(range(100))


def test_a_client_that_joins_at_any_moment_misses_nothing(core, wire, stream, client):
    """A counter goes up without a pause; whoever joins sees n, then n + 1, n + 2 …"""
    stop = threading.Event()

    def write():
        own = core.connect()
        number = 0
        while not stop.is_set():
            batch = [own.invoke("stream::set", {**at(stream, "k"), "data": number + offset}) for offset in range(1, 21)]
            number += 20
            for invocation in batch:
                own.result_of(invocation)
        own.close()

    writer = threading.Thread(target=write)
    set_(wire, stream, "k", 0)
    writer.start()
    try:
        for number in range(60):
            own = client()
            own.join(stream, "g", "k" if number % 3 == 0 else None)
            first = own.recv()["event"]
            assert first["type"] == "sync"
            seen = first["data"] if number % 3 == 0 else first["data"][0]
            for offset in range(1, 11):
                event = own.recv()["event"]
                assert (event["type"], event["data"]) == ("update", seen + offset)
            # A close in order would wait for everything that is on its way.
            own.ws.socket.shutdown(socket.SHUT_RDWR)
    finally:
        stop.set()
        writer.join()


def test_join_leave_join_in_one_breath(core, wire, stream, client):
    gate = core.connect()
    for name, kind in [("join", "stream:join"), ("leave", "stream:leave")]:
        gate.register(f"{stream}::{name}")
        gate.register_trigger(kind, f"{stream}::{name}", config={"stream_name": stream})
    gate.sync()
    own = client()
    own.join(stream, "g")
    own.leave(stream, "g")
    own.join(stream, "g")
    told = []
    for _ in range(3):
        call = gate.expect("invokefunction")
        told.append(call["function_id"].removeprefix(f"{stream}::"))
        assert call["data"] == {"subscription_id": "s1", "stream_name": stream, "group_id": "g", "id": None, "context": None}
        gate.answer(call, None)
    assert told == ["join", "leave", "join"]
    own.events(2)
    set_(wire, stream, "k", 1)
    assert own.events(1) == [("create", "k", 1)]
    own.quiet()
    own.close()
    assert gate.expect("invokefunction")["function_id"] == f"{stream}::leave"
    gate.quiet()
    gate.close()


def test_a_second_join_replaces_the_first_and_both_are_left_once(core, wire, stream, client):
    gate = core.connect()
    gate.register(f"{stream}::leave")
    gate.register_trigger("stream:leave", f"{stream}::leave", config={"stream_name": stream})
    gate.sync()
    own = client()
    own.join(stream, "a")
    own.join(stream, "b")
    own.events(2)
    assert gate.expect("invokefunction")["data"]["group_id"] == "a"
    set_(wire, stream, "k", 1, "a")
    set_(wire, stream, "k", 2, "b")
    assert own.events(1) == [("create", "k", 2)]
    own.leave(stream, "x", "unknown")
    own.close()
    assert gate.expect("invokefunction")["data"]["group_id"] == "b"
    gate.quiet()
    gate.close()


@pytest.mark.parametrize("answer, joins", [({"unauthorized": True}, False), ({"unauthorized": "nope"}, True), (None, True), ("error", True)], ids=["veto", "text", "null", "error"])
def test_a_join_trigger_decides(core, wire, stream, client, answer, joins):
    gate = core.connect()
    gate.register(f"{stream}::join")
    gate.register_trigger("stream:join", f"{stream}::join", config={"stream_name": stream})
    gate.sync()
    own = client()
    own.join(stream, "g", "k")
    call = gate.expect("invokefunction")
    if answer == "error":
        gate.answer(call, error={"code": "x", "message": "no"})
    else:
        gate.answer(call, answer)
    frame = own.recv()
    if joins:
        assert frame["event"]["type"] == "sync"
    else:
        assert frame["event"] == {"type": "unauthorized"} and (frame["streamName"], frame["groupId"], frame["id"]) == (stream, "g", "k")
        assert "subscriptionId" not in frame
        set_(wire, stream, "k", 1)
        own.quiet()
    gate.close()


def test_a_client_that_leaves_while_it_joins_leaves_nothing(core, stream, client):
    gate = core.connect()
    for name, kind in [("join", "stream:join"), ("leave", "stream:leave")]:
        gate.register(f"{stream}::{name}")
        gate.register_trigger(kind, f"{stream}::{name}", config={"stream_name": stream})
    gate.sync()
    own = client()
    own.join(stream, "g")
    call = gate.expect("invokefunction", function_id=f"{stream}::join")
    own.ws.socket.shutdown(socket.SHUT_RDWR)
    gate.answer(call, None)
    gate.answer(gate.expect("invokefunction", function_id=f"{stream}::leave"), error={"code": "x", "message": "no"})
    gate.quiet()
    gate.close()


def test_bad_messages_are_answered_and_harm_nothing(wire, stream, client):
    own = client()
    for message in ["x", "{}", '{"type":"jump"}', '{"type":"join","data":{"streamName":"a"}}', '{"type":"join","x":' + "[" * 100_000]:
        own.send(message)
        error = own.recv()["event"]
        assert error["type"] == "error" and error["error"]["code"] == "bad_message"
    own.send("  ")
    own.send(json.dumps({"type": "join", "data": {"subscriptionId": "s", "streamName": stream, "groupId": "g"}}).encode())
    assert own.events(1) == [("sync", None, [])]
    pong = own.ws.ping(b"abc")
    assert pong.wait(DEADLINE)
    with pytest.raises(ConnectionClosed) as closed:
        own.send("x" * 300_000)
        while True:
            own.recv()
    assert closed.value.rcvd.code == 1009


def test_more_joins_than_a_socket_may_have_are_refused(client, stream):
    own = client()
    for number in range(60):
        own.join(stream, f"g{number}", subscription=f"s{number}")
    kinds = [own.recv()["event"] for _ in range(60)]
    assert sum(event["type"] == "sync" for event in kinds) >= 50
    assert any(event["type"] == "error" and event["error"]["code"] == "rate_limited" for event in kinds)


# The address


def test_the_address_joins_by_itself(wire, stream, client):
    set_(wire, stream, "k", 1, "a/b")
    own = client(path=f"/stream/{stream}/a%2Fb/")
    assert own.events(1) == [("sync", None, [1])]
    set_(wire, stream, "k", 2, "a/b")
    assert own.events(1) == [("update", "k", 2)]


@pytest.mark.parametrize("path, status", [("/other", 404), ("/stream/a/%zz", 400), ("/stream/a/..", 400), ("/stream//a", 400)])
def test_other_addresses_are_refused(core, path, status):
    with pytest.raises(InvalidStatus) as refused:
        Client(core.stream_port, path)
    assert refused.value.response.status_code == status


# Who may connect


@pytest.fixture(scope="module")
def guarded():
    port = free_port()
    with fleet(workers=[entry(port, auth_function="auth::decide", allowed_origins=["https://app.example"])]) as it:
        it.stream_port = port
        yield it


@pytest.fixture
def auth(guarded):
    own = guarded.connect()
    own.register("auth::decide")
    own.sync()
    yield own
    own.close()


def connecting(port, **options):
    """Connects in a thread, since somebody has to answer the auth function."""
    result = {}

    def run():
        try:
            result["client"] = Client(port, **options)
        except Exception as error:
            result["error"] = error

    thread = threading.Thread(target=run)
    thread.start()
    result["join"] = thread.join
    return result


def test_the_auth_function_sees_the_request_and_its_context_goes_to_triggers(guarded, auth, stream):
    auth.register(f"{stream}::join")
    auth.register_trigger("stream:join", f"{stream}::join", config={"stream_name": stream})
    auth.sync()
    own = connecting(guarded.stream_port, path="/?a=1&a=2&c&d=%20+", subprotocols=["Authorization", "tok.x.y"], additional_headers={"X-One": "1"})
    call = auth.expect("invokefunction")
    data = call["data"]
    assert data["path"] == "/" and data["query_params"] == {"a": ["1", "2"], "c": [""], "d": ["%20+"]}
    assert data["headers"]["x-one"] == "1" and data["headers"]["sec-websocket-protocol"] == "Authorization, tok.x.y"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", data["addr"])
    auth.answer(call, {"context": {"user": "u1"}, "more": 1})
    own["join"]()
    assert own["client"].ws.subprotocol == "Authorization"
    own["client"].join(stream, "g")
    call = auth.expect("invokefunction", function_id=f"{stream}::join")
    assert call["data"]["context"] == {"user": "u1"}
    auth.answer(call, None)
    assert own["client"].events(1) == [("sync", None, [])]
    own["client"].close()


@pytest.mark.parametrize("answer, status", [("error", 401), ({"unauthorized": True}, 401), ("text", 401), (None, 401)], ids=["error", "refusal", "text", "nothing"])
def test_whoever_is_not_let_in_stays_outside(guarded, auth, answer, status):
    own = connecting(guarded.stream_port)
    call = auth.expect("invokefunction")
    if answer == "error":
        auth.answer(call, error={"code": "x", "message": "no"})
    else:
        auth.answer(call, answer)
    own["join"]()
    assert own["error"].response.status_code == status


def test_without_its_auth_function_nobody_gets_in(guarded):
    with pytest.raises(InvalidStatus) as refused:
        Client(guarded.stream_port)
    assert refused.value.response.status_code == 503


@pytest.mark.parametrize("origin, passes", [
    ("https://app.example.evil.com", False), ("https://xapp.example", False), ("http://app.example", False), ("https://app.example:8443", False),
    ("null", False), ("HTTPS://APP.EXAMPLE", True), (None, True),
])
def test_origins_are_compared_whole(guarded, auth, origin, passes):
    own = connecting(guarded.stream_port, **({"origin": origin} if origin else {}))
    if passes:
        auth.answer(auth.expect("invokefunction"), {"context": None})
        own["join"]()
        own["client"].close()
    else:
        own["join"]()
        assert own["error"].response.status_code == 403
        auth.quiet()


def test_an_expired_authorization_ends_the_connection(guarded, auth):
    own = connecting(guarded.stream_port)
    auth.answer(auth.expect("invokefunction"), {"context": None, "expires_at": int(time.time() * 1000) + 200})
    own["join"]()
    with pytest.raises(ConnectionClosed) as closed:
        own["client"].recv()
    assert closed.value.rcvd.code == 1008


def test_revoked_clients_hear_nothing_more(guarded, auth, stream):
    clients = []
    for jti in ["1", "2"]:
        own = connecting(guarded.stream_port)
        auth.answer(auth.expect("invokefunction"), {"context": {"user": "a", "jti": jti}})
        own["join"]()
        clients.append(own["client"])
    for own in clients:
        own.join(stream, "g")
        own.events(1)
    assert auth.call("stream::disconnect", {"stream_name": stream, "context_match": {"jti": "1"}}) == {"disconnected": 1}
    assert clients[0].recv()["event"] == {"type": "unauthorized"}
    set_(auth, stream, "k", 1)
    assert clients[1].events(1) == [("create", "k", 1)]
    clients[0].quiet()
    assert auth.error_of("stream::disconnect", {})["code"] == "deserialization_error"
    for own in clients:
        own.close()


# Triggers


def test_stream_triggers_get_the_frame(core, wire, stream):
    own = core.connect()
    own.register(f"{stream}::heard")
    own.register_trigger("stream", f"{stream}::heard", config={"stream_name": stream, "group_id": "", "item_id": "k"})
    own.sync()
    set_(wire, stream, "other", 1)
    set_(wire, stream, "k", 1, "g1")
    wire.call("stream::send", {**at(stream), "type": "no", "data": 1})
    wire.call("stream::send", {**at(stream), "type": "yes", "data": 1, "id": "k"})
    heard = []
    for _ in range(2):
        call = own.expect("invokefunction")
        own.answer(call, None)
        data = call["data"]
        assert isinstance(data.pop("timestamp"), int)
        heard.append(data)
    assert heard == [
        {"type": "stream", "streamName": stream, "groupId": "g1", "id": "k", "event": {"type": "create", "data": 1}},
        {"type": "stream", "streamName": stream, "groupId": "g", "id": "k", "event": {"type": "event", "event": {"type": "yes", "data": 1}}},
    ]
    own.quiet()
    own.close()


def test_a_stream_trigger_needs_its_stream(core, stream):
    own = core.connect()
    own.register(f"{stream}::heard")
    own.register_trigger("stream", f"{stream}::heard", config={})
    assert "stream trigger requires stream_name" in own.expect("triggerregistrationresult")["error"]["message"]
    own.register_trigger("stream", f"{stream}::heard", config={"stream_name": 5})
    assert "Failed to deserialize stream trigger" in own.expect("triggerregistrationresult")["error"]["message"]
    own.close()


# Providers


def test_a_provider_stands_in_for_the_store(core, wire, stream, client):
    items = {}
    own = core.connect()
    for name in ["get", "set", "delete", "list", "list_groups"]:
        own.register(f"stream::{name}({stream})")
    own.sync()

    def serve(count: int):
        for _ in range(count):
            call = own.expect("invokefunction")
            data, name = call["data"], call["function_id"].removeprefix("stream::").removesuffix(f"({stream})")
            key = (data.get("group_id"), data.get("item_id"))
            if name == "set":
                old = items.get(key)
                items[key] = data["data"]
                own.answer(call, {"old_value": old, "new_value": data["data"], "more": 1})
            elif name == "delete":
                own.answer(call, {"old_value": items.pop(key, None)})
            elif name == "get":
                own.answer(call, items.get(key))
            elif name == "list":
                own.answer(call, list(items.values()))
            else:
                own.answer(call, sorted({group for group, _ in items}))

    def asked(function_id, data, calls=1):
        invocation = wire.invoke(function_id, data)
        serve(calls)
        return wire.result_of(invocation)

    wait_for(lambda: "result" not in asked_store(wire, stream, own, serve), "the provider is known")
    watcher = client()
    watcher.join(stream, "g")
    serve(1)
    assert watcher.events(1) == [("sync", None, [])]
    assert asked("stream::set", {**at(stream, "k"), "data": {"n": 1}})["result"] == {"old_value": None, "new_value": {"n": 1}}
    assert asked("stream::get", at(stream, "k"))["result"] == {"n": 1}
    assert "result" not in asked("stream::get", at(stream, "none"))
    assert asked("stream::update", {**at(stream, "k"), "ops": [{"type": "increment", "path": "n", "by": 1}]}, 2)["result"] == {"old_value": {"n": 1}, "new_value": {"n": 2}}
    assert items[("g", "k")] == {"n": 2}
    assert asked("stream::list", at(stream))["result"] == [{"n": 2}]
    assert asked("stream::list_groups", {"stream_name": stream})["result"] == ["g"]
    assert asked("stream::delete", at(stream, "k"))["result"] == {"old_value": {"n": 2}}
    assert watcher.events(3) == [("create", "k", {"n": 1}), ("update", "k", {"n": 2}), ("delete", "k", {"n": 2})]
    invocation = wire.invoke("stream::set", {**at(stream, "k"), "data": 1})
    own.answer(own.expect("invokefunction"), None)
    error = wire.result_of(invocation)["error"]
    assert error["code"] == "STREAM_SET_ERROR" and error["message"].endswith("Function returned no result")
    invocation = wire.invoke("stream::set", {**at(stream, "k"), "data": 1})
    own.answer(own.expect("invokefunction"), error={"code": "x", "message": "no"})
    assert wire.result_of(invocation)["error"]["code"] == "STREAM_SET_ERROR"
    invocation = wire.invoke("stream::get", at(stream, "k"))
    own.answer(own.expect("invokefunction"), error={"code": "x", "message": "no"})
    assert wire.result_of(invocation)["error"] == {"code": "x", "message": "no"}
    own.close()
    wait_for(lambda: wire.result_of(wire.invoke("stream::list", at(stream))).get("result") == [], "the store answers again")


def asked_store(wire, stream, own, serve):
    """Whether the provider is asked: then it answers nothing."""
    invocation = wire.invoke("stream::get", at(stream, "probe"))
    answer = {}
    try:
        call = own.expect("invokefunction", timeout=0.5)
        own.answer(call, None)
        answer = wire.result_of(invocation)
    except AssertionError:
        wire.result_of(invocation)
        answer = {"result": "of the store"}
    return answer


# Slow clients and large groups


def test_a_client_that_does_not_read_holds_up_nobody_and_ends_right(core, stream, client):
    writer = core.connect()
    sleeper, awake = client(), client()
    for own in (sleeper, awake):
        own.join(stream, "g")
        own.events(1)
    # It is not read from now on: its library buffers little, and the kernel some.
    pad = "x" * 2000
    last = {}
    for batch in range(40):
        ids = []
        for number in range(200):
            key = f"k{number}"
            last[key] = {"id": key, "n": batch * 1000 + number, "pad": pad}
            ids.append(writer.invoke("stream::set", {**at(stream, key), "data": last[key]}))
        for invocation in ids:
            assert "error" not in writer.result_of(invocation)
        for _ in range(200):
            assert awake.recv()["event"]["data"]["n"] >= batch * 1000
    state = {}
    end = time.monotonic() + 60
    while state != last:
        assert time.monotonic() < end, "it never caught up"
        frame = sleeper.recv()
        if frame["event"]["type"] == "sync":
            state = {value["id"]: value for value in frame["event"]["data"]}
        else:
            state[frame["id"]] = frame["event"]["data"]
    writer.close()


def test_a_snapshot_larger_than_any_limit_arrives_whole(core, wire, stream, client):
    pad = "é" * 500
    for batch in range(10):
        ids = [wire.invoke("stream::set", {**at(stream, f"{batch}-{number}"), "data": pad}) for number in range(800)]
        for invocation in ids:
            wire.result_of(invocation)
    joiners = [client() for _ in range(10)]
    for own in joiners:
        own.join(stream, "g")
    for own in joiners:
        data = own.recv()["event"]["data"]
        assert len(data) == 8000 and set(data) == {pad}
    set_(wire, stream, "0-0", 1)
    for own in joiners:
        assert own.events(1) == [("update", "0-0", 1)]


# Life of the process


def test_items_and_listeners_survive_a_kill(tmp_path):
    port = free_port()
    kv = {"name": "kv", "config": {"file_path": str(tmp_path / "store")}}
    with fleet(workers=[entry(port, adapter=kv)]) as it:
        wire = it.connect()
        assert set_(wire, "st", "k", 1)["new_value"] == 1
        own = Client(port)
        own.join("st", "g")
        epoch = own.recv()["epoch"]
        os.kill(it.pid_of("iii-stream"), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            own.recv()
        again = Client(port)
        again.join("st", "g")
        first = again.recv()
        assert first["event"] == {"type": "sync", "data": [1]} and first["epoch"] != epoch
        wait_for(lambda: "error" not in wire.result_of(wire.invoke("stream::set", {**at("st", "k"), "data": 2})), "it serves again")
        assert again.events(1) == [("update", "k", 2)]
        again.close()


def test_an_orderly_end_tells_the_leave_triggers_and_closes_with_1012():
    port = free_port()
    with fleet(workers=[entry(port, adapter={"name": "kv", "config": {"store_method": "in_memory"}})]) as it:
        gate = it.connect()
        gate.register("x::leave")
        gate.register_trigger("stream:leave", "x::leave")
        gate.sync()
        own = Client(port)
        own.join("st", "g")
        own.recv()
        restart = threading.Thread(target=lambda: it.cli("restart", "iii-stream"))
        restart.start()
        call = gate.expect("invokefunction")
        assert call["data"]["subscription_id"] == "s1"
        gate.answer(call, None)
        with pytest.raises(ConnectionClosed) as closed:
            own.recv()
        assert closed.value.rcvd.code == 1012
        restart.join()


def test_settings_change_without_a_restart():
    port = free_port()
    with fleet(workers=[entry(port, max_value_bytes=10)]) as it:
        wire = it.connect()
        pid = it.pid_of("iii-stream")
        assert wire.error_of("stream::set", {**at("st", "k"), "data": "0123456789"})["code"] == "LIMIT_EXCEEDED"
        own = Client(port)
        entries = entries_of(it)
        entries[-1]["config"] |= {"max_value_bytes": 20, "auth_function": "no::body"}
        save(it, entries)
        wait_for(lambda: "error" not in wire.result_of(wire.invoke("stream::set", {**at("st", "k"), "data": "0123456789"})), "the new limit is in force")
        own.join("st", "g")
        own.recv()
        with pytest.raises(InvalidStatus):
            Client(port)
        assert it.pid_of("iii-stream") == pid
        own.close()
