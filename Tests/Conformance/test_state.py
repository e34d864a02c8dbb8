"""`iii-state` over the wire: functions, triggers, and what is left after a kill."""

import collections
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import uuid

import pytest
import requests
from processes import entries_of, run_core, save, wait_for_http
from wire import BIN, DEADLINE, ROOT, Fleet, fleet, wait_for


@pytest.fixture(scope="module")
def core():
    with fleet(workers=[{"name": "iii-state"}]) as it:
        yield it


@pytest.fixture
def scope():
    """A scope of the test's own."""
    return f"s-{uuid.uuid4()}"


def raw_call(wire, function_id: str, data: str) -> str:
    """Calls with `data` as it stands; answers with the text of the answering frame."""
    invocation = str(uuid.uuid4())
    wire.send(f'{{"type":"invokefunction","invocation_id":"{invocation}","function_id":"{function_id}","data":{data}}}')
    while True:
        frame = wire.ws.recv(timeout=DEADLINE)
        if invocation in frame:
            return frame


def has_result(wire, function_id: str, data) -> bool:
    return "result" in wire.result_of(wire.invoke(function_id, data))


# Functions


def test_set_answers_with_exactly_the_old_and_the_new_value(wire, scope):
    at = {"scope": scope, "key": "k"}
    assert wire.call("state::set", {**at, "value": {"n": 1}}) == {"old_value": None, "new_value": {"n": 1}}
    assert wire.call("state::set", {**at, "value": 2}) == {"old_value": {"n": 1}, "new_value": 2}
    assert wire.call("state::get", at) == 2


def test_a_miss_has_no_result(wire, scope):
    at = {"scope": scope, "key": "k"}
    assert not has_result(wire, "state::get", at)
    assert not has_result(wire, "state::delete", at)
    wire.call("state::set", {**at, "value": None})
    assert '"result":null' in raw_call(wire, "state::get", json.dumps(at))
    assert wire.call("state::list", {"scope": scope}) == [None]


def test_delete_answers_with_the_bare_value(wire, scope):
    at = {"scope": scope, "key": "k"}
    wire.call("state::set", {**at, "value": [1]})
    assert wire.call("state::delete", at) == [1]
    assert not has_result(wire, "state::get", at)


def test_lists_keep_the_order_of_first_storing(wire, scope):
    for key in ["c", "a", "b", "c"]:
        wire.call("state::set", {"scope": scope, "key": key, "value": key})
    assert wire.call("state::list", {"scope": scope}) == ["c", "a", "b"]
    assert wire.call("state::list", {"scope": scope + "x"}) == []


@pytest.mark.parametrize("data", [{}, None], ids=["object", "null"])
def test_scopes_are_listed_sorted_and_only_while_they_have_values(wire, scope, data):
    for name in [f"{scope}-b", f"{scope}-a", f"{scope}:x"]:
        wire.call("state::set", {"scope": name, "key": "k", "value": 1})
    own = [name for name in wire.call("state::list_groups", data)["groups"] if name.startswith(scope)]
    assert own == sorted([f"{scope}-a", f"{scope}-b", f"{scope}:x"])
    wire.call("state::delete", {"scope": f"{scope}-a", "key": "k"})
    assert f"{scope}-a" not in wire.call("state::list_groups", data)["groups"]


@pytest.mark.parametrize(
    "text",
    ["9007199254740993", "18446744073709551615", "98765432109876543210", "1.0", "1", "true", "0.0", "-0.0", "5e-324", "1.7976931348623157e308", '"\\u00e9\\ud800"', '{"b":1,"a":[]}'],
)
def test_values_come_back_as_they_were_written(wire, scope, text):
    at = f'"scope":"{scope}","key":"k"'
    raw_call(wire, "state::set", f'{{{at},"value": {text} }}')
    assert f'"result":{text}' in raw_call(wire, "state::get", f"{{{at}}}")
    assert f'"result":[{text}]' in raw_call(wire, "state::list", f'{{"scope":"{scope}"}}')
    assert f'"new_value":{{"kept":{text},"n":1}}' in raw_call(
        wire, "state::update", f'{{"scope":"{scope}","key":"u","ops":[{{"type":"set","path":"kept","value":{text}}},{{"type":"increment","path":"n","by":1}}]}}')


def test_data_is_another_name_for_value_and_both_are_an_error(wire, scope):
    at = {"scope": scope, "key": "k"}
    assert wire.call("state::set", {**at, "data": 5})["new_value"] == 5
    error = wire.error_of("state::set", {**at, "data": 5, "value": 6})
    assert error == {"code": "deserialization_error", "message": "Failed to deserialize input for state::set: duplicate field `value`"}


@pytest.mark.parametrize(
    "function_id, data, words",
    [
        ("state::set", {"scope": "s", "value": 1}, "missing field `key`"),
        ("state::set", {"scope": "s", "key": "k"}, "missing field `value`"),
        ("state::get", {"scope": 5, "key": "k"}, "invalid type: integer `5`, expected a string"),
        ("state::get", {"scope": None, "key": "k"}, "invalid type: null, expected a string"),
        ("state::get", None, "invalid type: null"),
        ("state::get", [1], "invalid type: sequence"),
        ("state::update", {"scope": "s", "key": "k"}, "missing field `ops`"),
        ("state::update", {"scope": "s", "key": "k", "ops": [{"type": "foo"}]}, "unknown variant `foo`, expected one of `set`"),
        ("state::update", {"scope": "s", "key": "k", "ops": {}}, "invalid type: map"),
    ],
)
def test_input_that_cannot_be_read_is_named(wire, function_id, data, words):
    error = wire.error_of(function_id, data)
    assert error["code"] == "deserialization_error"
    assert error["message"].startswith(f"Failed to deserialize input for {function_id}: ") and words in error["message"]


def test_limits_have_their_errors(wire, scope):
    long = "n" * 513
    assert wire.error_of("state::set", {"scope": long, "key": "k", "value": 1})["code"] == "LIMIT_EXCEEDED"
    assert wire.error_of("state::get", {"scope": scope, "key": long})["code"] == "LIMIT_EXCEEDED"
    operations = [{"type": "set", "path": "a", "value": 1}] * 1001
    assert wire.error_of("state::update", {"scope": scope, "key": "k", "ops": operations})["code"] == "LIMIT_EXCEEDED"
    assert wire.error_of("state::set", {"scope": scope, "key": "k", "value": "x" * (8 << 20)})["code"] == "VALUE_TOO_LARGE"
    assert not has_result(wire, "state::get", {"scope": scope, "key": "k"})


def test_deep_values_are_stored_or_refused_and_nobody_else_notices(wire, scope):
    at = f'"scope":"{scope}","key":"deep"'
    for depth in [100, 10_000]:
        frame = raw_call_or_error(wire, "state::set", f'{{{at},"value":{"[" * depth}{"]" * depth}}}')
        assert "result" in frame or "error" in frame
    assert wire.call("state::set", {"scope": scope, "key": "k", "value": 1})["new_value"] == 1


def raw_call_or_error(wire, function_id, data) -> str:
    """An engine that cannot read a frame answers with an error without its id."""
    invocation = str(uuid.uuid4())
    wire.send(f'{{"type":"invokefunction","invocation_id":"{invocation}","function_id":"{function_id}","data":{data}}}')
    return wire.ws.recv(timeout=DEADLINE)


# Updates


def test_operations_report_what_did_not_take_effect(wire, scope):
    at = {"scope": scope, "key": "k"}
    wire.call("state::set", {**at, "value": {"bad": "value", "events": {}}})
    operations = [
        {"type": "increment", "path": "bad", "by": 1}, {"type": "set", "path": "__proto__", "value": True},
        {"type": "append", "path": "events", "value": "chunk"}, {"type": "set", "path": "ok", "value": True},
    ]
    result = wire.call("state::update", {**at, "ops": operations})
    assert result["new_value"] == {"bad": "value", "events": {}, "ok": True}
    assert [(e["op_index"], e["code"]) for e in result["errors"]] == [(0, "increment.not_number"), (1, "set.path.proto_polluted"), (2, "append.type_mismatch")]
    assert all(e["doc_url"] for e in result["errors"])
    assert "errors" not in wire.call("state::update", {**at, "ops": [operations[3]]})
    assert wire.call("state::update", {"scope": scope, "key": "new", "ops": []}) == {"old_value": None, "new_value": {}}


def test_concurrent_increments_and_appends_lose_nothing(core, scope):
    def many(kind, count):
        own = core.connect()
        ids = [own.invoke("state::update", {"scope": scope, "key": kind["path"], "ops": [kind]}) for _ in range(count)]
        for invocation in ids:
            assert "error" not in own.result_of(invocation)
        own.close()

    threads = [threading.Thread(target=many, args=({"type": "increment", "path": "n", "by": 1}, 100)) for _ in range(5)]
    threads += [threading.Thread(target=many, args=({"type": "append", "path": "l", "value": [1]}, 50)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own = core.connect()
    assert own.call("state::get", {"scope": scope, "key": "n"}) == {"n": 500}
    assert own.call("state::get", {"scope": scope, "key": "l"}) == {"l": [[1]] * 100}
    own.close()


# Conditions of a change


def test_compare_and_set(wire, scope):
    at = {"scope": scope, "key": "k"}
    first = wire.call("state::set", {**at, "value": {"b": [1, 2], "a": 1}, "if_revision": 0, "return_meta": True})
    assert wire.error_of("state::set", {**at, "value": 2, "if_revision": 0})["code"] == "CONFLICT"
    assert wire.error_of("state::set", {**at, "value": 2, "if_value": {"a": 1, "b": [2, 1]}})["code"] == "CONFLICT"
    second = wire.call("state::set", {**at, "value": 2, "if_value": {"a": 1.0, "b": [1, 2]}, "return_meta": True})
    assert second["revision"] > first["revision"]
    assert wire.error_of("state::delete", {**at, "if_revision": first["revision"]})["code"] == "CONFLICT"
    assert wire.call("state::delete", {**at, "if_revision": second["revision"]}) == 2
    wire.call("state::set", {**at, "value": 2})
    assert wire.error_of("state::set", {**at, "value": 3, "if_revision": second["revision"]})["code"] == "CONFLICT", "a revision never comes again"


def test_an_entry_says_its_revision_and_times(wire, scope):
    at = {"scope": scope, "key": "k"}
    revision = wire.call("state::set", {**at, "value": 1, "return_meta": True})["revision"]
    told = wire.call("state::get", {**at, "with_meta": True})
    assert set(told) == {"value", "revision", "created_at", "updated_at"} and told["value"] == 1 and told["revision"] == revision
    assert not has_result(wire, "state::get", {"scope": scope, "key": "none", "with_meta": True})


def test_a_failing_test_or_an_atomic_error_stores_nothing(wire, scope):
    at = {"scope": scope, "key": "k"}
    wire.call("state::set", {**at, "value": {"v": 1}})
    bump = {"type": "increment", "path": "v", "by": 1}
    error = wire.error_of("state::update", {**at, "ops": [bump, {"type": "test", "path": "v", "value": 7}]})
    assert error["code"] == "CONFLICT" and "operation 1" in error["message"]
    result = wire.call("state::update", {**at, "atomic": True, "ops": [bump, {"type": "append", "path": "v", "value": 1}]})
    assert result["new_value"] == {"v": 1} and result["errors"][0]["op_index"] == 1
    assert wire.call("state::update", {**at, "ops": [{"type": "test", "path": "v", "value": 1.0}, bump]})["new_value"] == {"v": 2}


# Many values


def filled(wire, scope, *keys):
    for key in keys:
        wire.call("state::set", {"scope": scope, "key": key, "value": key})
    return {"scope": scope}


def test_pages_go_on_behind_the_last_one_whatever_was_removed(wire, scope):
    at = filled(wire, scope, *"fbacde")
    first = wire.call("state::list", {**at, "limit": 2})
    assert first["items"] == ["f", "b"]
    wire.call("state::delete", {**at, "key": "b"})
    second = wire.call("state::list", {**at, "limit": 2, "cursor": first["next_cursor"], "with_ids": True})
    assert second["items"] == [{"id": "a", "value": "a"}, {"id": "c", "value": "c"}]
    assert wire.call("state::list", {**at, "limit": 2, "cursor": second["next_cursor"]}) == {"items": ["d", "e"], "next_cursor": None}
    assert wire.call("state::list", at) == ["f", "a", "c", "d", "e"]


def test_pages_by_name_and_prefix(wire, scope):
    at = filled(wire, scope, "b1", "a2", "a1", "a%", "ab", "")
    assert wire.call("state::list_keys", {**at, "order": "id", "limit": 3}) == {"keys": ["", "a%", "a1"], "next_cursor": "na1"}
    assert wire.call("state::list_keys", {**at, "order": "id", "cursor": "na1"}) == {"keys": ["a2", "ab", "b1"], "next_cursor": None}
    assert wire.call("state::list", {**at, "prefix": "a"}) == {"items": ["a2", "a1", "a%", "ab"], "next_cursor": None}
    assert wire.call("state::list_keys", {**at, "prefix": "a%"})["keys"] == ["a%"]
    assert wire.call("state::count", at) == {"count": 6}
    assert wire.call("state::count", {"scope": scope + "-none"}) == {"count": 0}
    names = [f"{scope}:{letter}" for letter in "cab"]
    for name in names:
        filled(wire, name, "k")
    page = wire.call("state::list_groups", {"prefix": f"{scope}:", "limit": 2})
    assert page["groups"] == sorted(names)[:2]
    assert wire.call("state::list_groups", {"prefix": f"{scope}:", "cursor": page["next_cursor"]}) == {"groups": sorted(names)[2:], "next_cursor": None}


@pytest.mark.parametrize("member", [{"limit": 0}, {"limit": 1001}, {"order": "size"}, {"cursor": "x1"}, {"cursor": "p-1"}, {"cursor": "p9", "order": "id"}], ids=["none", "many", "order", "cursor", "negative", "foreign"])
def test_a_page_that_makes_no_sense_is_named(wire, scope, member):
    assert wire.error_of("state::list", {"scope": scope, **member})["code"] == "deserialization_error"


def test_many_are_set_in_one_step_or_not_at_all(wire, scope):
    at = filled(wire, scope, "b")
    items = [{"key": "a", "value": 1}, {"key": "b", "value": 2}]
    assert wire.call("state::set_many", {**at, "items": items}) == {"items": [{"key": "a", "old_value": None, "new_value": 1}, {"key": "b", "old_value": "b", "new_value": 2}]}
    bad = [{"key": "c", "value": 1}, {"key": "a", "value": 5, "if_value": 7}]
    assert wire.error_of("state::set_many", {**at, "items": bad})["code"] == "CONFLICT"
    assert wire.call("state::get_many", {**at, "keys": ["c", "b", "none", "a"]}) == {"items": [{"key": "b", "value": 2}, {"key": "a", "value": 1}]}
    assert "twice" in wire.error_of("state::set_many", {**at, "items": [items[0], items[0]]})["message"]
    assert wire.error_of("state::set_many", {**at, "items": items * 501})["code"] == "LIMIT_EXCEEDED"
    many = [{"key": f"m{n}", "value": n} for n in range(1000)]
    revisions = [row["revision"] for row in wire.call("state::set_many", {**at, "items": many, "return_meta": True})["items"]]
    assert revisions == sorted(set(revisions)) and len(revisions) == 1000
    assert wire.call("state::get_many", {**at, "keys": [item["key"] for item in many]})["items"] == many


def test_a_whole_scope_is_removed(core, wire, scope):
    own = listener(core, scope)
    wire.call("state::set_many", {"scope": scope, "items": [{"key": f"k{n}", "value": n} for n in range(300)]})
    assert wire.call("state::delete_group", {"scope": scope}) == {"deleted": 300}
    assert wire.call("state::list", {"scope": scope}) == []
    assert wire.call("state::delete_group", {"scope": scope}) == {"deleted": 0}
    assert collections.Counter(event["event_type"] for event in heard(own, 600)) == {"state:created": 300, "state:deleted": 300}
    own.close()


# Triggers


def listener(core, scope, config=None, condition=None, key=None):
    """A worker whose function `<scope>::heard` gets events; the test answers."""
    own = core.connect()
    own.register(f"{scope}::heard")
    full = {"scope": scope, **({"key": key} if key else {}), **(config or {})}
    own.register_trigger("state", f"{scope}::heard", config=full)
    own.sync()
    return own


def heard(own, count: int) -> list[dict]:
    events = []
    for _ in range(count):
        call = own.expect("invokefunction")
        own.answer(call, None)
        events.append(call["data"])
    return events


def test_changes_of_a_key_are_told_with_both_values(core, wire, scope):
    own = listener(core, scope, key="k")
    at = {"scope": scope, "key": "k"}
    wire.call("state::set", {"scope": scope, "key": "other", "value": 0})
    wire.call("state::set", {**at, "value": 1})
    wire.call("state::update", {**at, "ops": []})
    wire.call("state::delete", at)
    wire.call("state::delete", at)
    event = {"type": "state", "scope": scope, "key": "k"}
    assert heard(own, 4) == [
        {**event, "event_type": "state:created", "old_value": None, "new_value": 1},
        {**event, "event_type": "state:updated", "old_value": 1, "new_value": 1},
        {**event, "event_type": "state:deleted", "old_value": 1, "new_value": None},
        {**event, "event_type": "state:deleted", "old_value": None, "new_value": None},
    ]
    own.close()


def test_unchanged_writes_are_silent_when_asked(core, wire, scope):
    own = listener(core, scope)
    at = {"scope": scope, "key": "k"}
    wire.call("state::set", {**at, "value": {"a": 1, "b": 2}})
    wire.call("state::set", {**at, "value": {"b": 2, "a": 1}, "skip_unchanged": True})
    wire.call("state::set", {**at, "value": {"b": 2, "a": 1.0}, "skip_unchanged": True})
    assert [event["event_type"] for event in heard(own, 2)] == ["state:created", "state:updated"]
    own.quiet()
    own.close()


@pytest.mark.parametrize("answer, runs", [(False, False), (True, True), (None, True), ("x", True), ({}, True), ("error", False)], ids=["false", "true", "null", "text", "object", "error"])
def test_a_condition_decides(core, wire, scope, answer, runs):
    own = core.connect()
    for name in ["heard", "asked", "last"]:
        own.register(f"{scope}::{name}")
    own.register_trigger("state", f"{scope}::heard", config={"scope": scope, "key": "k", "condition_function_id": f"{scope}::asked"})
    own.register_trigger("state", f"{scope}::last", config={"scope": scope, "key": "last"})
    own.sync()
    wire.call("state::set", {"scope": scope, "key": "k", "value": 1})
    call = own.expect("invokefunction", function_id=f"{scope}::asked")
    if answer == "error":
        own.answer(call, error={"code": "x", "message": "no"})
    else:
        own.answer(call, answer)
    if runs:
        assert own.expect("invokefunction", function_id=f"{scope}::heard")["data"] == call["data"]
    else:
        wire.call("state::set", {"scope": scope, "key": "last", "value": 1})
        own.expect("invokefunction", function_id=f"{scope}::last")
        own.quiet()
    own.close()


def test_a_trigger_registered_just_before_a_write_fires_for_it(core, scope):
    own = core.connect()
    own.register(f"{scope}::heard")
    for number in range(300):
        key = f"k{number}"
        trigger = own.register_trigger("state", f"{scope}::heard", config={"scope": scope, "key": key})
        invocation = own.invoke("state::set", {"scope": scope, "key": key, "value": number})
        call = own.expect("invokefunction")
        assert call["data"]["new_value"] == number
        own.answer(call, None)
        own.result_of(invocation)
        own.send({"type": "unregistertrigger", "id": trigger, "trigger_type": "state"})
    own.close()


def test_a_trigger_registered_twice_fires_once_and_never_after_its_end(core, wire, scope):
    own = core.connect()
    own.register(f"{scope}::heard")
    for _ in range(2):
        own.register_trigger("state", f"{scope}::heard", f"{scope}-t", config={"scope": scope})
    own.sync()
    wire.call("state::set", {"scope": scope, "key": "k", "value": 1})
    heard(own, 1)
    own.send({"type": "unregistertrigger", "id": f"{scope}-t", "trigger_type": "state"})
    own.sync()
    wire.call("state::set", {"scope": scope, "key": "k", "value": 2})
    wire.call("state::set", {"scope": scope, "key": "k", "value": 3})
    own.quiet()
    own.close()


@pytest.mark.parametrize("config, words", [({"scope": 5}, "'scope' must be a string"), ({"condition_function_id": 1}, "condition_function_id"), ([], "Failed to parse trigger config")], ids=["scope", "condition", "list"])
def test_a_config_that_is_none_is_refused(core, scope, config, words):
    own = core.connect()
    own.register(f"{scope}::heard")
    own.register_trigger("state", f"{scope}::heard", config=config)
    refused = own.expect("triggerregistrationresult")
    assert words in refused["error"]["message"]
    own.close()


def test_events_of_a_key_come_one_after_the_other_in_order(core, wire, scope):
    own = listener(core, scope)
    for number in range(50):
        wire.call("state::set", {"scope": scope, "key": "slow", "value": number})
    wire.call("state::set", {"scope": scope, "key": "quick", "value": 1})
    first = own.expect("invokefunction")
    assert first["data"]["key"] == "slow" and first["data"]["new_value"] == 0
    quick = own.expect("invokefunction")
    assert quick["data"]["key"] == "quick", "one key holds up no other"
    own.answer(quick, None)
    own.quiet()
    own.answer(first, None)
    assert [event["new_value"] for event in heard(own, 49)] == list(range(1, 50))
    own.close()


def test_a_handler_that_writes_what_it_listens_to_runs_once_at_a_time_and_can_be_ended(core, wire, scope):
    at = {"scope": scope, "key": "loop"}
    own = core.connect()
    own.register(f"{scope}::heard")
    trigger = own.register_trigger("state", f"{scope}::heard", config=at)
    own.sync()
    wire.call("state::set", {**at, "value": 0})
    for number in range(20):
        call = own.expect("invokefunction")
        assert call["data"]["new_value"] == number
        own.call("state::set", {**at, "value": number + 1})
        own.answer(call, None)
    call = own.expect("invokefunction")
    own.call("state::set", {**at, "value": 21})
    own.send({"type": "unregistertrigger", "id": trigger, "trigger_type": "state"})
    own.sync()
    own.answer(call, None)
    wire.call("state::set", {**at, "value": 22})
    own.quiet()
    own.close()


def test_a_failing_function_holds_up_no_other(core, wire, scope):
    own = core.connect()
    for name in ["bad", "good"]:
        own.register(f"{scope}::{name}")
        own.register_trigger("state", f"{scope}::{name}", config={"scope": scope})
    own.sync()
    wire.call("state::set", {"scope": scope, "key": "k", "value": 1})
    own.answer(own.expect("invokefunction", function_id=f"{scope}::bad"), error={"code": "x", "message": "no"})
    own.answer(own.expect("invokefunction", function_id=f"{scope}::good"), None)
    wire.call("state::set", {"scope": scope, "key": "k", "value": 2})
    own.expect("invokefunction", function_id=f"{scope}::bad")
    own.close()


# Time


def test_an_expired_value_is_gone_and_told_once(core, wire, scope):
    own = listener(core, scope)
    at = {"scope": scope, "key": "k"}
    wire.call("state::set", {**at, "value": 1, "ttl_ms": 300})
    wait_for(lambda: not has_result(wire, "state::get", at), "it expires")
    assert wire.call("state::list", {"scope": scope}) == [] and scope not in wire.call("state::list_groups", {})["groups"]
    assert wire.call("state::set", {**at, "value": 2, "if_revision": 0})["old_value"] is None
    events = heard(own, 3)
    assert [event["event_type"] for event in events] == ["state:created", "state:deleted", "state:created"]
    assert events[1]["old_value"] == 1 and events[1]["reason"] == "expired"
    own.quiet()
    own.close()


def test_a_value_without_readers_expires_by_itself(core, wire, scope):
    own = listener(core, scope)
    wire.call("state::set", {"scope": scope, "key": "k", "value": 1, "ttl_ms": 50})
    assert [event["event_type"] for event in heard(own, 2)] == ["state:created", "state:deleted"]
    own.close()


# The process


def state_entry(directory=None, **config) -> dict:
    return {"name": "iii-state", "config": config}


def test_settings_change_without_a_restart():
    with fleet(workers=[state_entry(max_value_bytes=10)]) as it:
        wire = it.connect()
        own = listener(it, "s")
        pid = it.pid_of("iii-state")
        error = wire.error_of("state::set", {"scope": "s", "key": "k", "value": "0123456789"})
        assert error == {"code": "VALUE_TOO_LARGE", "message": "value of 12 bytes exceeds the configured max_value_bytes limit of 10"}
        assert wire.error_of("state::update", {"scope": "s", "key": "k", "ops": [{"type": "set", "path": "abc", "value": 12345}]})["code"] == "VALUE_TOO_LARGE"
        entries = entries_of(it)
        entries[-1]["config"] = {"max_value_bytes": 12, "triggers_enabled": False}
        save(it, entries)
        wait_for(lambda: "error" not in wire.result_of(wire.invoke("state::set", {"scope": "s", "key": "k", "value": "0123456789"})), "the new limit is in force")
        own.quiet()
        assert it.pid_of("iii-state") == pid


def test_only_the_state_is_there(core, wire):
    assert wire.error_of("stream::get", {"stream_name": "a", "group_id": "b", "item_id": "c"})["code"] == "function_not_found"


@pytest.mark.parametrize(
    "config, words",
    [
        ({"adapter": {"name": "bridge"}}, ["bridge", "kv", "redis"]), ({"adapter": {"name": "kv", "config": {"store_method": "memory"}}}, ["store_method", "in_memory"]),
        ({"max_value_bytes": 0}, ["max_value_bytes"]), ({"trigger_enabled": True}, ["trigger_enabled", "triggers_enabled"]),
    ],
    ids=["adapter", "store_method", "range", "unknown"],
)
def test_a_configuration_that_cannot_work_is_named(tmp_path, config, words):
    (tmp_path / "config.yaml").write_text(json.dumps({"workers": [state_entry(**config)]}))
    done = run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode != 0
    for word in words:
        assert word in done.stdout + done.stderr


def test_what_is_in_memory_is_said_to_be_and_lost():
    memory = {"name": "kv", "config": {"store_method": "in_memory", "max_memory_bytes": 2000}}
    with fleet(workers=[state_entry(adapter=memory)]) as it:
        wire = it.connect()
        wire.call("state::set", {"scope": "s", "key": "k", "value": 1})
        assert wire.call("state::list_groups")["groups"] == ["s"]
        assert wire.error_of("state::set", {"scope": "s", "key": "long", "value": "x" * 2000})["code"] == "LIMIT_EXCEEDED"
        assert "lost when this process ends" in it.output()
        os.kill(it.pid_of("iii-state"), signal.SIGKILL)
        wait_for(lambda: wire.result_of(wire.invoke("state::list_groups", {})).get("result") == {"groups": []}, "a new process has nothing")


def test_a_second_process_on_one_directory_is_refused(tmp_path):
    kv = {"name": "kv", "config": {"file_path": str(tmp_path / "store")}}
    with fleet(workers=[state_entry(adapter=kv)]) as it:
        wire = it.connect()
        wire.call("state::set", {"scope": "s", "key": "k", "value": 1})
        other = Fleet(tmp_path, workers=[state_entry(adapter=kv)])
        other.spawn()
        try:
            wait_for(lambda: "in use by process" in other.output(), "the second one is told who has the store")
            assert str(tmp_path / "store") in other.output()
            assert wire.call("state::get", {"scope": "s", "key": "k"}) == 1
        finally:
            other.kill()


def test_files_of_the_reference_are_taken_over(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "users.bin").write_bytes(b'{"u1":{"n":9007199254740993},"u0":1.0}\xff\x00\x01')
    with fleet(workers=[state_entry(adapter={"name": "kv", "config": {"file_path": str(tmp_path / "store")}})]) as it:
        wire = it.connect()
        assert '"result":[{"n":9007199254740993},1.0]' in raw_call(wire, "state::list", '{"scope":"users"}')
        assert "taken over" in it.output()


def test_a_start_on_foreign_files_is_refused(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "users.bin").write_bytes(b"not json")
    it = Fleet(tmp_path, workers=[state_entry(adapter={"name": "kv", "config": {"file_path": str(tmp_path / "store")}})])
    it.spawn()
    try:
        wait_for(lambda: "users.bin" in it.output() and "move it away" in it.output(), "the start is refused with the file's name")
    finally:
        it.kill()


def test_an_orderly_end_leaves_a_clean_store(tmp_path):
    kv = {"name": "kv", "config": {"file_path": str(tmp_path / "store"), "durability": "relaxed"}}
    for number in range(2):
        with fleet(workers=[state_entry(adapter=kv)]) as it:
            wire = it.connect()
            assert len(wire.call("state::list", {"scope": "s"})) == 20 * number
            for key in range(20):
                wire.call("state::set", {"scope": "s", "key": f"{number}-{key}", "value": key})
        log = tmp_path / "store" / "store.db-wal"
        assert not log.exists() or log.stat().st_size == 0, "everything is in the database"


@pytest.mark.parametrize("seed", range(8))
def test_every_answered_write_survives_a_kill(tmp_path, seed):
    """Writers go on without a pause while the process is killed at a random moment, several times."""
    chance = random.Random(seed)
    kv = {"name": "kv", "config": {"file_path": str(tmp_path / "store"), "durability": chance.choice(["full", "normal"])}}
    with fleet(workers=[state_entry(adapter=kv)]) as it:
        answered: list[dict] = [{} for _ in range(4)]
        counted = [0]
        stop = threading.Event()

        def write(number: int):
            own = it.connect()
            attempt = 0
            while not stop.is_set():
                attempt += 1
                key = f"{number}-{attempt % 7}"
                value = {"writer": number, "attempt": attempt, "pad": "x" * (attempt % 3000)}
                if "error" not in own.result_of(own.invoke("state::set", {"scope": "s", "key": key, "value": value})):
                    answered[number][key] = attempt
            own.close()

        def count():
            own = it.connect()
            while not stop.is_set():
                if "error" not in own.result_of(own.invoke("state::update", {"scope": "s", "key": "n", "ops": [{"type": "increment", "path": "n", "by": 1}, {"type": "increment", "path": "m", "by": 1}]})):
                    counted[0] += 1
            own.close()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)] + [threading.Thread(target=count)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                before = sum(map(len, answered)) + counted[0]
                target = counted[0] + chance.randrange(5, 60)
                wait_for(lambda: counted[0] >= target, f"writes go on (from {before})", timeout=30)
                pid = it.rows()["iii-state"].get("pid")
                if pid:
                    os.kill(pid, signal.SIGKILL)
            target = counted[0] + 5
            wait_for(lambda: counted[0] >= target, "writes go on after the last kill", timeout=30)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        wire = it.connect()
        for number, keys in enumerate(answered):
            for key, attempt in keys.items():
                found = wire.call("state::get", {"scope": "s", "key": key})
                # A later write of the same key may have been done and not answered.
                assert found["attempt"] >= attempt and found["writer"] == number and found["pad"] == "x" * (found["attempt"] % 3000)
        total = wire.call("state::get", {"scope": "s", "key": "n"})
        assert total["n"] == total["m"] >= counted[0], "no half update"


# The reference


def test_the_lines_of_the_reference_do_what_they_say():
    """Every `iii-core trigger …  # answer` line of docs/reference/state.md, in order."""
    page = (ROOT / "docs/reference/state.md").read_text()
    lines = re.findall(r"^iii-core (trigger state::\S+ .*?)\s+# (.*)$", page, re.M)
    assert len(lines) >= 6
    with fleet(workers=[{"name": "iii-state"}]) as it:
        for command, answer in lines:
            done = it.cli(*[part.strip("'") for part in re.findall(r"'[^']*'|\S+", command)], "--port", str(it.port))
            assert json.loads(done.stdout or "null") == json.loads(answer), command


@pytest.mark.parametrize("example", ["python", "swift"])
def test_the_examples_count_visits(example, tmp_path):
    with fleet(http={}, workers=[{"name": "iii-state"}]) as it:
        command = [sys.executable, "-u", ROOT / "examples" / "python" / "visits.py"] if example == "python" else [BIN / "visits-worker"]
        log = open(tmp_path / "log", "w+b")
        worker = subprocess.Popen(command, env={**os.environ, "III_URL": it.url}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            url = f"{it.http_url}/visits/home"
            wait_for_http(url)
            while requests.get(url, timeout=10).json()["count"] < 10:
                pass
            # The Swift library's output is not flushed by line.
            if example == "python":
                wait_for(lambda: b"home has been seen ten times" in (tmp_path / "log").read_bytes(), "the listener heard of the tenth")
        finally:
            worker.kill()
            worker.wait()
            log.close()
