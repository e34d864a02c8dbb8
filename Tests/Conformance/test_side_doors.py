"""Nobody reaches the private contract, or a built-in's privileges, by having an id called on their behalf
(docs/reference/core-workers.md#what-privilege-means)."""

import json
import uuid

import pytest
from processes import http_status, running, wait_for_http
from wire import BUILTIN_SECRET, Fleet, builtin, wait_for

PRIVATE = ["builtin::iii-http::configure", "builtin::iii-http::drain", "core::fleet::stop"]
ON_BEHALF = [*PRIVATE, "engine::channels::create"]


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    directory = tmp_path_factory.mktemp("doors")
    (directory / "secret").write_text(BUILTIN_SECRET)
    # The configured middleware is what a forged `configure` would take away.
    with running(directory, http={"middleware": [{"function_id": "gate::keeper"}]}, env={"III_BUILTIN_TOKEN_FILE": str(directory / "secret")}) as it:
        yield it


def is_guarded(core) -> bool:
    """The gate of the configuration is not there, so nothing gets through to a handler."""
    wire = core.connect()
    try:
        wire.register("door::open")
        path = f"/guarded/{uuid.uuid4()}"
        trigger = wire.register_trigger("http", "door::open", config={"api_path": path})
        wait_for_http(f"{core.http_url}{path}", 500)
        wire.send({"type": "unregistertrigger", "id": trigger})
        return all(message["type"] != "invokefunction" for message in wire.sync())
    finally:
        wire.close()


@pytest.mark.parametrize("function", ON_BEHALF)
@pytest.mark.parametrize("kind", ["engine::functions-available", "engine::workers-available", "http", "unknown::type"])
def test_no_trigger_has_such_a_target(wires, core, kind, function):
    wire = wires()
    trigger = wire.register_trigger(kind, function, config={"api_path": "/x"})
    answer = wire.expect("triggerregistrationresult", id=trigger)
    assert answer["error"]["code"] == "trigger_registration_failed" and function in answer["error"]["message"]
    error = wire.error_of("engine::register_trigger", {"trigger_type": kind, "function_id": function, "config": {"api_path": "/x"}})
    assert error["code"] == "trigger_registration_failed" and function in error["message"]
    rows = wire.call("engine::registered-triggers::list", {"include_internal": True})["registered_triggers"]
    assert function not in {row["function_id"] for row in rows}


@pytest.mark.parametrize("function", ON_BEHALF)
@pytest.mark.parametrize("place", ["condition", "middleware", "nested", "metadata", "escaped"])
def test_no_config_and_no_metadata_names_one(wires, function, place):
    wire = wires()
    config, metadata = {"api_path": "/x"}, None
    match place:
        case "condition":
            config["condition_function_id"] = function
        case "middleware":
            config["middleware_function_ids"] = ["fine", function]
        case "nested":
            config["steps"] = [{"on_error": {"function_id": function}}]
        case "metadata":
            metadata = {"audit_function_id": function}
    wire.register("target::one")
    if place == "escaped":
        trigger = str(uuid.uuid4())
        hidden = "".join(f"\\u{ord(letter):04x}" for letter in function)
        wire.send('{"type":"registertrigger","id":"%s","trigger_type":"http","function_id":"target::one","config":{"api_path":"/x","condition\\u005ffunction_id":"%s"}}' % (trigger, hidden))
        config["condition_function_id"] = function
    else:
        trigger = wire.register_trigger("http", "target::one", config=config, metadata=metadata)
    assert function in wire.expect("triggerregistrationresult", id=trigger)["error"]["message"]
    durable = {"trigger_type": "http", "function_id": "target::one", "config": config, "metadata": metadata}
    assert function in wire.error_of("engine::register_trigger", durable)["message"]


@pytest.mark.parametrize("function", ON_BEHALF)
def test_nothing_private_is_enqueued(wires, function):
    queue, wire = wires(), wires()
    queue.register("engine::queue::enqueue")
    queue.sync()
    error = wire.error_of(function, {"config": {}}, action={"type": "enqueue", "queue": "q"})
    assert error["code"] == "enqueue_error" and function in error["message"]
    queue.quiet()


@pytest.mark.parametrize("function", PRIVATE)
def test_not_even_another_built_in_is_called_back_on_one(core, function):
    other = builtin(core, "other")
    try:
        assert function in other.error_of("core::channels::announce", {"prefix": "0" * 16, "function_id": function})["message"]
        assert function in other.error_of("core::registry::watch", {"function_id": function})["message"]
    finally:
        other.close()


@pytest.mark.parametrize("function", ["builtin::iii-http::configure", "builtin::iii-http::drain"])
def test_only_the_core_calls_what_takes_a_built_in_out_of_service(core, function):
    other = builtin(core, "other")
    try:
        assert other.error_of(function, {"deadline_ms": 1, "config": {}})["code"] == "function_not_found"
        # Nor can it be taken over.
        other.register(function)
        other.sync()
        assert other.error_of(function, {})["code"] == "function_not_found"
        other.quiet()
    finally:
        other.close()


def test_the_gate_of_the_configuration_stands_after_all_that(core, wires):
    """The reproduction of the fault: a worker-event trigger on `configure` put iii-http back to its defaults."""
    wire = wires()
    for kind in ("engine::functions-available", "engine::workers-available"):
        wire.error_of("engine::register_trigger", {"trigger_type": kind, "function_id": "builtin::iii-http::configure"})
    core.connect().close()
    wire.register("some::function")
    assert is_guarded(core)


def test_channels_of_http_requests_are_not_spent_by_a_route(core, wires):
    """Item 18: a channel belongs to the worker that asked for it, and a route's call has none."""
    wire = wires()
    trigger = wire.register_trigger("http", "engine::channels::create", config={"api_path": "/channels", "http_method": "POST"})
    message = wire.expect("triggerregistrationresult", id=trigger)["error"]["message"]
    assert "belong to nobody" in message and "your own" in message
    assert http_status(f"{core.http_url}/channels") == 404


def test_a_middleware_of_the_configuration_is_checked_likewise(tmp_path):
    it = Fleet(tmp_path, http={"middleware": [{"function_id": "core::fleet::stop"}]}).spawn()
    try:
        wait_for(lambda: "middleware[0].function_id: Function core::fleet::stop" in it.output(), "said at the start")
    finally:
        it.stop()
        it.kill()


# `_caller_worker_id`


@pytest.mark.parametrize(
    "text",
    [
        r'{"\u005fcaller_worker_id":"forged"}',
        r'{"x":1,"\u005Fcaller_worker_id":"forged","y":2}',
        r'{"_c\u0061ller_worker_id":"forged","_caller_worker_id":"forged"}',
        r'{"_caller_worker_i\u0064":"forged","n":{"\u005fcaller_worker_id":"kept"}}',
        r'{ "_caller_worker_id" : "a" , "\u005f\u0063\u0061\u006c\u006c\u0065\u0072\u005fworker_id" : {"b":[1]} , "_caller_worker_id":null}',
        r'{"a\\":"\\","\u005fcaller_worker_id":"forged"}',
        r'{"text":"é\u0041\n\"","_caller_worker\u005fid":1}',
    ],
)
def test_a_forged_caller_id_is_replaced_however_it_is_written(wires, text):
    worker, caller = wires(), wires()
    name = f"stamp::{uuid.uuid4()}"
    worker.register(name)
    worker.sync()
    caller.send('{"type":"invokefunction","invocation_id":"%s","function_id":"%s","data":%s}' % (uuid.uuid4(), name, text))
    frame = worker.ws.recv(timeout=10)
    assert "forged" not in frame
    # Every pair as it stands, so that a duplicate cannot hide behind the last one.
    pairs = []

    def keep(members):
        pairs.append(members)
        return dict(members)

    data = json.loads(frame, object_pairs_hook=keep)["data"]
    assert data["_caller_worker_id"] == caller.worker_id
    assert sum(name == "_caller_worker_id" for name, _ in next(p for p in pairs if dict(p) == data)) == 1
