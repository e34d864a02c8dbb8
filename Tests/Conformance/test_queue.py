"""Queues (docs/reference/queue.md), with real processes."""

import contextlib
import itertools
import json
import os
import re
import signal
import sys
import threading
import time
import uuid

import pytest
import redis_server
import yaml

from processes import entries_of, prepared, reloads, run_core, running, save
from wire import BIN, ROOT, Wire, fleet, wait_for

FAST = {"max_retries": 2, "backoff_ms": 50}
QUEUES = {
    "fast": FAST,
    "once": {"max_retries": 0, "backoff_ms": 50},
    "four": {"max_retries": 4, "backoff_ms": 50},
    "sequential": {"concurrency": 1},
    "wide": {"concurrency": 3},
    "payment": {"type": "fifo", "message_group_field": "transaction_id", "concurrency": 2, "max_retries": 5, "backoff_ms": 50},
    "groups": {"type": "fifo", "message_group_field": "group_id", "concurrency": 4, "backoff_ms": 300, "max_retries": 3},
    "short": {"max_depth": 3},
    "small": {"max_payload_bytes": 100},
    "keyed": {"dedupe_field": "key", "dedupe_window_ms": 60000},
    "urgent": {"concurrency": 1, "priority_field": "priority"},
    "slow": {"timeout_ms": 300, "max_retries": 1},
    "remembered": {"result_ttl_ms": 60000, "max_retries": 1},
    "limited": {"rate": {"max": 2, "per_ms": 1000}},
    "mayfly": {"max_age_ms": 200, "concurrency": 1},
}
_names = itertools.count()


def queue_entry(**config) -> dict:
    return {"name": "iii-queue", "config": {"queue_configs": QUEUES, **config}}


@pytest.fixture(scope="module", params=["builtin", "redis"])
def store(request):
    return request.param


@pytest.fixture(scope="module")
def core(store):
    with contextlib.ExitStack() as stack:
        config = {}
        if store == "redis":
            server = stack.enter_context(redis_server.running("--appendonly", "yes"))
            config = {"adapter": {"name": "redis", "config": {"redis_url": server.url}}}
        yield stack.enter_context(fleet(workers=[queue_entry(**config)]))


@pytest.fixture
def wires(core):
    opened = []

    def open_wire() -> Wire:
        opened.append(core.connect())
        return opened[-1]

    yield open_wire
    for wire in opened:
        with contextlib.suppress(Exception):
            wire.close()


@pytest.fixture
def wire(wires):
    return wires()


def function(wire: Wire, name: str = "f") -> str:
    """A function of this test alone."""
    function_id = f"{name}{next(_names)}::{uuid.uuid4().hex[:6]}"
    wire.register(function_id)
    wire.sync()
    return function_id


def enqueue(wire: Wire, queue: str, function_id: str, data, **fields) -> str:
    result = wire.call(function_id, data, action={"type": "enqueue", "queue": queue}, **fields)
    assert list(result) == ["messageReceiptId"], result
    return str(uuid.UUID(result["messageReceiptId"]))


def refused(wire: Wire, queue: str, function_id: str, data) -> str:
    error = wire.error_of(function_id, data, action={"type": "enqueue", "queue": queue})
    assert error["code"] == "enqueue_error", error
    return error["message"]


def taken(wire: Wire, count: int = 1, **fields) -> list:
    """The data of the next deliveries, each answered well."""
    data = []
    for _ in range(count):
        call = wire.expect("invokefunction", **fields)
        wire.answer(call)
        data.append(call["data"])
    return data


def failed(wire: Wire, count: int = 1, message: str = "boom", **fields) -> list:
    data = []
    for _ in range(count):
        call = wire.expect("invokefunction", **fields)
        wire.answer(call, error={"code": "invocation_failed", "message": message})
        data.append(call["data"])
    return data


def stats(wire: Wire, name: str) -> dict:
    return wire.call("engine::queue::topic_stats", {"topic": name})


def dead(wire: Wire, name: str, **options) -> list:
    return wire.call("engine::queue::dlq_messages", {"topic": name, **options})


def comes_to(wire: Wire, name: str, **values):
    """Waits until the queue's numbers are these."""
    wait_for(lambda: all(stats(wire, name)[key] == value for key, value in values.items()), f"{name} comes to {values}; now {stats(wire, name)}")


def waits_for_its_function(wire: Wire, receipt: str):
    wait_for(lambda: wire.call("iii::queue::get", {"message_id": receipt})["state"] == "held", "it waits for its function")


# Putting in


@pytest.mark.parametrize("data", [{"orderId": "o1", "n": 1.5}, [1, {}, []], "text", 7, None, False], ids=["object", "list", "text", "number", "null", "false"])
def test_a_message_is_delivered_once_exactly_as_it_was(wire, data):
    f = function(wire)
    enqueue(wire, "default", f, data)
    assert taken(wire) == [data]
    comes_to(wire, "default", depth=0, active=0)
    wire.quiet()


def test_payloads_keep_every_byte_through_failure_and_redrive(wire):
    f = function(wire)
    text = '{"items":[],"meta":{},"id":9007199254740993,"ratio":1.10,"text":"a\\u0000b"}'
    wire.send(f'{{"type":"invokefunction","invocation_id":"{uuid.uuid4()}","function_id":"{f}","action":{{"type":"enqueue","queue":"once"}},"data":{text}}}')

    def delivered() -> str:
        while True:
            frame = wire.ws.recv(timeout=15)
            if '"invokefunction"' in frame:
                wire.inbox.append(json.loads(frame))
                return frame

    assert text in delivered()
    failed(wire)
    letter = wait_for(lambda: [entry for entry in dead(wire, "once") if entry["function_id"] == f], "the dead letter")[0]
    wire.call("iii::queue::redrive_message", {"queue": "once", "message_id": letter["id"]})
    assert text in delivered()
    taken(wire)


def test_what_cannot_be_taken_is_refused_with_the_reason(wire):
    assert refused(wire, "nope", "x::f", {}) == "Queue 'nope' not found"
    assert refused(wire, "payment", "x::f", {"a": 1}) == "FIFO queue 'payment' requires field 'transaction_id' in data, but it was not found"
    assert "was not found" in refused(wire, "payment", "x::f", "text")
    assert "was not found" in refused(wire, "payment", "x::f", [1])
    assert refused(wire, "payment", "x::f", {"transaction_id": None}) == "FIFO queue 'payment': field 'transaction_id' must not be null"
    assert "max_payload_bytes" in refused(wire, "small", "x::f", "x" * 200)
    assert "built-ins only" in refused(wire, "default", "core::fleet::stop", {})


def test_the_command_line_puts_calls_into_queues(core, wire):
    f = function(wire)
    printed = core.cli("trigger", f, "n=7", "--enqueue", "default", "--port", str(core.port)).stdout
    assert list(json.loads(printed)) == ["messageReceiptId"]
    assert taken(wire) == [{"n": 7}]


def test_without_an_invocation_id_nothing_comes_back_and_the_message_does(wire):
    f = function(wire)
    wire.send({"type": "invokefunction", "function_id": f, "data": {"n": 1}, "action": {"type": "enqueue", "queue": "default"}})
    wire.send({"type": "invokefunction", "function_id": f, "data": 1, "action": {"type": "enqueue", "queue": "nope"}})
    assert taken(wire) == [{"n": 1}]
    wire.quiet()


def test_the_trace_context_goes_along(wire):
    f = function(wire)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = wire.result_of(wire.invoke(f, 1, action={"type": "enqueue", "queue": "default"}, traceparent=trace, baggage="tenant=a"))
    assert answer["traceparent"] == trace and answer["baggage"] == "tenant=a" and answer["function_id"] == f
    call = wire.expect("invokefunction")
    assert call["traceparent"].split("-")[1] == trace.split("-")[1] and call["baggage"] == "tenant=a"
    wire.answer(call)


def test_a_queue_that_is_full_says_so_and_takes_again_when_there_is_room(wire):
    absent = f"absent::{uuid.uuid4().hex[:6]}"
    receipts = [enqueue(wire, "short", absent, n) for n in range(3)]
    assert "max_depth is 3" in refused(wire, "short", absent, 3)
    waits_for_its_function(wire, receipts[0])
    assert wire.call("iii::queue::cancel", {"message_id": receipts[0]}) == {"message_id": receipts[0], "cancelled": True}
    waits_for_its_function(wire, enqueue(wire, "short", absent, 3))
    assert wire.call("iii::queue::purge", {"queue": "short", "state": "all"})["purged"] == 3


# Order


def test_a_queue_of_concurrency_one_keeps_the_order(wire):
    f = function(wire)
    for number in range(20):
        wire.invoke(f, number, action={"type": "enqueue", "queue": "sequential"})
    assert taken(wire, 20) == list(range(20))


def test_as_many_run_at_a_time_as_the_queue_allows(wire):
    f = function(wire)
    for number in range(4):
        enqueue(wire, "wide", f, number)
    calls = [wire.expect("invokefunction") for _ in range(3)]
    wire.quiet()
    wire.answer(calls[0])
    calls.append(wire.expect("invokefunction"))
    for call in calls[1:]:
        wire.answer(call)


def test_a_failed_head_blocks_its_group_and_nobody_else(wire):
    f = function(wire)
    for group, number in [("g", 1), ("g", 2), ("g", 3), ("h", 1), ("h", 2)]:
        enqueue(wire, "groups", f, {"group_id": group, "n": number})
    starts = []
    failed_once = False
    while len(starts) < 6:
        call = wire.expect("invokefunction")
        starts.append((call["data"]["group_id"], call["data"]["n"]))
        if starts[-1] == ("g", 1) and not failed_once:
            failed_once = True
            wire.answer(call, error={"code": "invocation_failed", "message": "once"})
        else:
            wire.answer(call)
    assert [n for g, n in starts if g == "g"] == [1, 1, 2, 3]
    assert [n for g, n in starts if g == "h"] == [1, 2]
    # The other group went on during the pause.
    assert starts.index(("h", 2)) < [i for i, start in enumerate(starts) if start == ("g", 1)][1]


def test_values_of_another_type_are_another_group(wire):
    f = function(wire)
    for value in [1, "1", True, {"a": 1}]:
        enqueue(wire, "groups", f, {"group_id": value})
    calls = [wire.expect("invokefunction") for _ in range(4)]
    for call in calls:
        wire.answer(call)


def test_urgent_messages_go_first(wire):
    f = function(wire)
    blocker = enqueue(wire, "urgent", f, {"n": 0})
    first = wire.expect("invokefunction")
    assert blocker
    for number, priority in [(1, 0), (2, 9), (3, 5)]:
        enqueue(wire, "urgent", f, {"n": number, "priority": priority})
    wire.answer(first)
    assert [data["n"] for data in taken(wire, 3)] == [2, 3, 1]


# Failure


@pytest.mark.parametrize("queue, attempts", [("once", 1), ("fast", 2), ("four", 4)])
def test_a_message_that_always_fails_is_dead_after_its_attempts(wire, queue, attempts):
    f = function(wire)
    receipt = enqueue(wire, queue, f, {"to": "a@b.c"})
    failed(wire, attempts, message="no such address")
    letter = wait_for(lambda: [entry for entry in dead(wire, queue) if entry["id"] == receipt], "it is dead")[0]
    assert letter["payload"] == {"to": "a@b.c"} and letter["error"] == "invocation_failed: no such address"
    assert letter["retries"] == attempts and letter["size_bytes"] > 0 and abs(letter["failed_at"] - time.time()) < 5
    assert len(letter["attempts"]) == attempts and letter["function_id"] == f
    wire.quiet()
    wire.call("iii::queue::discard_message", {"queue": queue, "message_id": receipt})


@pytest.mark.parametrize("result", [None, False, 0, {"ok": False}], ids=["null", "false", "zero", "object"])
def test_whatever_a_function_returns_is_a_success(wire, result):
    f = function(wire)
    receipt = enqueue(wire, "fast", f, 1)
    wire.answer(wire.expect("invokefunction"), result=result)
    wait_for(lambda: wire.call("iii::queue::get", {"message_id": receipt})["state"] == "gone", "it is done")
    wire.quiet()


def test_a_handler_may_forbid_another_attempt_or_name_the_pause(wire):
    f = function(wire)
    receipt = enqueue(wire, "four", f, 1)
    wire.answer(wire.expect("invokefunction"), error={"code": "invocation_failed", "message": "no_retry: the card is stolen"})
    wait_for(lambda: wire.call("iii::queue::get", {"message_id": receipt})["state"] == "dead", "it is dead at once")
    receipt = enqueue(wire, "four", f, 2)
    wire.answer(wire.expect("invokefunction"), error={"code": "busy", "message": "later", "retry_after_ms": 60000})
    wait_for(lambda: wire.call("iii::queue::get", {"message_id": receipt})["state"] == "delayed", "it waits")
    assert wire.call("iii::queue::get", {"message_id": receipt})["due_at"] > (time.time() + 50) * 1000
    assert wire.call("iii::queue::cancel", {"message_id": receipt})["cancelled"]
    wire.call("iii::queue::discard", {"queue": "four"})


def test_an_attempt_that_takes_too_long_has_failed_and_its_answer_changes_nothing(wire):
    f = function(wire)
    receipt = enqueue(wire, "slow", f, 1)
    call = wire.expect("invokefunction")
    letter = wait_for(lambda: [entry for entry in dead(wire, "slow") if entry["id"] == receipt], "it is dead")[0]
    assert letter["error"].startswith("timeout: ")
    wire.answer(call, result="late")
    wire.sync()
    assert [entry["id"] for entry in dead(wire, "slow")] == [receipt]
    wire.call("iii::queue::discard", {"queue": "slow"})


def test_redrive_gives_all_attempts_back_and_keeps_the_order_of_death(wire):
    f = function(wire)
    for number in range(3):
        enqueue(wire, "fast", f, number)
        failed(wire, 2)
        wait_for(lambda count=number + 1: stats(wire, "fast")["dlq_depth"] == count, "it is dead")
    assert [entry["payload"] for entry in dead(wire, "fast")] == [2, 1, 0]
    assert [entry["payload"] for entry in dead(wire, "fast", offset=1, limit=1)] == [1]
    assert [row["message_count"] for row in wire.call("engine::queue::dlq_topics") if row["topic"] == "fast"] == [3]
    assert wire.call("iii::queue::redrive", {"queue": "fast"}) == {"queue": "fast", "redriven": 3}
    calls = [wire.expect("invokefunction") for _ in range(3)]
    assert [call["data"] for call in calls] == [0, 1, 2]
    for call in calls:
        wire.answer(call, error={"code": "invocation_failed", "message": "again"})
    failed(wire, 3)
    wait_for(lambda: stats(wire, "fast")["dlq_depth"] == 3, "all are dead again")
    first = dead(wire, "fast")[-1]
    assert first["retries"] == 2
    assert wire.call("iii::queue::redrive_message", {"queue": "fast", "message_id": first["id"]})["redriven"] == 1
    taken(wire)
    assert wire.call("iii::queue::redrive_message", {"queue": "fast", "message_id": "unknown"})["redriven"] == 0
    left = dead(wire, "fast")
    answer = wire.call("iii::queue::discard_message", {"queue": "fast", "message_id": left[0]["id"]})
    assert answer == {"queue": "fast", "message_id": left[0]["id"], "redriven": 1}
    assert wire.call("iii::queue::discard", {"queue": "fast", "filter": {"error_contains": "nothing"}})["discarded"] == 0
    assert wire.call("iii::queue::discard", {"queue": "fast", "filter": {"function_id": f}})["discarded"] == 1
    assert wire.call("iii::queue::redrive", {"queue": "fast"})["redriven"] == 0
    wire.quiet()


def test_functions_name_what_is_missing(wire):
    assert wire.error_of("iii::queue::redrive", {"queue": ""}) == {"code": "queue_not_set", "message": "Queue name is required"}
    assert wire.error_of("iii::queue::redrive_message", {"queue": "fast", "message_id": ""})["code"] == "message_id_not_set"
    assert wire.error_of("engine::queue::topic_stats", {}) == {"code": "topic_required", "message": "topic is required"}
    assert wire.error_of("iii::durable::publish", {"topic": "", "data": 1}) == {"code": "topic_not_set", "message": "Topic is not set"}
    assert "missing field `data`" in wire.error_of("iii::durable::publish", {"topic": "t"})["message"]
    assert wire.error_of("iii::queue::pause", {"queue": "nowhere"})["code"] == "NOT_FOUND"
    for wrong in [{"delay_ms": -1}, {"delay_ms": 1.5}, {"delay_ms": "10"}, {"delay_ms": 10**13}, {"priority": 256}, {"dealy_ms": 1}]:
        error = wire.error_of("iii::queue::enqueue", {"queue": "default", "function_id": "x::f", "data": 1, **wrong})
        assert error["code"] == "deserialization_error" and list(wrong)[0] in error["message"], error


# Workers that are not there


def test_messages_wait_for_their_function_without_an_attempt_and_hold_up_nobody(wire):
    here = function(wire)
    later = f"later::{uuid.uuid4().hex[:6]}"
    receipts = [enqueue(wire, "sequential", later, number) for number in range(5)]
    enqueue(wire, "sequential", here, "here")
    assert taken(wire, function_id=here) == ["here"]
    comes_to(wire, "sequential", held=5)
    wire.register(later)
    assert taken(wire, 5, function_id=later) == list(range(5))
    comes_to(wire, "sequential", depth=0)
    assert all(wire.call("iii::queue::get", {"message_id": receipt})["state"] == "gone" for receipt in receipts)


def test_a_worker_that_ends_gives_its_message_back(wires):
    wire, other = wires(), wires()
    f = function(wire)
    receipt = enqueue(other, "once", f, 1)
    wire.expect("invokefunction")
    wire.close()
    wait_for(lambda: other.call("iii::queue::get", {"message_id": receipt})["state"] == "held", "it waits for the function")
    assert other.call("iii::queue::get", {"message_id": receipt})["attempts"] == 0
    other.register(f)
    assert taken(other) == [1]


def test_a_message_that_breaks_workers_is_dead_at_the_fifth(core, wire):
    f = f"poison::{uuid.uuid4().hex[:6]}"
    receipt = enqueue(wire, "once", f, 1)
    for _ in range(5):
        victim = core.connect()
        victim.register(f)
        victim.expect("invokefunction")
        # As a crash: no word of farewell.
        victim.ws.socket.close()
    letter = wait_for(lambda: [entry for entry in dead(wire, "once") if entry["id"] == receipt], "it is dead")[0]
    assert letter["crashes"] == 5 and letter["retries"] == 0 and letter["error"].startswith("invocation_stopped: ")
    wire.call("iii::queue::discard", {"queue": "once"})


# Topics


def subscribed(wire: Wire, function_id: str, topic: str, trigger: str | None = None, **config) -> str:
    trigger = wire.register_trigger("durable:subscriber", function_id, trigger, config={"topic": topic, **config})
    wait_for(lambda: any(row["id"] == trigger and row.get("status", "active") != "pending" for row in listed(wire)), "the trigger is there")
    wait_for(lambda: any(row["name"] == topic for row in wire.call("engine::queue::list_topics")), "the topic is there")
    return trigger


def listed(wire: Wire) -> list:
    answer = wire.call("engine::triggers::list", {})
    return answer["triggers"] if isinstance(answer, dict) else answer


def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


def publish(wire: Wire, name: str, data):
    answer = wire.result_of(wire.invoke("iii::durable::publish", {"topic": name, "data": data}))
    assert "error" not in answer and "result" not in answer, answer


def test_every_function_gets_its_copy_once(wire):
    name = topic()
    a, b = function(wire), function(wire)
    subscribed(wire, a, name)
    first = subscribed(wire, b, name)
    subscribed(wire, b, name)
    wait_for(lambda: stats(wire, name)["consumer_count"] == 3, "three triggers")
    for data in [{"n": 1}, None]:
        publish(wire, name, data)
        assert taken(wire, function_id=a) == [data] and taken(wire, function_id=b) == [data]
    comes_to(wire, name, depth=0, active=0)
    wire.quiet()
    wire.send({"type": "unregistertrigger", "id": first})
    wait_for(lambda: stats(wire, name)["consumer_count"] == 2, "two triggers")
    publish(wire, name, 3)
    assert taken(wire, function_id=a) == [3] and taken(wire, function_id=b) == [3]


def test_nothing_reaches_a_function_after_its_subscription_was_taken_back(wire):
    name = topic()
    a, b = function(wire), function(wire)
    subscribed(wire, a, name)
    gone = subscribed(wire, b, name)
    wire.send({"type": "unregistertrigger", "id": gone})
    wait_for(lambda: stats(wire, name)["consumer_count"] == 1, "one trigger")
    publish(wire, name, 1)
    assert taken(wire, function_id=a) == [1]
    wire.quiet()


def test_one_failing_function_concerns_nobody_else(wire):
    name = topic()
    good, bad = function(wire), function(wire)
    subscribed(wire, good, name)
    subscribed(wire, bad, name, queue_config={"maxRetries": 1, "backoffDelayMs": 20})
    publish(wire, name, 1)
    assert taken(wire, function_id=good) == [1]
    failed(wire, 2, function_id=bad)
    wait_for(lambda: stats(wire, name)["dlq_depth"] == 1, "the copy is dead")
    assert dead(wire, name)[0]["function_id"] == bad
    assert wire.call("iii::queue::redrive", {"queue": name})["redriven"] == 1
    assert taken(wire, function_id=bad) == [1]
    wire.quiet()


def test_a_condition_decides_before_every_attempt(wire):
    name = topic()
    f, condition = function(wire), function(wire, "cond")
    subscribed(wire, f, name, condition_function_id=condition, queue_config={"max_retries": 0})
    for answer, runs in [(False, False), (None, True), (True, True)]:
        publish(wire, name, {"answer": answer})
        wire.answer(wire.expect("invokefunction", function_id=condition), result=answer)
        if runs:
            taken(wire, function_id=f)
    publish(wire, name, "fails")
    failed(wire, function_id=condition, message="odd")
    wait_for(lambda: stats(wire, name)["dlq_depth"] == 1, "it is dead")
    assert dead(wire, name)[0]["error"].startswith("Condition function error: ")
    wire.quiet()


def test_a_fifo_subscription_handles_one_message_at_a_time(wire):
    name = topic()
    f = function(wire)
    subscribed(wire, f, name, queue_config={"type": "fifo", "maxRetries": 5, "backoffDelayMs": 50, "concurrency": 4})
    for number in range(4):
        publish(wire, name, number)
    assert failed(wire, 2) == [0, 0]
    assert taken(wire, 4) == [0, 1, 2, 3]


def test_a_subscription_outlives_its_worker(wires):
    name = topic()
    worker, publisher = wires(), wires()
    f = function(worker)
    subscribed(worker, f, name)
    worker.close()
    wait_for(lambda: f not in {row["function_id"] for row in publisher.call("engine::functions::list", {})["functions"]}, "the engine has noticed")
    for number in range(3):
        publish(publisher, name, number)
    comes_to(publisher, name, depth=3)
    back = wires()
    back.register(f)
    subscribed(back, f, name)
    assert sorted(taken(back, 3, function_id=f)) == [0, 1, 2]
    # The newer subscription stands for the one before, also if that ends later.
    wait_for(lambda: stats(publisher, name)["consumer_count"] == 1, "one subscription is left")


def test_a_subscription_without_topic_is_taken_and_never_fires(core, wire):
    f = function(wire)
    trigger = wire.register_trigger("durable:subscriber", f, config={})
    wait_for(lambda: trigger in core.output(), "the warning")
    assert not [m for m in wire.sync() if m["type"] == "triggerregistrationresult"]


# Options


def put(wire: Wire, queue: str, function_id: str, data, **options) -> dict:
    return wire.call("iii::queue::enqueue", {"queue": queue, "function_id": function_id, "data": data, **options})


def test_a_delayed_message_comes_at_its_time_and_not_before(wire):
    f = function(wire)
    begun = time.monotonic()
    put(wire, "default", f, "later", delay_ms=400)
    put(wire, "default", f, "now")
    put(wire, "default", f, "past", run_at=1)
    assert sorted(taken(wire, 2)) == ["now", "past"]
    assert taken(wire) == ["later"]
    assert time.monotonic() - begun >= 0.4
    far = put(wire, "default", f, "far", delay_ms=4294972296)["messageReceiptId"]
    assert wire.call("iii::queue::get", {"message_id": far})["due_at"] > (time.time() + 4_000_000) * 1000
    wire.call("iii::queue::cancel", {"message_id": far})


def test_an_idempotency_key_stands_for_the_message_that_brought_it(wire):
    f = function(wire)
    key = uuid.uuid4().hex
    first = put(wire, "default", f, 1, dedupe_id=key)
    again = put(wire, "default", f, 2, dedupe_id=key)
    assert again == {"messageReceiptId": first["messageReceiptId"], "duplicate": True}
    assert taken(wire) == [1]
    # The same through the action, with the key in the payload: the receipt is that of the first.
    receipts = {enqueue(wire, "keyed", f, {"key": key, "n": n}) for n in range(3)}
    assert len(receipts) == 1
    assert taken(wire) == [{"key": key, "n": 0}]
    wire.quiet()
    assert "idempotency key" in refused(wire, "keyed", f, {"n": 1})


def test_a_cancelled_message_gives_its_key_back(wire):
    absent = f"absent::{uuid.uuid4().hex[:6]}"
    first = put(wire, "default", absent, 1, dedupe_id="once-more")
    waits_for_its_function(wire, first["messageReceiptId"])
    assert wire.call("iii::queue::cancel", {"message_id": first["messageReceiptId"]})["cancelled"]
    second = put(wire, "default", absent, 2, dedupe_id="once-more")
    assert "duplicate" not in second and second != first
    waits_for_its_function(wire, second["messageReceiptId"])
    assert wire.call("iii::queue::cancel", {"message_id": second["messageReceiptId"]})["cancelled"]


def test_the_outcome_of_a_message_can_be_waited_for(wires):
    worker, caller = wires(), wires()
    f = function(worker)
    receipt = enqueue(caller, "remembered", f, 1)
    waiting = caller.invoke("iii::queue::wait", {"message_id": receipt, "timeout_ms": 10000})
    call = worker.expect("invokefunction")
    assert caller.call("iii::queue::get", {"message_id": receipt})["state"] == "active"
    worker.answer(call, result={"sum": 3})
    expected = {"message_id": receipt, "state": "done", "result": {"sum": 3}}
    assert caller.result_of(waiting)["result"] == expected
    assert caller.call("iii::queue::get", {"message_id": receipt}).items() >= expected.items()
    assert caller.call("iii::queue::wait", {"message_id": receipt})["state"] == "done"
    receipt = enqueue(caller, "remembered", f, 2)
    waiting = caller.invoke("iii::queue::wait", {"message_id": receipt})
    failed(worker, message="odd")
    assert caller.result_of(waiting)["result"] == {"message_id": receipt, "state": "dead", "error": "invocation_failed: odd"}
    assert caller.call("iii::queue::wait", {"message_id": "never", "timeout_ms": 50})["state"] == "gone"


def test_no_more_start_than_the_rate_allows(wire):
    f = function(wire)
    begun = time.monotonic()
    for number in range(5):
        enqueue(wire, "limited", f, number)
    taken(wire, 5)
    # 2 at once, 2 after a second, the fifth after another.
    assert time.monotonic() - begun >= 2


def test_what_waited_too_long_is_dead(wire):
    f = function(wire)
    enqueue(wire, "mayfly", f, 1)
    call = wire.expect("invokefunction")
    receipt = enqueue(wire, "mayfly", f, 2)
    wait_for(lambda: time.time() * 1000 > wire.call("iii::queue::get", {"message_id": receipt})["created_at"] + 300, "time passes")
    wire.answer(call)
    letter = wait_for(lambda: dead(wire, "mayfly"), "it is dead")[0]
    assert letter["id"] == receipt and letter["error"].startswith("expired: ")
    wire.quiet()


# Looking after queues


def test_listings_show_queues_and_topics(store, wire):
    name = topic()
    subscribed(wire, function(wire), name)
    rows = {row["name"]: row for row in wire.call("engine::queue::list_topics")}
    assert rows["payment"] == {"name": "payment", "broker_type": "function_queue", "subscriber_count": 2}
    assert rows["default"]["subscriber_count"] == 10
    assert rows[name] == {"name": name, "broker_type": store, "subscriber_count": 1}
    assert not [row for row in rows if row.startswith("__fn_queue::")]
    found = stats(wire, "payment")
    assert found["consumer_count"] == 2 and found["config"]["type"] == "fifo" and found["depth"] == 0
    assert stats(wire, "__fn_queue::payment")["config"] == found["config"]
    unknown = stats(wire, "unknown")
    assert (unknown["depth"], unknown["consumer_count"], unknown["dlq_depth"]) == (0, 0, 0)


def test_functions_hear_of_dead_messages_and_of_queues_that_are_empty(wire):
    f, dying, empty = function(wire), function(wire, "dying"), function(wire, "empty")
    wire.register_trigger("queue:dead_lettered", dying, config={"queue": "once"})
    wire.register_trigger("queue:drained", empty, config={"queue": "wide"})
    wire.sync()
    receipt = enqueue(wire, "once", f, 1)
    failed(wire, function_id=f)
    (event,) = taken(wire, function_id=dying)
    assert event == {"queue": "once", "message_id": receipt, "function_id": f, "error": "invocation_failed: boom", "retries": 1}
    page = wire.call("iii::queue::dlq_export", {"queue": "once", "limit": 1})
    assert [row["id"] for row in page["messages"]] == [receipt] and page["next_offset"] == 1
    assert wire.call("iii::queue::dlq_export", {"queue": "once", "offset": 1}) == {"queue": "once", "messages": [], "next_offset": None}
    wire.call("iii::queue::discard", {"queue": "once"})
    enqueue(wire, "wide", f, 2)
    taken(wire, function_id=f)
    assert taken(wire, function_id=empty) == [{"queue": "wide"}]
    wire.quiet()


def test_redriven_at_a_rate_they_come_one_after_the_other(wire):
    f = function(wire)
    receipts = [enqueue(wire, "once", f, number) for number in range(3)]
    failed(wire, 3)
    wait_for(lambda: stats(wire, "once")["dlq_depth"] == 3, "they are dead")
    assert wire.call("iii::queue::redrive", {"queue": "once", "rate_per_s": 10}) == {"queue": "once", "redriven": 3}
    assert stats(wire, "once")["dlq_depth"] == 0
    assert len(taken(wire, 3)) == len(receipts)


def test_a_group_that_stands_still_is_told_with_the_message_that_holds_it(wire):
    f = function(wire)
    receipt = enqueue(wire, "groups", f, {"group_id": "g", "n": 1})
    enqueue(wire, "groups", f, {"group_id": "g", "n": 2})
    failed(wire, message="retry_after_ms: 1500 later")
    wait_for(lambda: receipt in (stats(wire, "groups")["obstacle"] or ""), "the obstacle names the message")
    assert [data["n"] for data in taken(wire, 2)] == [1, 2]


def test_a_pause_holds_everything_and_redriven_messages_too(wire):
    f = function(wire)
    enqueue(wire, "fast", f, "dead")
    failed(wire, 2)
    wait_for(lambda: stats(wire, "fast")["dlq_depth"] == 1, "it is dead")
    assert wire.call("iii::queue::pause", {"queue": "fast"}) == {"queue": "fast", "paused": True}
    enqueue(wire, "fast", f, "waiting")
    assert wire.call("iii::queue::redrive", {"queue": "fast"})["redriven"] == 1
    comes_to(wire, "fast", waiting=2, dead=0, paused=True, obstacle="paused")
    wire.quiet()
    assert wire.call("iii::queue::drain", {"queue": "fast", "timeout_ms": 50}) == {"queue": "fast", "drained": False, "left": 2}
    wire.call("iii::queue::resume", {"queue": "fast"})
    assert sorted(taken(wire, 2)) == ["dead", "waiting"]
    assert wire.call("iii::queue::drain", {"queue": "fast"})["drained"]


def test_a_queue_can_be_defined_while_everything_runs(wire):
    name = f"defined-{uuid.uuid4().hex[:6]}"
    config = {"type": "fifo", "message_group_field": "k", "max_retries": 1}
    assert wire.call("queue::define", {"queue": name, "config": config}) == {"queue": name, "changed": True}
    assert wire.call("queue::define", {"queue": name, "config": config}) == {"queue": name, "changed": False}
    f = function(wire)
    enqueue(wire, name, f, {"k": 1})
    assert taken(wire) == [{"k": 1}]
    error = wire.error_of("queue::define", {"queue": name, "config": {"tpye": "fifo"}})
    assert error["code"] == "INVALID_ARGUMENTS" and "type" in error["message"]
    assert "in the configuration" in wire.error_of("queue::define", {"queue": "fast", "config": {}})["message"]


# Processes


def killed(it, name: str = "iii-queue"):
    before = it.pid_of(name)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: (row := it.rows()[name])["pid"] not in (None, before) and row["state"] == "ready", f"{name} is back")


def test_everything_survives_a_kill_of_the_process(core, wires):
    wire = wires()
    f = function(wire)
    name = topic()
    subscribed(wire, f, name)
    absent = f"absent::{uuid.uuid4().hex[:6]}"
    wire.call("iii::queue::pause", {"queue": "wide"})
    waiting = [enqueue(wire, "wide", f, number) for number in range(20)]
    delayed = put(wire, "default", f, "delayed", delay_ms=3_600_000)["messageReceiptId"]
    held = enqueue(wire, "default", absent, "held")
    enqueue(wire, "once", f, "dead")
    failed(wire)
    wait_for(lambda: stats(wire, "once")["dlq_depth"] == 1, "it is dead")
    enqueue(wire, "sequential", f, "running")
    run = wire.expect("invokefunction")
    # What was running comes again; the answer to the call of a dead process changes nothing.
    killed(core)
    again = wire.expect("invokefunction")
    assert again["data"] == "running"
    wire.answer(run)
    killed(core)
    wire.answer(again)
    assert taken(wire) == ["running"]
    assert stats(wire, "wide")["paused"] and stats(wire, "wide")["waiting"] == 20
    assert wire.call("iii::queue::get", {"message_id": delayed})["state"] == "delayed"
    assert wire.call("iii::queue::cancel", {"message_id": delayed})["cancelled"]
    waits_for_its_function(wire, held)
    assert [entry["payload"] for entry in dead(wire, "once")] == ["dead"]
    wire.call("iii::queue::resume", {"queue": "wide"})
    assert sorted(taken(wire, 20)) == list(range(20))
    publish(wire, name, "published")
    assert taken(wire, function_id=f) == ["published"]
    assert len(waiting) == 20
    wire.call("iii::queue::cancel", {"message_id": held})
    wire.call("iii::queue::discard", {"queue": "once"})


def test_a_restart_finishes_what_runs_and_costs_no_attempt(core, wires):
    wire = wires()
    f = function(wire)
    receipt = enqueue(wire, "once", f, 1)
    call = wire.expect("invokefunction")
    restart = threading.Thread(target=lambda: core.cli("restart", "iii-queue"), daemon=True)
    restart.start()
    wait_for(lambda: core.rows()["iii-queue"]["state"] != "ready", "it drains")
    wire.answer(call)
    restart.join(30)
    wait_for(lambda: core.rows()["iii-queue"]["state"] == "ready", "it is back")
    assert wire.call("iii::queue::get", {"message_id": receipt})["state"] == "gone"
    wire.quiet()


def test_a_changed_configuration_is_taken_over_without_a_restart(tmp_path):
    with running(tmp_path, workers=[queue_entry()]) as it:
        wire = it.connect()
        f = function(wire)
        pid = it.pid_of("iii-queue")

        def change(edit):
            entries = entries_of(it)
            edit(next(entry for entry in entries if entry["name"] == "iii-queue")["config"]["queue_configs"])
            count = reloads(it)
            save(it, entries)
            wait_for(lambda: reloads(it) > count, "the reload")

        change(lambda queues: queues.update(added={"concurrency": 2}))
        enqueue(wire, "added", f, 1)
        assert taken(wire) == [1]
        change(lambda queues: queues.update(added={"concurrency": 0}))
        wait_for(lambda: "must be at least 1" in it.output(), "the reason")
        enqueue(wire, "added", f, 2)
        assert taken(wire) == [2]
        change(lambda queues: queues.pop("added"))
        assert refused(wire, "added", f, 3) == "Queue 'added' not found"
        assert it.pid_of("iii-queue") == pid


@pytest.mark.parametrize(
    "config, text",
    [
        ({"queue_configs": {"q": {"type": "x"}}}, "`standard`, `fifo`"),
        ({"queue_configs": {"q": {"type": "fifo"}}}, "Queue 'q' is of type 'fifo' but 'message_group_field' is not set"),
        ({"queue_configs": {"q": {"concurrency": 0}}}, "Queue 'q' has 'concurrency' 0; it must be at least 1"),
        ({"queue_configs": {"q": {"fake_key": 1}}}, "fake_key"),
        ({"adapter": {"name": "kafka"}}, "`builtin`"),
    ],
    ids=["type", "group-field", "concurrency", "unknown-key", "unknown-adapter"],
)
def test_a_bad_configuration_is_refused_with_the_reason(tmp_path, config, text):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"workers": [{"name": "iii-queue", "config": config}]}))
    done = run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1 and text in done.stderr, done.stderr


def test_a_store_that_cannot_be_opened_stops_the_start_with_the_reason(tmp_path):
    (tmp_path / "taken").write_text("a file")
    other = tmp_path / "other"
    other.mkdir()
    (other / "_queue_lists.bin").write_bytes(b"x")
    for path, text in [("./taken/deeper", "cannot be"), ("./other", "another engine")]:
        entry = queue_entry(adapter={"name": "builtin", "config": {"file_path": path}})
        with prepared(tmp_path, workers=[entry]) as it:
            it.spawn()
            wait_for(lambda text=text: text in it.output(), f"'{text}'")
            it.stop()
            it.log.unlink()


def test_a_full_store_refuses_what_needs_room_and_delivers_the_rest(tmp_path):
    entry = queue_entry(adapter={"name": "builtin", "config": {"max_bytes": 2 << 20}})
    with running(tmp_path, workers=[entry]) as it:
        wire = it.connect()
        absent = f"absent::{uuid.uuid4().hex[:6]}"
        receipts = []
        for _ in range(100):
            answer = wire.result_of(wire.invoke(absent, "x" * 100_000, action={"type": "enqueue", "queue": "default"}))
            if "error" in answer:
                break
            receipts.append(answer["result"]["messageReceiptId"])
        assert answer["error"]["code"] == "enqueue_error" and "quota" in answer["error"]["message"], answer
        assert 5 < len(receipts) < 30
        wire.register(absent)
        assert len(taken(wire, len(receipts))) == len(receipts)
        comes_to(wire, "default", depth=0)
        enqueue(wire, "default", absent, "room")
        assert taken(wire) == ["room"]


def test_in_memory_says_what_it_is(tmp_path):
    entry = queue_entry(adapter={"name": "builtin", "config": {"store_method": "in_memory"}})
    with running(tmp_path, workers=[entry]) as it:
        wire = it.connect()
        f = function(wire)
        enqueue(wire, "fast", f, 1)
        failed(wire)
        assert taken(wire) == [1]
        assert "end with this process" in it.output()
        assert not (tmp_path / "data").exists()


def test_the_status_line_tells_how_it_stands(core, wire):
    assert re.search(r"\d+ waiting, \d+ running, \d+ dead, \d+ done", core.cli("status", "iii-queue").stdout)


def example_works(it, function_id: str, order: dict):
    wire = it.connect()
    heard = function(wire)
    wire.register_trigger("durable:subscriber", heard, config={"topic": "order.taken"})
    wait_for(lambda: stats(wire, "order.taken")["consumer_count"] == 2, "the example and we subscribe")
    receipt = wire.call(function_id, order)
    assert next(iter(receipt.values()))
    assert "o1" in taken(wire, function_id=heard)[0].values()
    comes_to(wire, "order.taken", depth=0, dead=0)
    comes_to(wire, "default", depth=0, dead=0)
    wire.close()


def test_the_swift_example_works(tmp_path):
    worker = {"name": "iii-exec", "config": {"exec": [str(BIN / "queue-example")]}}
    with running(tmp_path, workers=[queue_entry(), worker]) as it:
        example_works(it, "orders::take", {"id": "o1", "amount": 3})


def test_the_python_example_works(tmp_path):
    worker = {"name": "iii-exec", "config": {"exec": [f"{sys.executable} {ROOT / 'examples/python/orders.py'}"]}}
    with running(tmp_path, workers=[queue_entry(), worker]) as it:
        example_works(it, "python::take", {"order": "o1"})
