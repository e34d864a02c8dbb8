"""Triggers and their providers (docs/reference/worker-protocol.md#triggers)."""

import random
import re
import threading
import uuid

import pytest

from wire import Wire, wait_for


def test_a_trigger_waits_for_its_provider(wires):
    wire, provider = wires(), wires()
    name = "t::later"
    trigger = wire.register_trigger(name, "f", config={"b": 1.0, "a": [1]}, metadata={"team": "x"})
    wire.quiet()
    provider.register_type(name)
    seen = provider.expect("registertrigger")
    assert seen == {"type": "registertrigger", "id": trigger, "trigger_type": name, "function_id": "f", "config": {"b": 1.0, "a": [1]}, "metadata": {"team": "x"}}


def test_missing_config_reads_as_null(wires):
    provider, wire = wires(), wires()
    provider.register_type("t::noconfig")
    provider.sync()
    wire.send({"type": "registertrigger", "id": str(uuid.uuid4()), "trigger_type": "t::noconfig", "function_id": "f"})
    seen = provider.expect("registertrigger")
    assert seen["config"] is None and "metadata" not in seen


def test_replay_in_order_to_the_next_provider(wires):
    wire, first, second = wires(), wires(), wires()
    first.register_type("t::replay")
    first.sync()
    ids = [wire.register_trigger("t::replay", f"f{i}") for i in range(20)]
    assert [first.expect("registertrigger")["id"] for _ in ids] == ids
    first.close()
    second.register_type("t::replay")
    assert [second.expect("registertrigger")["id"] for _ in ids] == ids


def test_a_displaced_provider_lets_go_and_takes_over_again(wires):
    wire, old, new = wires(), wires(), wires()
    old.register_type("t::displaced")
    trigger = old.sync() or wire.register_trigger("t::displaced", "f")
    old.expect("registertrigger", id=trigger)
    new.register_type("t::displaced")
    new.expect("registertrigger", id=trigger)
    # Nobody took it back: what a durable provider keeps for it is kept.
    old.expect("unregistertrigger", id=trigger, reason="disconnected")
    new.close()
    old.expect("registertrigger", id=trigger)


def test_registrant_gone(wires):
    provider, wire = wires(), wires()
    provider.register_type("t::owner")
    provider.sync()
    trigger = wire.register_trigger("t::owner", "f")
    provider.expect("registertrigger", id=trigger)
    wire.close()
    assert provider.expect("unregistertrigger") == {"type": "unregistertrigger", "id": trigger, "trigger_type": "t::owner", "reason": "disconnected"}


def test_replayed_id_survives_the_old_connections_cleanup(wires):
    provider, old, new = wires(), wires(), wires()
    provider.register_type("t::handover")
    provider.sync()
    trigger = old.register_trigger("t::handover", "f")
    old.register("t::handover::f")
    old.sync()
    new.register_trigger("t::handover", "f", trigger)
    new.register("t::handover::f")
    new.sync()
    old.close()
    wait_for(lambda: new.call("engine::workers::list", {"worker_id": old.worker_id})["workers"] == [], "the old connection to be gone")
    assert [m["type"] for m in provider.sync()] == ["registertrigger", "registertrigger"]
    listed = new.call("engine::triggers::list", {})["triggers"]
    assert trigger in [t["id"] for t in listed]
    invocation = provider.invoke("t::handover::f")
    new.answer(new.expect("invokefunction"), 1)
    assert provider.result_of(invocation)["result"] == 1


def test_provider_results(wires):
    provider, wire, stranger = wires(), wires(), wires()
    provider.register_type("t::result")
    provider.sync()
    good, bad = wire.register_trigger("t::result", "f"), wire.register_trigger("t::result", "g")
    for trigger in (good, bad):
        provider.expect("registertrigger", id=trigger)
    base = {"type": "triggerregistrationresult", "trigger_type": "t::result", "function_id": "g"}
    error = {"code": "trigger_registration_failed", "message": "no"}
    stranger.send({**base, "id": good, "error": error})
    stranger.sync()
    provider.send({**base, "id": good})
    provider.send({**base, "id": bad, "error": error})
    provider.sync()
    messages = wire.sync()
    assert messages == [{**base, "id": bad, "error": error}]
    ids = [t["id"] for t in wire.call("engine::triggers::list", {})["triggers"]]
    assert good in ids and bad not in ids
    # The refused one is offered to the next provider.
    after = wires()
    after.register_type("t::result")
    assert {after.expect("registertrigger")["id"] for _ in range(2)} == {good, bad}


def test_unregister_type_parks(wires):
    provider, wire = wires(), wires()
    provider.register_type("t::stops")
    provider.sync()
    wires().send({"type": "unregistertriggertype", "id": "t::stops"})
    provider.send({"type": "unregistertriggertype", "id": "t::stops"})
    provider.sync()
    trigger = wire.register_trigger("t::stops", "f")
    wire.sync()
    provider.quiet()
    provider.register_type("t::stops")
    provider.expect("registertrigger", id=trigger)


def test_only_the_owner_unregisters(wires):
    provider, wire, other = wires(), wires(), wires()
    provider.register_type("t::mine")
    provider.sync()
    trigger = wire.register_trigger("t::mine", "f")
    wire.sync()
    provider.expect("registertrigger", id=trigger)
    other.send({"type": "unregistertrigger", "id": trigger, "trigger_type": "t::mine"})
    other.sync()
    provider.quiet()
    wire.send({"type": "unregistertrigger", "id": trigger})
    provider.expect("unregistertrigger", id=trigger, trigger_type="t::mine", reason="unregistered")


def test_a_trigger_reaches_its_provider_before_a_later_call(wires):
    provider, wire = wires(), wires()
    provider.register_type("t::before")
    provider.register("t::before::set")
    provider.sync()
    wire.register_trigger("t::before", "f")
    wire.invoke("t::before::set")
    assert [m["type"] for m in (provider.recv(), provider.recv())] == ["registertrigger", "invokefunction"]


def test_durable_triggers_outlive_their_maker(wires):
    provider, maker, other = wires(), wires(), wires()
    provider.register_type("t::durable")
    provider.sync()
    invocation = maker.invoke("engine::register_trigger", {"trigger_type": "t::durable", "function_id": "f", "config": {"a": 1}})
    seen = provider.expect("registertrigger")
    provider.send({"type": "triggerregistrationresult", "id": seen["id"], "trigger_type": "t::durable", "function_id": "f"})
    assert maker.result_of(invocation)["result"] == {"id": seen["id"]}
    maker.close()
    wait_for(lambda: other.call("engine::workers::list", {"worker_id": maker.worker_id})["workers"] == [], "the maker to be gone")
    provider.quiet()
    assert other.call("engine::unregister_trigger", {"id": seen["id"]}) == {"removed": True}
    provider.expect("unregistertrigger", id=seen["id"])
    assert other.call("engine::unregister_trigger", {"id": seen["id"]}) == {"removed": False}
    refused = other.invoke("engine::register_trigger", {"trigger_type": "t::durable", "function_id": "f"})
    seen = provider.expect("registertrigger")
    provider.send({"type": "triggerregistrationresult", "id": seen["id"], "trigger_type": "t::durable", "function_id": "f", "error": {"code": "x", "message": "bad"}})
    assert other.result_of(refused)["error"] == {"code": "trigger_registration_failed", "message": "bad"}


class Reconnecting:
    """A worker that replays the same function and trigger after each cut, like every SDK; the cut may come anywhere."""

    def __init__(self, port: int, random_: random.Random):
        self.port, self.random = port, random_
        self.trigger = str(uuid.uuid4())
        self.function = f"cut::{self.trigger}"

    def connect(self, cut: bool) -> Wire | None:
        wire = Wire(self.port)
        messages = [lambda: wire.register(self.function), lambda: wire.register_trigger("cut::type", self.function, self.trigger)]
        if self.random.random() < 0.5:
            messages.reverse()
        stop = self.random.randrange(3) if cut else 2
        for message in messages[:stop]:
            message()
        if not cut:
            return wire.hello()
        # Half of the cuts are abrupt, half leave the old socket to be reaped after the next replay.
        if self.random.random() < 0.5:
            wire.ws.socket.close()
        else:
            threading.Timer(self.random.random() * 0.02, wire.ws.socket.close).start()
        return None


@pytest.mark.parametrize("seed", range(64))
def test_random_cuts_during_registration_lose_nothing(core, wires, seed):
    """At least 64 seeded schedules: after the last reconnect the function is served and its provider holds the trigger."""
    provider = wires()
    provider.register_type("cut::type")
    provider.sync()
    generator = random.Random(seed)
    worker = Reconnecting(core.port, generator)
    for _ in range(generator.randrange(1, 8)):
        worker.connect(cut=True)
    wire = worker.connect(cut=False)
    wire.sync()
    # Late cleanups of the cut connections must all have run; then nothing may be missing.
    wait_for(lambda: all(w["id"] == wire.worker_id or worker.function not in w["functions"] for w in alive_rows(provider)), "old connections to be reaped")
    invocation = provider.invoke(worker.function)
    wire.answer(wire.expect("invokefunction"), seed)
    assert provider.result_of(invocation)["result"] == seed
    held = {}
    for message in provider.sync():
        if message.get("id") == worker.trigger:
            held = message["type"] == "registertrigger"
    assert held, "the provider lost the trigger"
    assert worker.trigger in [t["id"] for t in provider.call("engine::triggers::list", {})["triggers"]]
    wire.close()


def alive_rows(wire: Wire):
    info = wire.call("engine::functions::list", {"prefix": "cut::"})["functions"]
    return [row for f in info for row in wire.call("engine::workers::list", {"worker_id": f["worker_name"]})["workers"]]


# Triggers that cannot fire


def warnings(core, *words) -> list[str]:
    return [line for line in core.output().splitlines() if "WARN" in line and all(word in line for word in words)]


def test_triggers_that_cannot_fire_are_a_handful_of_lines(wires, core):
    """Unknown types and functions are told of once, ten seconds later, together, with the nearest name."""
    wire, provider, many = wires(), wires(), wires()
    provider.register_type("w::known")
    provider.register("w::served")
    provider.sync()
    misspelt = wire.register_trigger("w::konwn", "w::served")
    built_in = wire.register_trigger("crom", "w::served")
    missing = wire.register_trigger("w::known", "w::servd")
    fine = wire.register_trigger("w::known", "w::served")
    gone = wire.register_trigger("w::unheard::of", "w::served")
    wire.send({"type": "unregistertrigger", "id": gone})
    for n in range(9_000):
        many.register_trigger("w::nowhere", f"w::nobody::{n}")
    told = wire.expect("triggerregistrationresult", id=misspelt, timeout=30)
    assert told["error"]["code"] == "trigger_type_not_found" and "did you mean 'w::known'?" in told["error"]["message"]
    assert "'cron'" in wire.expect("triggerregistrationresult", id=built_in)["error"]["message"]
    wait_for(lambda: warnings(core, "w::servd", "did you mean 'w::served'?", missing), "the missing function is named")
    assert warnings(core, "w::konwn", "did you mean 'w::known'?", misspelt)
    def counted() -> int:
        return sum(int(re.search(r"count=(\d+)", line)[1]) for line in warnings(core, "w::nowhere"))

    wait_for(lambda: counted() == 9_000, "all are counted", timeout=40)
    assert len(warnings(core, "w::nowhere")) <= 4
    assert not warnings(core, fine) and not warnings(core, "w::unheard::of")
    assert len(warnings(core, "w::")) <= 12
    # Parked, not refused: a provider still gets them.
    provider.register_type("w::konwn")
    assert provider.expect("registertrigger", trigger_type="w::konwn")["id"] == misspelt


def test_a_refused_trigger_is_named_in_the_log(wires, core):
    provider, wire = wires(), wires()
    provider.register_type("w::picky")
    provider.sync()
    trigger = wire.register_trigger("w::picky", "w::target")
    provider.expect("registertrigger", id=trigger)
    provider.send({"type": "triggerregistrationresult", "id": trigger, "trigger_type": "w::picky", "function_id": "w::target", "error": {"code": "bad", "message": "no such bucket"}})
    wire.expect("triggerregistrationresult", id=trigger)
    wait_for(lambda: warnings(core, trigger, "w::picky", "w::target", "no such bucket"), "a warning")


def test_a_refused_update_leaves_one_binding_on_both_sides(wires, core):
    provider, wire = wires(), wires()
    provider.register_type("u::type")
    provider.sync()

    def say(trigger, function, error=None):
        wire.register_trigger("u::type", function, trigger, config={"for": function}, metadata={"m": function})
        assert provider.expect("registertrigger", id=trigger)["function_id"] == function
        provider.send({"type": "triggerregistrationresult", "id": trigger, "trigger_type": "u::type", "function_id": function, **({"error": error} if error else {})})
        if error:
            told = wire.expect("triggerregistrationresult", id=trigger)
            assert told["function_id"] == function and told["error"] == error
        provider.sync()

    def listed(trigger):
        rows = wire.call("engine::registered-triggers::list", {"trigger_type": "u::type"})["registered_triggers"]
        return [(row["function_id"], row["config"], row["metadata"]) for row in rows if row["id"] == trigger]

    trigger = str(uuid.uuid4())
    say(trigger, "u::old")
    say(trigger, "u::new", {"code": "bad", "message": "no such path"})
    assert listed(trigger) == [("u::old", {"for": "u::old"}, {"m": "u::old"})]
    assert warnings(core, trigger, "u::new", "stays in force", "u::old")
    say(trigger, "u::newer")
    assert listed(trigger) == [("u::newer", {"for": "u::newer"}, {"m": "u::newer"})]
    say(trigger, "u::worse", {"code": "bad", "message": "no"})
    # The next provider is offered what is in force, and the one that holds it hears of the end.
    second = wires()
    second.register_type("u::type")
    assert second.expect("registertrigger", id=trigger)["function_id"] == "u::newer"
    second.close()
    assert provider.expect("registertrigger", id=trigger)["function_id"] == "u::newer"
    provider.inbox.clear()
    wire.close()
    assert provider.expect("unregistertrigger", id=trigger)["reason"] == "disconnected"
