"""Fire-and-forget topics (docs/reference/pubsub.md), with real processes."""

import contextlib
import json
import os
import re
import signal
import subprocess

import pytest
import redis_server

from wire import BIN, ROOT, fleet, wait_for


@pytest.fixture(scope="module", params=["local", "redis"])
def core(request):
    with contextlib.ExitStack() as stack:
        config = None
        if request.param == "redis":
            server = stack.enter_context(redis_server.running())
            config = {"adapter": {"name": "redis", "config": {"redis_url": server.url}}}
        yield stack.enter_context(fleet(workers=[{"name": "iii-pubsub", "config": config}]))


@pytest.fixture
def wires(core):
    opened = []

    def open_wire():
        opened.append(core.connect())
        return opened[-1]

    yield open_wire
    for wire in opened:
        wire.close()


def subscribed(wire, function: str, topic: str, **config) -> str:
    wire.register(function)
    trigger = wire.register_trigger("subscribe", function, config={"topic": topic, **config})
    wire.sync()
    return trigger


def published(wire, topic: str, data):
    answer = wire.result_of(wire.invoke("publish", {"topic": topic, "data": data}))
    assert "error" not in answer and "result" not in answer, answer


def heard(wire, count: int) -> list:
    calls = []
    for _ in range(count):
        calls.append(wire.expect("invokefunction"))
        wire.answer(calls[-1])
    return calls


def test_every_subscription_hears_its_topic_once_with_raw_data(wires):
    one, two, publisher = wires(), wires(), wires()
    subscribed(one, "one::a", "t.a")
    subscribed(two, "two::a", "t.a")
    subscribed(two, "two::b", "t.b")
    for data in [{"order": 1}, None, "text", [1.5, {}]]:
        published(publisher, "t.a", data)
        assert [call["data"] for call in heard(one, 1)] == [data]
        calls = heard(two, 1)
        assert [(call["function_id"], call["data"]) for call in calls] == [("two::a", data)]
    published(publisher, "t.nobody", 1)
    one.quiet()
    two.quiet()


def test_two_triggers_of_one_function_fire_twice_and_end_one_by_one(wires):
    wire, publisher = wires(), wires()
    first = subscribed(wire, "twice::f", "t.twice")
    subscribed(wire, "twice::f", "t.twice")
    published(publisher, "t.twice", 1)
    heard(wire, 2)
    wire.send({"type": "unregistertrigger", "id": first})
    wire.sync()
    published(publisher, "t.twice", 2)
    assert [call["data"] for call in heard(wire, 1)] == [2]
    wire.quiet()


def test_a_publisher_hears_itself_and_failures_are_nobodys_business(wires):
    wire = wires()
    subscribed(wire, "self::f", "t.self")
    published(wire, "t.self", 1)
    call = wire.expect("invokefunction")
    wire.answer(call, error={"code": "invocation_failed", "message": "boom"})
    wire.quiet()


def test_messages_arrive_in_the_order_they_were_published(wires):
    wire, publisher = wires(), wires()
    subscribed(wire, "order::f", "t.order")
    ids = [publisher.invoke("publish", {"topic": "t.order", "data": number}) for number in range(500)]
    assert [call["data"] for call in heard(wire, 500)] == list(range(500))
    for invocation in ids:
        publisher.result_of(invocation)


def test_a_condition_that_says_false_skips_the_call(wires):
    wire, publisher = wires(), wires()
    wire.register("cond::odd")
    subscribed(wire, "cond::f", "t.cond", condition_function_id="cond::odd")
    for number in range(4):
        published(publisher, "t.cond", number)
    taken = []
    while len(taken) < 2:
        call = wire.expect("invokefunction")
        if call["function_id"] == "cond::odd":
            wire.answer(call, result=call["data"] % 2 == 1)
        else:
            wire.answer(call)
            taken.append(call["data"])
    assert taken == [1, 3]
    wire.quiet()


@pytest.mark.parametrize("config", [{}, {"topic": ""}, {"topic": 7}], ids=["absent", "empty", "number"])
def test_a_subscription_without_topic_is_taken_and_never_fires(core, wires, config):
    wire = wires()
    wire.register("none::f")
    trigger = wire.register_trigger("subscribe", "none::f", config=config)
    wait_for(lambda: trigger in core.output(), "the warning")
    wire.quiet()


def test_bad_input_is_named(wires):
    wire = wires()
    assert wire.error_of("publish", {"topic": "", "data": 1}) == {"code": "topic_not_set", "message": "Topic is not set"}
    error = wire.error_of("publish", {"topic": "t"})
    assert error["code"] == "deserialization_error" and "missing field `data`" in error["message"]
    error = wire.error_of("publish", {"data": 1})
    assert error["code"] == "deserialization_error" and "missing field `topic`" in error["message"]


def test_subscriptions_survive_a_kill_of_the_process(core, wires):
    wire, publisher = wires(), wires()
    subscribed(wire, "kill::f", "t.kill")
    before = core.pid_of("iii-pubsub")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: core.rows()["iii-pubsub"]["pid"] not in (None, before), "another process")
    published(publisher, "t.kill", "after")
    assert [call["data"] for call in heard(wire, 1)] == ["after"]


def test_an_unknown_bus_is_refused_with_those_there_are(tmp_path):
    (tmp_path / "config.yaml").write_text("workers:\n  - name: iii-pubsub\n    config: {adapter: {name: carrier-pigeon}}\n")
    done = subprocess.run([BIN / "iii-core", "config", "check", "-c", "config.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "`local`" in done.stderr


def test_the_reference_pages_command_works(core):
    line = re.search(r"^iii-core (trigger publish .*)$", (ROOT / "docs/reference/pubsub.md").read_text(), re.M).group(1)
    done = subprocess.run(f"{BIN}/iii-core {line} --port {core.port}", shell=True, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout or "null") is None
