"""Messages and the registry (docs/reference/worker-protocol.md)."""

import uuid

import pytest

from wire import Wire, fleet, wait_for


def echo(wires, name: str):
    """A worker hosting `name` and another one to call it from."""
    worker, caller = wires(), wires()
    worker.register(name)
    worker.sync()
    return worker, caller


def test_a_call_is_answered_once_under_the_callers_id(wires):
    worker, caller = echo(wires, "m::echo")
    invocation = caller.invoke("m::echo", {"x": 1})
    call = worker.expect("invokefunction")
    assert call["invocation_id"] == invocation
    worker.answer(call, {"y": 2})
    answer = caller.result_of(invocation)
    assert answer["function_id"] == "m::echo" and answer["result"] == {"y": 2}
    caller.quiet()


@pytest.mark.parametrize(
    "data, seen",
    [
        ({"x": 1}, {"x": 1, "_caller_worker_id": "ID"}),
        ({}, {"_caller_worker_id": "ID"}),
        ({"_caller_worker_id": "forged", "x": 1}, {"x": 1, "_caller_worker_id": "ID"}),
        ({"x": {"_caller_worker_id": "inner"}}, {"x": {"_caller_worker_id": "inner"}, "_caller_worker_id": "ID"}),
        ([1, 2], [1, 2]), ("text", "text"), (None, None), (7, 7), ([{"a": "}"}], [{"a": "}"}]),
    ],
)
def test_caller_id_goes_into_objects_only(wires, data, seen):
    worker, caller = echo(wires, "m::caller")
    caller.invoke("m::caller", data)
    if isinstance(seen, dict):
        seen = {**seen, "_caller_worker_id": caller.worker_id}
    assert worker.expect("invokefunction")["data"] == seen


@pytest.mark.parametrize("literal", ["9007199254740993", "18446744073709551615", "1.0", "1", "-0", "1e400", '"\\u00e9\\n"', '{"b":1,"a":2}', "{ }", '{"x" : 1 }'])
def test_payload_bytes_pass_unchanged(wires, literal):
    worker, caller = echo(wires, "m::bytes")
    caller.send('{"type":"invokefunction","invocation_id":"%s","function_id":"m::bytes","data":[%s]}' % (uuid.uuid4(), literal))
    assert f'"data":[{literal}]' in worker.ws.recv(timeout=10)


def test_missing_data_reads_as_null(wires):
    worker, caller = echo(wires, "m::nodata")
    caller.send({"type": "invokefunction", "invocation_id": str(uuid.uuid4()), "function_id": "m::nodata"})
    call = worker.expect("invokefunction")
    assert call["data"] is None
    worker.answer(call, 1)
    assert caller.expect("invocationresult")["result"] == 1


def test_call_without_id_gets_no_answer(wires):
    worker, caller = echo(wires, "m::noid")
    caller.send({"type": "invokefunction", "function_id": "m::noid", "data": {}})
    call = worker.expect("invokefunction")
    uuid.UUID(call["invocation_id"])
    worker.answer(call, 1)
    worker.sync()
    caller.quiet()


def test_void(wires):
    worker, caller = echo(wires, "m::void")
    caller.invoke("m::void", {"a": 1}, action={"type": "void"})
    call = worker.expect("invokefunction")
    assert "action" not in call
    worker.answer(call, 1)
    worker.sync()
    caller.invoke("m::unknown", {}, action={"type": "void"})
    caller.quiet()


def test_unknown_function(wires):
    error = wires().error_of("m::nope")
    assert error["code"] == "function_not_found" and error["message"] == "Function m::nope not found"


def test_namespaced_lookup_is_strict(wires):
    worker, caller = echo(wires, "m::ns")
    error = caller.error_of("m::ns", namespace="elsewhere")
    assert error["message"] == "Function m::ns not found in namespace elsewhere. It is registered in namespace(s): default."
    caller.invoke("m::ns", {}, namespace="default")
    worker.expect("invokefunction")


def test_error_body_passes_unchanged(wires):
    worker, caller = echo(wires, "m::fails")
    invocation = caller.invoke("m::fails")
    error = {"code": "custom", "message": "boom", "stacktrace": "line 1\nline 2"}
    worker.answer(worker.expect("invokefunction"), error=error)
    assert caller.result_of(invocation)["error"] == error


def test_null_and_absent_results_stay_apart(wires):
    worker, caller = echo(wires, "m::null")
    first = caller.invoke("m::null")
    worker.answer(worker.expect("invokefunction"), None)
    answer = caller.result_of(first)
    assert "result" in answer and answer["result"] is None
    second = caller.invoke("m::null")
    call = worker.expect("invokefunction")
    worker.send({"type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": "m::null"})
    assert "result" not in caller.result_of(second)


def test_callee_gone(wires):
    worker, caller = echo(wires, "m::dies")
    invocation = caller.invoke("m::dies")
    worker.expect("invokefunction")
    worker.close()
    error = caller.result_of(invocation)["error"]
    assert error["code"] == "invocation_stopped" and error["message"] == "Invocation stopped"


def test_caller_gone(core, wires):
    worker, caller = echo(wires, "m::orphan")
    caller.invoke("m::orphan")
    call = worker.expect("invokefunction")
    caller.close()
    other = wires()
    wait_for(lambda: other.call("engine::workers::list", {"worker_id": caller.worker_id})["workers"] == [], "the caller to be gone")
    worker.answer(call, 1)
    worker.quiet()


def test_foreign_result_is_ignored(wires):
    worker, caller = echo(wires, "m::mine")
    thief = wires()
    invocation = caller.invoke("m::mine")
    call = worker.expect("invokefunction")
    thief.answer(call, "stolen")
    thief.sync()
    worker.answer(call, "right")
    assert caller.result_of(invocation)["result"] == "right"


def test_colliding_ids_do_not_break_each_other(wires):
    worker, a = echo(wires, "m::same")
    b = wires()
    shared = str(uuid.uuid4())
    a.invoke("m::same", {"who": "a"}, shared)
    first = worker.expect("invokefunction")
    b.invoke("m::same", {"who": "b"}, shared)
    second = worker.expect("invokefunction")
    assert first["invocation_id"] == shared != second["invocation_id"]
    worker.answer(second, "b")
    worker.answer(first, "a")
    assert a.result_of(shared)["result"] == "a" and b.result_of(shared)["result"] == "b"


def test_newest_owner_serves_and_the_older_one_takes_over_again(wires):
    a, b, caller = wires(), wires(), wires()
    for wire in (a, b):
        wire.register("m::owned")
        wire.sync()
    caller.invoke("m::owned")
    b.expect("invokefunction")
    a.quiet()
    b.close()
    wait_for(lambda: caller.call("engine::workers::list", {"worker_id": b.worker_id})["workers"] == [], "b to be gone")
    caller.invoke("m::owned")
    a.expect("invokefunction")


def test_the_older_owner_may_leave_first(wires):
    a, b, caller = wires(), wires(), wires()
    for wire in (a, b):
        wire.register("m::older")
        wire.sync()
    a.close()
    wait_for(lambda: caller.call("engine::workers::list", {"worker_id": a.worker_id})["workers"] == [], "a to be gone")
    caller.invoke("m::older")
    b.expect("invokefunction")


@pytest.mark.parametrize("policy, expected", [("round_robin", {0: 4, 1: 4, 2: 4}), ("least_pending", {0: 4, 1: 4, 2: 4})])
def test_replicas_share_load_when_asked_to(wires, policy, expected):
    workers = [wires() for _ in range(3)]
    for worker in workers:
        worker.register(f"m::{policy}", metadata={"invocation_policy": policy})
        worker.sync()
    caller = wires()
    for _ in range(12):
        caller.invoke(f"m::{policy}")
    caller.sync()
    seen = {i: sum(1 for m in w.sync() if m["type"] == "invokefunction") for i, w in enumerate(workers)}
    assert seen == expected


def test_unregister(wires):
    worker, caller = echo(wires, "m::gone")
    wires().send({"type": "unregisterfunction", "id": "m::gone"})
    worker.send({"type": "unregisterfunction", "id": "m::gone"})
    worker.sync()
    assert caller.error_of("m::gone")["code"] == "function_not_found"


def test_unregister_by_another_worker_changes_nothing(wires):
    worker, caller = echo(wires, "m::kept")
    other = wires()
    other.send({"type": "unregisterfunction", "id": "m::kept"})
    other.sync()
    caller.invoke("m::kept")
    worker.expect("invokefunction")


def test_registrations_take_effect_before_the_next_message(wires):
    wire = wires()
    for i in range(200):
        wire.register(f"m::burst::{i}")
    invocation = wire.invoke("m::burst::199", [])
    wire.answer(wire.expect("invokefunction"), "done")
    assert wire.result_of(invocation)["result"] == "done"


def test_calls_reach_a_callee_in_order(wires):
    worker, caller = echo(wires, "m::order")
    for i in range(500):
        caller.invoke("m::order", [i])
    assert [worker.expect("invokefunction")["data"][0] for _ in range(500)] == list(range(500))


def test_services_are_accepted(wires):
    wire = wires()
    wire.send({"type": "registerservice", "id": "svc", "name": "Service"})
    wire.send({"type": "registerservice", "id": "svc2"})
    wire.quiet()


def test_unknown_fields_are_ignored(wires):
    wire = wires()
    wire.send({"type": "registerfunction", "message_type": "registerfunction", "foo": {"a": [1]}, "id": "m::extra"})
    invocation = wire.invoke("m::extra", [], message_type="x", foo=None)
    wire.answer(wire.expect("invokefunction"), 1, foo=3)
    assert wire.result_of(invocation)["result"] == 1


@pytest.mark.parametrize("form", ["{hex}", "urn:uuid:{text}", "{{{text}}}", "{upper}"])
def test_invocation_ids_are_read_in_every_form(wires, form):
    worker, caller = echo(wires, "m::ids")
    invocation = uuid.uuid4()
    caller.invoke("m::ids", [], form.format(hex=invocation.hex, text=invocation, upper=str(invocation).upper()))
    call = worker.expect("invokefunction")
    assert call["invocation_id"] == str(invocation)
    worker.answer(call, 1)
    assert caller.result_of(str(invocation))["result"] == 1


@pytest.mark.parametrize("fields", [{"function_id": 3}, {"function_id": None}, {"action": {"type": "explode"}}, {"action": "void"}, {"traceparent": 5}, {"baggage": {}}, {"tracestate": 1}, {"namespace": 1}])
def test_an_undecodable_call_with_an_id_is_answered(wires, fields):
    wire = wires()
    invocation = str(uuid.uuid4())
    wire.send({"type": "invokefunction", "invocation_id": invocation, "function_id": "f", "data": {}, **fields})
    assert wire.result_of(invocation)["error"]["code"] == "invalid_message"


def test_trace_context_and_metadata_pass_through(wires):
    worker, caller = echo(wires, "m::trace")
    context = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "tenant=a"}
    state = {"tracestate": "vendor=1"}
    invocation = caller.invoke("m::trace", [], metadata={"m": [1]}, **context, **state)
    call = worker.expect("invokefunction")
    assert {k: call[k] for k in context | state} == context | state and call["metadata"] == {"m": [1]}
    worker.answer(call, 1)
    answer = caller.result_of(invocation)
    assert {k: answer[k] for k in context} == context


def test_absent_optionals_are_omitted(wires):
    worker, caller = echo(wires, "m::plain")
    caller.invoke("m::plain", [], traceparent=None, baggage=None, metadata=None, action=None, namespace=None)
    assert set(worker.expect("invokefunction")) == {"type", "invocation_id", "function_id", "data"}


def test_enqueue_without_a_queue(wires):
    error = wires().error_of("m::any", {}, action={"type": "enqueue", "queue": "q"})
    assert error == {"code": "enqueue_error", "message": "QueueModule not loaded"}


def test_enqueue_goes_to_whoever_provides_the_queue(wires):
    queue, caller = wires(), wires()
    queue.register("engine::queue::enqueue")
    queue.sync()
    invocation = caller.invoke("mail::send", {"to": "a"}, action={"type": "enqueue", "queue": "mail"}, baggage="b=1")
    call = queue.expect("invokefunction")
    receipt = call["data"]["messageReceiptId"]
    assert call["data"] == {"queue": "mail", "function_id": "mail::send", "data": {"to": "a"}, "messageReceiptId": receipt, "traceparent": None, "baggage": "b=1"}
    queue.answer(call, None)
    answer = caller.result_of(invocation)
    assert answer["result"] == {"messageReceiptId": receipt} and answer["baggage"] == "b=1"
    refused = caller.invoke("mail::send", {}, action={"type": "enqueue", "queue": "mail"})
    queue.answer(queue.expect("invokefunction"), error={"code": "full", "message": "queue is full"})
    assert caller.result_of(refused)["error"] == {"code": "enqueue_error", "message": "queue is full"}


def test_an_old_python_sdk_is_not_sent_what_would_kill_it(wires):
    """Its library closes the connection on more than 1 MiB."""
    worker, caller = echo(wires, "m::python")
    worker.call("engine::workers::register", {"runtime": "python", "version": "0.11.6", "pid": 1})
    big = "x" * (1 << 20)
    assert caller.error_of("m::python", {"text": big})["code"] == "payload_too_large"
    worker.quiet()
    caller.register("m::bigresult")
    caller.sync()
    invocation = worker.invoke("m::bigresult", [])
    caller.answer(caller.expect("invokefunction"), big)
    assert worker.result_of(invocation)["error"]["code"] == "payload_too_large"
    worker.call("engine::workers::register", {"runtime": "python", "version": "0.25.0", "pid": 1})
    caller.invoke("m::python", {"text": big})
    worker.expect("invokefunction")


def test_core_and_builtin_ids_are_not_for_everyone(wires):
    wire = wires()
    for name in ("core::x", "builtin::x::drain", "engine::functions::list"):
        wire.register(name)
    wire.sync()
    assert wire.error_of("core::x")["code"] == "function_not_found"
    assert wire.error_of("core::metrics::snapshot")["code"] == "function_not_found"
    assert "functions" in wire.call("engine::functions::list", {})


def test_limits_refuse_and_count():
    manager = {"max_functions_per_worker": 2, "max_triggers_per_worker": 1, "max_trigger_types_per_worker": 1, "max_in_flight": 2}
    with fleet(manager=manager) as it:
        wire, caller = it.connect(), it.connect()
        for name in ("a", "b", "c"):
            wire.register(name)
        wire.sync()
        assert caller.error_of("c")["code"] == "function_not_found"
        for _ in range(2):
            caller.invoke("a")
        error = caller.error_of("a")
        assert error["code"] == "too_many_in_flight" and "max_in_flight" in error["message"]
        wire.answer(wire.expect("invokefunction"), 1)
        wire.sync()
        caller.invoke("b")
        wire.expect("invokefunction", function_id="b")
        wire.register_type("t1")
        wire.register_type("t2")
        wire.register_trigger("t1", "a")
        refused = wire.register_trigger("t1", "a")
        assert wire.expect("triggerregistrationresult", id=refused)["error"]["code"] == "trigger_registration_failed"
        assert [t["id"] for t in caller.call("engine::trigger-types::list", {})["trigger_types"]] == ["t1"]
        for line in ("max_functions_per_worker is 2", "max_trigger_types_per_worker is 1", "max_triggers_per_worker is 1"):
            wait_for(lambda: line in it.output(), line)
