"""Access rules of a listener (docs/reference/access.md): who may connect, call, see, bind and register, and what hostile clients reach."""

import json
import threading
import time
import uuid

import pytest
from processes import http_status, running, wait_for_http
from websockets.exceptions import ConnectionClosed
from wire import BUILTIN_SECRET, RawSocket, Wire, builtin, free_port, metrics, wait_for

AUTH = "access::auth"


def rules(**changes) -> dict:
    return {"auth_function_id": AUTH, "expose_functions": ['match("open::*")', 'match("engine::functions::*")', {"metadata": {"public": True, "tier": 'match("free*")'}}], **changes}


def listener(**config) -> dict:
    return {"name": "iii-worker-manager", "config": {"host": "127.0.0.1", "port": free_port(), **config}}


class Gate(threading.Thread):
    """A trusted worker that answers auth and hooks from a table, in the background."""

    def __init__(self, it, **answers):
        super().__init__(daemon=True)
        self.wire = it.connect()
        self.answers = {name.replace("__", "::").replace("_", "-"): answer for name, answer in answers.items()}
        self.calls = {name: [] for name in self.answers}
        for name in self.answers:
            self.wire.register(name)
        self.wire.settle()
        self.start()

    def run(self):
        try:
            while True:
                message = self.wire.recv(timeout=None)
                if message["type"] != "invokefunction":
                    continue
                name = message["function_id"]
                self.calls[name].append(message["data"])
                answer = self.answers[name]
                answer = answer(message["data"]) if callable(answer) else answer
                if answer is SILENCE:
                    continue
                if isinstance(answer, Exception):
                    self.wire.answer(message, error={"code": "invocation_failed", "message": str(answer)})
                elif answer is NOTHING:
                    self.wire.send({"type": "invocationresult", "invocation_id": message["invocation_id"], "function_id": name})
                else:
                    self.wire.answer(message, answer)
        except (ConnectionClosed, OSError):
            pass

    def close(self):
        self.wire.close()
        self.join(10)


SILENCE, NOTHING = object(), object()


def grant_by_token(data):
    token = (data["headers"].get("authorization") or (data["query_params"].get("token") or [""])[0]).removeprefix("Bearer ")
    grants = {
        "plain": {"context": {"user": "plain"}},
        "nulls": {"allowed_functions": None, "forbidden_functions": None, "allowed_trigger_types": None, "allow_function_registration": None, "context": None},
        "admin": {"allowed_functions": ["secret::one", 'match("admin::*")'], "forbidden_functions": ["open::closed"], "allow_trigger_type_registration": True},
        "types": {"allowed_trigger_types": ["kind::fine"]},
        "mute": {"allow_function_registration": False},
        "prefixed": {"function_registration_prefix": "tenant", "context": {"user": "p"}},
        "spaced": {"namespaces": {"blue": ["svc::*"]}},
    }
    if token == "hang":
        return SILENCE
    if token == "nothing":
        return NOTHING
    if token == "odd":
        return {"allowed_functions": "all"}
    return grants.get(token, PermissionError("unknown token"))


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    directory = tmp_path_factory.mktemp("access")
    (directory / "secret").write_text(BUILTIN_SECRET)
    ruled = listener(rbac=rules(timeout_ms=1_500))
    hooked = listener(rbac=rules(on_function_registration_function_id="hook::function", on_trigger_registration_function_id="hook::trigger", on_trigger_type_registration_function_id="hook::type", timeout_ms=1_500))
    diverted = listener(middleware_function_id="mid::ware", rbac=rules())
    half = listener(middleware_function_id="mid::ware")
    with running(directory, http={}, workers=[ruled, hooked, diverted, half, {"name": "iii-state", "config": {"adapter": {"name": "kv", "config": {"store_method": "in_memory"}}}}], env={"III_BUILTIN_TOKEN_FILE": str(directory / "secret")}) as it:
        it.ruled, it.hooked, it.diverted, it.half = (entry["config"]["port"] for entry in (ruled, hooked, diverted, half))
        yield it


@pytest.fixture(scope="module", autouse=True)
def gate(core):
    gate = Gate(core, access__auth=grant_by_token)
    yield gate
    gate.close()


@pytest.fixture
def trusted(core):
    wire = core.connect()
    yield wire
    wire.close()


@pytest.fixture
def client(core):
    wires = []

    def connect(token: str = "plain", port: int | None = None, **options) -> Wire:
        wires.append(Wire(port or core.ruled, additional_headers={"Authorization": f"Bearer {token}"}, **options).hello())
        return wires[-1]

    yield connect
    for wire in wires:
        wire.close()


def fresh(prefix: str) -> str:
    return f"{prefix}::{uuid.uuid4().hex[:12]}"


# Connecting.


@pytest.mark.parametrize("path", ["/", "/otel"])
@pytest.mark.parametrize(("token", "text"), [("forged", "unknown token"), ("nothing", "auth function returned no result"), ("odd", "'allowed_functions'"), ("hang", "did not answer within 1500 ms")])
def test_whom_the_auth_function_does_not_let_in_gets_the_reason_and_a_close(core, path, token, text):
    wire = Wire(core.ruled, path, additional_headers={"Authorization": f"Bearer {token}"})
    message = wire.recv()
    assert message["type"] == "error" and message["error"]["code"] == "AUTH_ERROR" and text in message["error"]["message"]
    with pytest.raises(ConnectionClosed) as closed:
        wire.recv()
    assert closed.value.rcvd.code == 1008
    wire.close()


def test_a_missing_auth_function_lets_nobody_in(tmp_path):
    ruled = listener(rbac={"auth_function_id": "nobody::home"})
    with running(tmp_path, workers=[ruled]) as it:
        wire = Wire(ruled["config"]["port"])
        assert "Function nobody::home not found" in wire.recv()["error"]["message"]
        with pytest.raises(ConnectionClosed):
            wire.recv()
        # An open listener beside it is not touched.
        it.connect().close()


def test_the_auth_function_is_asked_with_headers_query_and_address(core, gate, client):
    gate.calls[AUTH].clear()
    Wire(core.ruled, "/?token=pl%61in&x=1&x=2&flag&plus=a+b&broken=%zz&=gone", additional_headers={"X-Thing": "a"}).hello().close()
    (asked,) = gate.calls[AUTH]
    assert asked["query_params"] == {"token": ["plain"], "x": ["1", "2"], "flag": [""], "plus": ["a+b"], "broken": ["%zz"]}
    assert asked["headers"]["x-thing"] == "a" and all(name == name.lower() for name in asked["headers"])
    assert asked["ip_address"] == "127.0.0.1" and "_caller_worker_id" not in asked


def test_nothing_comes_before_the_decision_and_what_was_sent_meanwhile_counts(core, client):
    raw = RawSocket(core.ruled, {"Authorization": "Bearer plain"}, greets=False)
    raw.frame(0x1, json.dumps({"type": "ping"}).encode())
    assert json.loads(raw.read_frame()[1])["type"] == "workerregistered"
    assert json.loads(raw.read_frame()[1]) == {"type": "pong"}
    raw.close()


def test_null_in_a_grant_is_its_default(client, trusted):
    wire = client("nulls")
    wire.register(name := fresh("open"))
    wire.settle()
    call = trusted.invoke(name)
    wire.answer(wire.expect("invokefunction", function_id=name), 1)
    assert trusted.result_of(call)["result"] == 1


def test_a_hanging_auth_function_holds_up_nobody_else(core, client, trusted):
    hanging = [Wire(core.ruled, additional_headers={"Authorization": "Bearer hang"}) for _ in range(20)]
    wire = client()
    wire.settle()
    trusted.settle()
    for one in hanging:
        assert one.recv()["error"]["code"] == "AUTH_ERROR"
        one.close()
    # Calls that were given up hold nothing either.
    assert wait_for(lambda: metrics(core)["calls_in_flight"] <= 1, "no call is left")


def test_a_client_that_leaves_before_the_decision_was_never_there(core, trusted):
    raw = RawSocket(core.ruled, {"Authorization": "Bearer hang"}, greets=False)
    name = fresh("early")
    raw.frame(0x1, json.dumps({"type": "registerfunction", "id": name}).encode())
    raw.close()
    wait_for(lambda: metrics(core)["authentications_failed"] >= 0, "the engine answers")
    rows = trusted.call("engine::functions::list", {"prefix": name})["functions"]
    assert rows == []


def test_channels_need_their_key_and_no_grant(core, client):
    wire = client()
    refs = wire.call("engine::channels::create", {})
    reader, writer = refs["reader"], refs["writer"]
    path = lambda ref, dir: f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={dir}"  # noqa: E731
    out, into = Wire(core.ruled, path(reader, "read")), Wire(core.port, path(writer, "write"))
    into.ws.send("over")
    assert out.ws.recv(timeout=10) == "over"
    out.close(), into.close()


# Calling.


def test_calls_need_exposure(client, trusted):
    trusted.register(hidden := fresh("hidden"))
    trusted.register(shown := fresh("open"))
    trusted.register(free := fresh("meta"), metadata={"public": True, "tier": "freemium"})
    trusted.register(paid := fresh("meta"), metadata={"public": True, "tier": "gold"})
    trusted.settle()
    wire = client()
    for name in (hidden, paid, fresh("nowhere")):
        for extra in ({}, {"action": {"type": "enqueue", "queue": "default"}}):
            error = wire.error_of(name, {}, **extra)
            assert error == {"code": "FORBIDDEN", "message": f"function '{name}' not allowed (add to rbac.expose_functions)"}
    # Said to those who did not ask, too.
    wire.send({"type": "invokefunction", "function_id": hidden, "data": {}, "action": {"type": "void"}})
    assert wire.expect("invocationresult")["error"]["code"] == "FORBIDDEN"
    for name in (shown, free):
        call = wire.invoke(name, {"a": 1})
        trusted.answer(trusted.expect("invokefunction", function_id=name), {"b": 2})
        assert wire.result_of(call)["result"] == {"b": 2}
    assert wire.error_of(fresh("open"))["code"] == "function_not_found"
    trusted.quiet()


def test_allowed_and_forbidden_functions_of_the_grant(client, trusted):
    for name in ("secret::one", "admin::any", "open::closed"):
        trusted.register(name)
    trusted.settle()
    wire = client("admin")
    for name in ("secret::one", "admin::any"):
        call = wire.invoke(name)
        trusted.answer(trusted.expect("invokefunction", function_id=name))
        assert "error" not in wire.result_of(call)
    assert wire.error_of("open::closed")["message"] == "function 'open::closed' not allowed (remove from rbac.forbidden_functions)"
    assert client().error_of("secret::one")["code"] == "FORBIDDEN"


def test_what_sdks_need_is_never_forbidden(client):
    wire = client()
    assert wire.call("engine::workers::register", {"runtime": "python", "version": "0.11.6", "pid": 1, "name": "me"}) == {"success": True}
    assert wire.call("engine::channels::create", {})["reader"]["direction"] == "read"
    assert wire.error_of("engine::log::info", {"message": "x"})["code"] in ("function_not_found",)
    assert wire.error_of("engine::workers::list")["code"] == "FORBIDDEN"


def test_a_built_in_calls_nobody_on_behalf_of_who_may_not(core, client):
    """`engine::register_trigger` and the functions of built-ins that call one named in their input."""
    keeper = builtin(core)
    keeper.register("open::enqueue")
    keeper.settle()
    wire = client()
    assert wire.error_of("open::enqueue", {"queue": "q", "function_id": "hidden::target", "data": {}})["code"] == "FORBIDDEN"
    call = wire.invoke("open::enqueue", {"queue": "q", "function_id": "open::target", "data": {}})
    keeper.answer(keeper.expect("invokefunction"), "ok")
    assert wire.result_of(call)["result"] == "ok"
    keeper.close()


def test_a_caller_id_cannot_be_forged(client, trusted):
    trusted.register(name := fresh("open"))
    trusted.settle()
    wire = client()
    for text in ('{"_caller_worker_id":"admin","a":1}', '{"\\u005fcaller_worker_id":"admin"}', '{"a":{},"_caller_worker_id":null,"_caller_worker_id":"x"}'):
        wire.send(f'{{"type":"invokefunction","function_id":"{name}","data":{text}}}')
        assert trusted.expect("invokefunction")["data"]["_caller_worker_id"] == wire.worker_id


def test_results_of_foreign_calls_are_ignored(client, trusted):
    trusted.register(name := fresh("open"))
    trusted.settle()
    caller, forger = client(), client()
    call = caller.invoke(name)
    real = trusted.expect("invokefunction")
    forger.send({"type": "invocationresult", "invocation_id": real["invocation_id"], "function_id": name, "result": "forged"})
    forger.settle()
    trusted.answer(real, "real")
    assert caller.result_of(call)["result"] == "real"


# Listings.


def test_listings_show_what_may_be_called_and_what_is_ones_own(core, client, trusted):
    trusted.call("engine::workers::register", {"runtime": "python", "pid": 7, "name": (mine := fresh("trusted"))})
    trusted.register(hidden := fresh("hidden"))
    trusted.register(shown := fresh("open"))
    trusted.register_trigger("kind::secret", shown, config={"password": "x"})
    trusted.settle()
    wire = Wire(core.ruled, additional_headers={"Authorization": "Bearer admin"}).hello()
    listed = {row["function_id"] for row in wire.call("engine::functions::list", {"include_internal": True})["functions"]}
    assert shown in listed and hidden not in listed and AUTH not in listed
    assert "engine::functions::list" in listed and "engine::workers::list" not in listed
    assert wire.error_of("engine::functions::info", {"function_id": hidden})["code"] == "FORBIDDEN"
    assert wire.error_of("engine::functions::info", {"function_id": fresh("nowhere")})["code"] == "FORBIDDEN"
    detail = wire.call("engine::functions::info", {"function_ids": [shown, hidden]})["functions"]
    assert detail[0]["registered_triggers"] == [] and detail[1] == {"function_id": hidden, "error": "forbidden"}
    wire.close()
    assert mine


def test_workers_and_triggers_of_others_stay_hidden(tmp_path):
    ruled = listener(rbac={"expose_functions": ['match("open::*")', 'match("engine::*")']})
    with running(tmp_path, workers=[ruled]) as it:
        trusted, wire, stranger = it.connect(), Wire(ruled["config"]["port"]).hello(), it.connect()
        for one, name in ((trusted, "serves"), (stranger, "stranger"), (wire, "me")):
            one.call("engine::workers::register", {"runtime": "python", "pid": 7, "name": name, "os": "Linux"})
        trusted.register("open::a")
        trusted.register("hidden::a")
        durable = trusted.call("engine::register_trigger", {"trigger_type": "kind::x", "function_id": "open::a", "config": {"password": 1}})["id"]
        trusted.register_trigger("kind::x", "open::a", config={"password": 2})
        trusted.settle()
        own = wire.register_trigger("kind::x", "open::a", config={"mine": 1})
        rows = {row["name"]: row for row in wire.call("engine::workers::list")["workers"] if row["runtime"] == "python"}
        assert set(rows) == {"serves", "me"}
        assert rows["serves"]["functions"] == ["open::a"] and rows["serves"]["ip_address"] is None and rows["serves"]["os"] is None and "pid" not in rows["serves"]
        assert rows["me"]["pid"] == 7 and rows["me"]["ip_address"] == "127.0.0.1"
        assert wire.call("engine::workers::list", {"worker_id": stranger.worker_id})["workers"] == []
        assert wire.error_of("engine::workers::info", {"name": "stranger"})["code"] == "NOT_FOUND"
        for function, key in (("engine::triggers::list", "triggers"), ("engine::registered-triggers::list", "registered_triggers")):
            assert [row["id"] for row in wire.call(function)[key]] == [own]
        assert wire.error_of("engine::registered-triggers::info", {"id": durable})["code"] == "NOT_FOUND"
        assert wire.call("engine::unregister_trigger", {"id": durable}) == {"removed": False}
        # Events show no more than listings do.
        wire.register("tell")
        wire.register_trigger("engine::functions-available", "tell")
        wire.register_trigger("engine::workers-available", "tell")
        trusted.register("hidden::b")
        trusted.register("open::b")
        event = wire.expect("invokefunction", function_id="tell")["data"]
        assert event["event"] == "functions_changed"
        ids = {row["function_id"] for row in event["functions"]}
        assert "open::b" in ids and "hidden::b" not in ids
        it.connect().close()
        wire.settle()
        assert not [m for m in wire.inbox if m["type"] == "invokefunction" and m["data"]["event"] == "worker_connected"]
        for one in (trusted, wire, stranger):
            one.close()


# Triggers.


def refusal_of(wire: Wire, trigger: str) -> dict:
    return wire.expect("triggerregistrationresult", id=trigger)["error"]


@pytest.mark.parametrize("place", ["target", "condition", "nested", "metadata"])
def test_a_trigger_names_nothing_that_its_registrant_may_not_call(client, place):
    wire = client()
    config, metadata, target = {"api_path": "/x"}, {}, "open::fine"
    match place:
        case "target":
            target = "hidden::f"
        case "condition":
            config["condition_function_id"] = "hidden::f"
        case "nested":
            config["more"] = [{"middleware_function_ids": ["open::fine", "hidden::f"]}]
        case "metadata":
            metadata["on_error_function_id"] = "hidden::f"
    error = refusal_of(wire, wire.register_trigger("http", target, config=config, metadata=metadata))
    assert error["code"] == "FORBIDDEN" and "hidden::f" in error["message"]


def test_own_functions_may_be_bound_until_somebody_else_serves_them(core, client, trusted):
    wire = client()
    own, path = fresh("mine"), f"/{uuid.uuid4().hex}"
    wire.register(own)
    trigger = wire.register_trigger("http", own, config={"api_path": path})
    wire.settle()
    rows = trusted.call("engine::registered-triggers::list", {"function_id": own})["registered_triggers"]
    assert [row["id"] for row in rows] == [trigger]
    trusted.register(own)
    assert refusal_of(wire, trigger)["code"] == "FORBIDDEN"
    assert trusted.call("engine::registered-triggers::list", {"function_id": own})["registered_triggers"] == []
    wait_for_http(f"{core.http_url}{path}", 404)


def test_trigger_types_of_the_grant(client):
    wire = client("types")
    assert refusal_of(wire, wire.register_trigger("kind::other", "open::f"))["message"] == "trigger type 'kind::other' not allowed (add to allowed_trigger_types)"
    wire.register_trigger("kind::fine", "open::f")
    wire.quiet()


def test_foreign_triggers_can_be_neither_replaced_nor_removed(client, trusted):
    theirs = trusted.register_trigger("kind::x", "open::f", config={"a": 1})
    trusted.settle()
    wire = client("prefixed")
    wire.send({"type": "unregistertrigger", "id": theirs})
    wire.register("f")
    wire.register_trigger("kind::x", "f", trigger_id=theirs, config={"stolen": True})
    assert refusal_of(wire, theirs)["code"] == "FORBIDDEN"
    rows = trusted.call("engine::registered-triggers::list", {"trigger_type": "kind::x"})["registered_triggers"]
    assert [row["config"] for row in rows if row["id"] == theirs] == [{"a": 1}]


def test_a_reconnect_may_replay_its_triggers_before_the_old_socket_is_gone(client, trusted):
    old = client()
    trigger = old.register_trigger("kind::y", "open::f", config={"n": 1})
    old.settle()
    new = client()
    new.register_trigger("kind::y", "open::f", trigger_id=trigger, config={"n": 1})
    new.quiet()
    old.close()
    new.settle()
    assert [row["id"] for row in trusted.call("engine::registered-triggers::list", {"trigger_type": "kind::y"})["registered_triggers"]] == [trigger]


# Registering.


def test_a_function_of_somebody_without_rules_cannot_be_taken_over(client, trusted):
    trusted.register(name := fresh("orders"))
    trusted.settle()
    wire, caller = client(), client("admin")
    wire.register(name)
    wire.register(AUTH)
    wire.register("engine::queue::enqueue")
    wire.register("iii::anything")
    wire.settle()
    listed = {row["function_id"]: row for row in trusted.call("engine::functions::list", {"include_internal": True})["functions"]}
    assert "engine::queue::enqueue" not in listed and "iii::anything" not in listed
    call = trusted.invoke(name)
    assert trusted.expect("invokefunction", function_id=name)
    wire.quiet()
    assert call and caller


def test_whoever_squatted_an_id_is_gone_when_its_owner_comes(client, trusted):
    wire = client()
    wire.register(name := fresh("orders"))
    wire.settle()
    trusted.register(name)
    trusted.settle()
    trusted.send({"type": "unregisterfunction", "id": name})
    assert trusted.error_of(name)["code"] == "function_not_found"


def test_functions_that_decide_about_access_cannot_be_squatted(tmp_path):
    ruled = listener(rbac={"expose_functions": []})
    guarded = listener(rbac={"auth_function_id": "late::auth"})
    with running(tmp_path, workers=[ruled, guarded]) as it:
        wire = Wire(ruled["config"]["port"]).hello()
        wire.register("late::auth")
        wire.settle()
        victim = Wire(guarded["config"]["port"])
        assert "not found" in victim.recv()["error"]["message"]
        wire.quiet()
        wire.close(), victim.close()
        assert "registration_refused" in it.output() and "late::auth" in it.output()


def test_secrets_of_the_engine_are_not_for_http_functions_of_the_restricted(client, trusted):
    wire = client()
    wire.register(name := fresh("leak"), invocation={"url": "https://example.org/", "auth": {"type": "bearer", "token_key": "HOME"}})
    wire.settle()
    assert trusted.call("engine::functions::list", {"prefix": name})["functions"] == []


def test_who_may_not_register_functions_registers_none(client, trusted):
    wire = client("mute")
    wire.register(name := fresh("open"))
    wire.settle()
    assert trusted.error_of(name)["code"] == "function_not_found"


def test_trigger_types_need_the_grant_and_are_never_those_of_built_ins(client, trusted):
    wire = client()
    wire.register_type(denied := fresh("kind"))
    wire.settle()
    admin = client("admin")
    admin.register_type(granted := fresh("kind"))
    for name in ("http", "state", "log", "engine::workers-available"):
        admin.register_type(name)
    admin.settle()
    types = {row["id"]: row for row in trusted.call("engine::trigger-types::list", {"include_internal": True})["trigger_types"]}
    assert denied not in types and granted in types
    assert types["http"]["worker_name"] == "iii-http" and "log" not in types


def test_the_prefix_is_everybody_elses_name(client, trusted):
    wire = client("prefixed")
    name = uuid.uuid4().hex
    wire.register(name)
    trigger = wire.register_trigger("kind::p", name)
    wire.settle()
    assert trusted.error_of(name)["code"] == "function_not_found"
    call = trusted.invoke(f"tenant::{name}", {"a": 1})
    asked = wire.expect("invokefunction")
    assert asked["function_id"] == name
    wire.answer(asked, 5)
    answer = trusted.result_of(call)
    assert answer["result"] == 5 and answer["function_id"] == f"tenant::{name}"
    assert [row["function_id"] for row in trusted.call("engine::registered-triggers::list", {"trigger_type": "kind::p"})["registered_triggers"] if row["id"] == trigger] == [f"tenant::{name}"]
    wire.send({"type": "unregisterfunction", "id": name})
    wire.settle()
    assert trusted.error_of(f"tenant::{name}")["code"] == "function_not_found"


# Hooks.


@pytest.fixture
def hooks(core):
    made = []

    def install(**answers) -> Gate:
        made.append(Gate(core, **{"hook__function": {}, "hook__trigger": {}, "hook__type": {}, **answers}))
        return made[-1]

    yield install
    for one in made:
        one.close()


def test_hooks_are_asked_with_the_registration_and_null_keeps(core, client, trusted, hooks):
    gate = hooks(
        hook__function={"function_id": None, "description": None, "metadata": None},
        hook__trigger={"trigger_id": None, "config": None},
        hook__type={"trigger_type_id": None, "description": None},
    )
    wire = client("admin", core.hooked)
    wire.register_type(kind := fresh("kind"))
    wire.register(name := fresh("open"), description="d", metadata={"m": 1})
    trigger = wire.register_trigger(kind, name, config={"c": 1})
    assert wire.expect("registertrigger")["id"] == trigger
    assert gate.calls["hook::type"] == [{"trigger_type_id": kind, "description": kind, "context": {}}]
    assert gate.calls["hook::function"] == [{"function_id": name, "description": "d", "metadata": {"m": 1}, "context": {}}]
    assert gate.calls["hook::trigger"] == [{"trigger_id": trigger, "trigger_type": kind, "function_id": name, "config": {"c": 1}, "metadata": None, "context": {}}]
    (row,) = trusted.call("engine::functions::list", {"prefix": name})["functions"]
    assert row["description"] == "d" and row["metadata"] == {"m": 1}


def test_a_mapped_function_is_called_by_its_new_id_and_hears_its_own(core, client, trusted, hooks):
    hooks(hook__function=lambda data: {"function_id": "mapped::" + data["function_id"], "description": "new", "metadata": {"x": 1}})
    wire = client("plain", core.hooked)
    wire.register(name := uuid.uuid4().hex)
    wait_for(lambda: trusted.call("engine::functions::list", {"prefix": "mapped::" + name})["functions"], "it is registered")
    assert trusted.error_of(name)["code"] == "function_not_found"
    call = trusted.invoke("mapped::" + name)
    asked = wire.expect("invokefunction")
    assert asked["function_id"] == name
    wire.answer(asked, 1)
    assert trusted.result_of(call)["result"] == 1
    wire.send({"type": "unregisterfunction", "id": name})
    wire.settle()
    assert trusted.error_of("mapped::" + name)["code"] == "function_not_found"


@pytest.mark.parametrize("answer", [None, NOTHING, 5, "text", ValueError("no"), SILENCE], ids=["null", "nothing", "number", "text", "error", "silence"])
def test_what_is_no_object_denies(core, client, trusted, hooks, answer):
    hooks(hook__function=answer, hook__trigger=answer, hook__type=answer)
    wire = client("admin", core.hooked)
    wire.register(name := fresh("open"))
    wire.register_type(kind := fresh("kind"))
    trigger = wire.register_trigger(kind, name)
    assert refusal_of(wire, trigger)["code"] == "FORBIDDEN"
    assert trusted.error_of(name)["code"] == "function_not_found"
    assert kind not in {row["id"] for row in trusted.call("engine::trigger-types::list")["trigger_types"]}


def test_pings_and_results_pass_while_a_hook_decides_and_everything_else_keeps_its_order(core, client, trusted, hooks):
    release = threading.Event()
    hooks(hook__function=lambda data: SILENCE if not release.wait(10) else {})
    wire = client("plain", core.hooked)
    other = client("plain", core.hooked)
    wire.register(name := fresh("open"))
    call = wire.invoke(name, {"n": 1})
    for _ in range(3):
        wire.settle()
    assert wire.ws.ping().wait(10)
    assert other.call("engine::channels::create", {})
    trusted.settle()
    release.set()
    # Its own function, registered before the call, gets it.
    wire.answer(wire.expect("invokefunction", function_id=name), 2)
    assert wire.result_of(call)["result"] == 2


def test_a_flood_behind_a_hanging_hook_is_not_read_and_loses_nothing(core, client, trusted, hooks):
    hooks(hook__function=lambda data: SILENCE if data["function_id"].startswith("hang") else {})
    wire = client("plain", core.hooked)
    trusted.register(target := fresh("open"))
    trusted.settle()
    wire.register(fresh("hang"))
    count = 400
    for n in range(count):
        wire.send({"type": "invokefunction", "function_id": target, "data": [n], "action": {"type": "void"}})
    wait_for(lambda: metrics(core)["hook_writers_paused"] > 0, "it is not read")
    trusted.settle()
    assert [trusted.expect("invokefunction", function_id=target)["data"] for _ in range(count)] == [[n] for n in range(count)]


def test_registrations_beyond_the_limits_are_refused(tmp_path):
    ruled = listener(rbac={"expose_functions": []})
    with running(tmp_path, manager={"max_functions_per_worker": 50, "max_triggers_per_worker": 50}, workers=[ruled]) as it:
        wire, trusted = Wire(ruled["config"]["port"]).hello(), it.connect()
        for n in range(500):
            wire.register(f"flood::{n}")
            wire.register_trigger("kind::x", "flood::1", trigger_id=f"t{n}")
        wire.register("x" * 2_000_000)
        wire.settle()
        assert len(trusted.call("engine::functions::list", {"prefix": "flood::"})["functions"]) == 50
        assert len(trusted.call("engine::registered-triggers::list", {"trigger_type": "kind::x"})["registered_triggers"]) == 50
        wire.close(), trusted.close()


# Middleware.


def test_calls_go_to_the_middleware_and_its_answer_is_the_callers(core, client, trusted):
    trusted.register("mid::ware")
    trusted.register(target := fresh("open"))
    trusted.settle()
    wire = client("prefixed", core.diverted)
    for action in (None, {"type": "void"}, {"type": "enqueue", "queue": "q"}):
        call = wire.invoke(target, {"a": 1, "_caller_worker_id": "forged"}, **({"action": action} if action else {}))
        asked = trusted.expect("invokefunction")
        assert asked["function_id"] == "mid::ware"
        assert asked["data"] == {"function_id": target, "payload": {"a": 1}, "action": action, "context": {"user": "p"}}
        trusted.answer(asked, "from the middleware")
        assert wire.result_of(call)["result"] == "from the middleware"
    wire.send({"type": "invokefunction", "function_id": target, "data": 7})
    asked = trusted.expect("invokefunction")
    trusted.answer(asked, error={"code": "NOPE", "message": "no"})
    assert wire.expect("invocationresult")["error"]["code"] == "NOPE"
    # What is denied never gets there, and what belongs to the engine needs no leave.
    assert wire.error_of("hidden::x")["code"] == "FORBIDDEN"
    assert "functions" in wire.call("engine::functions::list")
    trusted.quiet()


def test_a_missing_middleware_lets_nothing_through(core, client, trusted):
    trusted.register(target := fresh("open"))
    trusted.settle()
    error = client("plain", core.diverted).error_of(target)
    assert error["code"] == "function_not_found" and "mid::ware" in error["message"]
    trusted.quiet()


def test_middleware_works_without_rules_and_does_not_divert_itself(core, trusted):
    keeper, wire = Wire(core.half).hello(), Wire(core.half).hello()
    keeper.register("mid::ware")
    keeper.settle()
    trusted.register(target := fresh("any"))
    trusted.settle()
    call = wire.invoke(target, {"a": 1})
    asked = keeper.expect("invokefunction")
    assert asked["data"]["context"] == {}
    inner = keeper.invoke(asked["data"]["function_id"], asked["data"]["payload"])
    trusted.answer(trusted.expect("invokefunction", function_id=target), "t")
    keeper.answer(asked, keeper.result_of(inner)["result"])
    assert wire.result_of(call)["result"] == "t"
    keeper.close(), wire.close()


# Listeners.


def test_new_rules_hold_for_connections_that_come_from_then_on(tmp_path):
    ruled = listener(rbac={"expose_functions": ['match("a::*")']})
    with running(tmp_path, workers=[ruled]) as it:
        port = ruled["config"]["port"]
        old = Wire(port).hello()
        assert old.error_of("b::x")["code"] == "FORBIDDEN"
        text = it.config.read_text()
        it.config.write_text(text.replace("a::*", "b::*"))

        def applied():
            wire = Wire(port).hello()
            code = wire.error_of("b::x")["code"]
            wire.close()
            return code == "function_not_found"

        wait_for(applied, "the new rules hold")
        assert old.error_of("b::x")["code"] == "FORBIDDEN"
        old.close()


def test_rules_of_the_first_listener_do_not_cut_off_the_fleet(tmp_path):
    with running(tmp_path, manager={"rbac": {"auth_function_id": "nobody::home"}}, http={}) as it:
        assert http_status(f"{it.http_url}/nothing") == 404
        assert it.rows()["iii-http"]["state"] in ("ready", "running")
