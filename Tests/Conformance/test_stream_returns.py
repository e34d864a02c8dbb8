"""Clients of the stream port that come back, that show who is there, that ask for answers; and what waits for all of them together."""

import json
import os
import pathlib
import random
import socket
import struct
import time
import uuid

import pytest
from streams import Client, at, entry, set_
from websockets.exceptions import ConnectionClosed
from wire import DEADLINE, RawSocket, fleet, free_port, wait_for


@pytest.fixture(scope="module")
def core():
    port = free_port()
    with fleet(workers=[entry(port)]) as it:
        it.stream_port = port
        yield it


def place(frame: dict) -> dict:
    return {"epoch": frame["epoch"], "seq": frame["seq"]}


def joined(client, stream, group="g", item=None, **options) -> dict:
    """Joins and answers with the first frame."""
    client.join(stream, group, item, **options)
    return client.recv()


def cut(client):
    """Ends the connection as a broken network does."""
    raw = client.ws.socket
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()


# Going on


def test_a_client_that_has_seen_no_event_goes_on_from_its_snapshot(wire, stream, client):
    first = client()
    sync = joined(first, stream)
    assert sync["event"] == {"type": "sync", "data": []} and sync["seq"] >= 0
    first.close()
    for item in "abc":
        set_(wire, stream, item, item)
    again = client()
    resumed = joined(again, stream, resume=place(sync))
    assert resumed["event"] == {"type": "resumed"} and place(resumed) == place(sync)
    assert again.events(3) == [("create", item, item) for item in "abc"]
    again.quiet()
    set_(wire, stream, "a", 2)
    assert again.events(1) == [("update", "a", 2)]


def test_a_place_between_events_of_an_item_is_a_place(wire, stream, client):
    watcher = client()
    joined(watcher, stream)
    set_(wire, stream, "k", 1)
    for number in range(10):
        set_(wire, stream, f"other{number}", number)
    frames = [watcher.recv() for _ in range(11)]
    again = client()
    assert joined(again, stream, item="k", resume=place(frames[5]))["event"]["type"] == "resumed"
    set_(wire, stream, "k", 2)
    assert again.events(1) == [("update", "k", 2)]


def test_custom_events_have_places_and_are_told_again(wire, stream, client):
    first = client()
    joined(first, stream)
    set_(wire, stream, "k", 1)
    wire.call("stream::send", {**at(stream), "type": "typing", "data": 1})
    last = [first.recv() for _ in range(2)][-1]
    first.close()
    set_(wire, stream, "k", 2)
    wire.call("stream::send", {**at(stream), "type": "typing", "data": 2})
    set_(wire, stream, "k", 3)
    again = client()
    assert joined(again, stream, resume=place(last))["event"]["type"] == "resumed"
    frames = [again.recv() for _ in range(3)]
    assert [frame["event"]["type"] for frame in frames] == ["update", "event", "update"]
    assert [frame["seq"] for frame in frames] == [last["seq"] + n for n in (1, 2, 3)]
    assert all(a["timestamp"] < b["timestamp"] for a, b in zip([last, *frames], frames))
    again.quiet()


@pytest.mark.parametrize("bend", ["epoch", "future"])
def test_a_place_that_was_never_reached_gets_a_snapshot(wire, stream, client, bend):
    first = client()
    sync = place(joined(first, stream))
    set_(wire, stream, "k", 1)
    bent = {"epoch": str(uuid.uuid4()), "seq": sync["seq"]} if bend == "epoch" else {**sync, "seq": sync["seq"] + 1000}
    frame = joined(client(), stream, resume=bent)
    assert frame["event"] == {"type": "sync", "data": [1]} and frame["epoch"] == sync["epoch"]


@pytest.mark.parametrize("resume", [1, {}, {"epoch": 1, "seq": 1}, {"epoch": "x"}, {"epoch": "x", "seq": -1}, {"epoch": "x", "seq": "1"}], ids=["number", "empty", "epoch", "half", "negative", "text"])
def test_a_malformed_place_is_named_and_gets_a_snapshot(stream, client, resume):
    it = client()
    frame = joined(it, stream, resume=resume)
    assert frame["event"]["type"] == "error" and frame["event"]["error"]["code"] == "bad_message" and "resume" in frame["event"]["error"]["message"]
    assert it.events(1) == [("sync", None, [])]


def test_more_than_is_kept_gets_a_snapshot(wire, stream, client):
    first = client()
    sync = joined(first, stream)
    first.close()
    for number in range(1010):
        wire.invoke("stream::set", {**at(stream, "k"), "data": number})
    wait_for(lambda: wire.call("stream::get", at(stream, "k")) == 1009, "all are stored")
    assert joined(client(), stream, resume=place(sync))["event"] == {"type": "sync", "data": [1009]}


def test_a_resume_is_asked_like_a_join(core, wire, stream, client):
    first = client()
    sync = joined(first, stream)
    first.close()
    gate = core.connect()
    gate.register(f"{stream}::gate")
    gate.register_trigger("stream:join", f"{stream}::gate", config={"stream_name": stream})
    gate.sync()
    it = client()
    it.join(stream, "g", resume=place(sync), ack=True)
    gate.answer(gate.expect("invokefunction"), {"unauthorized": True})
    frame = it.recv()
    assert frame["event"] == {"type": "unauthorized"} and frame["subscriptionId"] == "s1"
    gate.close()


def test_another_process_has_another_epoch_and_tells_everything_anew(tmp_path):
    port = free_port()
    data = {"adapter": {"name": "kv", "config": {"store_method": "file_based", "file_path": str(tmp_path / "items")}}}
    with fleet(workers=[entry(port, **data)]) as it:
        wire, stream = it.connect(), "st"
        client = Client(port)
        sync = joined(client, stream)
        set_(wire, stream, "k", 1)
        last = client.recv()
        it.cli("restart", "iii-stream")
        with pytest.raises(ConnectionClosed):
            client.recv()

        def stored():
            return wire.invoke("stream::set", {**at(stream, "n"), "data": 2}) and wire.call("stream::get", at(stream, "n")) == 2

        wait_for(stored, "iii-stream is back", timeout=30)
        again = Client(port)
        frame = joined(again, stream, resume=place(last))
        assert frame["event"] == {"type": "sync", "data": [1, 2]} and frame["epoch"] != sync["epoch"]
        again.close()


def test_without_a_window_nothing_is_kept():
    port = free_port()
    with fleet(workers=[entry(port, resume_window_ms=0)]) as it:
        wire, client = it.connect(), Client(port)
        sync = joined(client, "st")
        set_(wire, "st", "k", 1)
        client.close()
        again = Client(port)
        assert joined(again, "st", resume=place(sync))["event"] == {"type": "sync", "data": [1]}
        again.close()


@pytest.mark.parametrize("seed", range(4))
def test_a_client_that_loses_its_connection_again_and_again_misses_nothing(wire, stream, client, seed):
    """It applies nothing but what it is told, and holds what is stored; only the first join is told everything."""
    rng = random.Random(seed)
    held, last, kinds = {}, None, []
    it = None
    for number in range(150):
        if it is None or rng.random() < 0.2:
            if it:
                cut(it)
            it = client()
            it.join(stream, "g", **({"resume": place(last)} if last else {}))
        key = f"k{rng.randrange(5)}"
        if rng.random() < 0.2:
            wire.call("stream::delete", at(stream, key))
        else:
            set_(wire, stream, key, {"id": key, "n": number})
        if number < 149 and rng.random() < 0.5:
            continue
        it.send({"type": "ping"})
        while (frame := it.recv()) != {"type": "pong"}:
            last, event = frame, frame["event"]
            kinds.append(event["type"])
            if event["type"] == "sync":
                held = {value["id"]: value for value in event["data"]}
            elif event["type"] == "delete":
                del held[frame["id"]]
            elif event["type"] in ("create", "update"):
                assert (event["type"] == "update") == (frame["id"] in held)
                held[frame["id"]] = event["data"]
    assert held == {value["id"]: value for value in wire.call("stream::list", at(stream))}
    assert kinds.count("sync") <= 1 + kinds.index("resumed") and kinds.count("resumed") > 3


# Answers


def test_a_join_and_a_leave_are_answered_when_asked(wire, stream, client):
    it = client()
    assert joined(it, stream, ack=True)["event"]["type"] == "sync"
    frame = it.recv()
    assert frame["event"] == {"type": "joined"} and frame["subscriptionId"] == "s1"
    it.leave(stream, "g", ack=True)
    frame = it.recv()
    assert frame["event"] == {"type": "left"} and frame["subscriptionId"] == "s1"
    it.leave(stream, "g", ack=True)
    it.quiet()


# Presence


def test_a_user_with_three_tabs_comes_and_goes_once(wire, stream, client):
    watcher = client()
    joined(watcher, stream, presence=None)
    assert watcher.recv()["event"] == {"type": "presence_state", "data": {}}
    tabs = [client() for _ in range(3)]
    for tab in tabs:
        joined(tab, stream, presence={"name": "Ada"}, presenceKey="ada")
        assert tab.recv()["event"] == {"type": "presence_state", "data": {"ada": {"name": "Ada"}}}
    frame = watcher.recv()
    assert frame["event"] == {"type": "presence_diff", "data": {"joins": {"ada": {"name": "Ada"}}, "leaves": {}}} and "seq" not in frame
    present = wire.call("stream::presence", at(stream))["present"]
    assert [(row["key"], row["value"], row["connections"]) for row in present] == [("ada", {"name": "Ada"}, 3)]
    for tab in tabs:
        watcher.quiet()
        tab.close()
    assert watcher.recv()["event"]["data"] == {"joins": {}, "leaves": {"ada": {"name": "Ada"}}}
    watcher.quiet()
    assert wire.call("stream::presence", at(stream)) == {"present": []}


def test_whoever_asks_for_no_presence_sees_none(wire, stream, client):
    plain, other = client(), client()
    joined(plain, stream)
    joined(other, stream, presence=1)
    other.recv()
    plain.quiet()


def test_leaving_on_purpose_is_seen_at_once_and_a_broken_connection_after_its_grace(wire, stream, client):
    watcher, leaver, loser, closer = client(), client(), client(), client()
    joined(watcher, stream, presence=None)
    watcher.recv()
    for name, it in [("leaver", leaver), ("loser", loser), ("closer", closer)]:
        joined(it, stream, presence=name, presenceKey=name)
        assert watcher.recv()["event"]["data"]["joins"] == {name: name}
    cut(loser)
    started = time.monotonic()
    leaver.leave(stream, "g")
    assert watcher.recv()["event"]["data"]["leaves"] == {"leaver": "leaver"}
    closer.close()
    assert watcher.recv()["event"]["data"]["leaves"] == {"closer": "closer"}
    assert [(row["key"], row["connections"]) for row in wire.call("stream::presence", at(stream))["present"]] == [("loser", 0)]
    assert watcher.recv(timeout=DEADLINE + 15)["event"]["data"]["leaves"] == {"loser": "loser"}
    assert time.monotonic() - started > 9


def test_a_user_who_comes_back_in_time_was_never_away(wire, stream, client):
    watcher, first = client(), client()
    joined(watcher, stream, presence=None)
    watcher.recv()
    sync = joined(first, stream, presence=1, presenceKey="u")
    watcher.recv()
    cut(first)
    wait_for(lambda: wire.call("stream::presence", at(stream))["present"][0]["connections"] == 0, "the loss is noticed")
    again = client()
    assert joined(again, stream, presence=1, presenceKey="u", resume=place(sync))["event"]["type"] == "resumed"
    assert again.recv()["event"] == {"type": "presence_state", "data": {"u": 1}}
    watcher.quiet()


def test_a_user_says_something_else(wire, stream, client):
    watcher, user = client(), client()
    joined(watcher, stream, presence=None)
    watcher.recv()
    joined(user, stream, presence="here", presenceKey="u")
    user.recv()
    watcher.recv()
    user.send({"type": "presence", "data": {"subscriptionId": "s1", "presence": "typing"}})
    both = {"type": "presence_diff", "data": {"joins": {"u": "typing"}, "leaves": {"u": "here"}}}
    assert watcher.recv()["event"] == both and user.recv()["event"] == both
    user.send({"type": "presence", "data": {"subscriptionId": "none", "presence": 1}})
    assert user.recv()["event"]["error"]["code"] == "bad_message"
    user.send({"type": "join", "data": {"subscriptionId": "s2", "streamName": stream, "groupId": "g", "presence": "x" * 5000}})
    assert "presence" in user.recv()["event"]["error"]["message"]


def test_the_revoked_are_gone_at_once(wire, stream, client):
    watcher, user = client(), client()
    joined(watcher, stream, presence=None)
    watcher.recv()
    joined(user, stream, presence=1, presenceKey="u", subscription=f"{stream}-s")
    watcher.recv()
    assert wire.call("stream::disconnect", {"subscription_id": f"{stream}-s"}) == {"disconnected": 1}
    assert watcher.recv()["event"]["data"]["leaves"] == {"u": 1}


def test_what_somebody_hears_of_presence_adds_up(wire, stream, client):
    """Members come and go while another one joins: state and differences fit together."""
    rng = random.Random(7)
    members = [client() for _ in range(12)]
    inside: set[int] = set()
    for round_ in range(40):
        late = client()
        for step in range(6):
            number = rng.randrange(len(members))
            if number in inside:
                members[number].leave(stream, "g")
                inside.remove(number)
            else:
                members[number].join(stream, "g", presence=round_, presenceKey=f"u{number}")
                inside.add(number)
            if step == 3:
                late.join(stream, "g", presence=None)
        for it in members:
            it.send({"type": "ping"})
            while it.recv() != {"type": "pong"}:
                pass
        late.send({"type": "ping"})
        seen = None
        while (frame := late.recv()) != {"type": "pong"}:
            event = frame["event"]
            if event["type"] == "presence_state":
                assert seen is None
                seen = event["data"]
            elif event["type"] == "presence_diff":
                for key in event["data"]["leaves"]:
                    del seen[key]
                for key, value in event["data"]["joins"].items():
                    assert key not in seen
                    seen[key] = value
        present = {row["key"]: row["value"] for row in wire.call("stream::presence", at(stream))["present"]}
        assert seen == present and set(present) == {f"u{number}" for number in inside}
        late.close()


# What waits for all


def test_answers_that_nobody_reads_end_the_connection(core, wire, stream):
    flood = RawSocket(core.stream_port, greets=False)
    ping = json.dumps({"type": "ping"}).encode()
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            for _ in range(500):
                flood.frame(1, ping)
            flood.frame(9, b"x" * 125)
    except OSError:
        pass
    assert time.monotonic() < deadline, "a client that pings and never reads is cut"
    flood.close()
    other = Client(core.stream_port)
    assert joined(other, stream)["event"]["type"] == "sync"
    other.close()


def test_all_sockets_together_have_a_limit():
    """Sixty clients that do not read, each of another group: what is kept stays near the limit, and a client that reads is served."""
    port, rounds = free_port(), 60
    with fleet(workers=[entry(port, max_total_queued_bytes=4 << 20, resume_window_ms=0)]) as it:
        wire = it.connect()
        sleepers = []
        for number in range(60):
            raw = RawSocket(port, path=f"/stream/st/g{number}", greets=False)
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sleepers.append(raw)
        big = "x" * 50_000
        pid = it.pid_of("iii-stream")

        def resident() -> int:
            return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        before, most = resident(), 0
        for round_ in range(rounds):
            calls = [wire.invoke("stream::set", {**at("st", f"k{round_}", f"g{number}"), "data": big}) for number in range(60)]
            wire.result_of(calls[-1])
            most = max(most, resident())
        reader = Client(port)
        reader.join("st", "g0")
        frame = reader.recv(timeout=60)
        assert frame["event"]["type"] == "sync" and len(frame["event"]["data"]) == rounds
        assert wire.call("stream::count", at("st", group="g59")) == {"count": rounds}
        assert most - before < 100 << 20, "180 MB went past"
        reader.close()
        for raw in sleepers:
            raw.close()
