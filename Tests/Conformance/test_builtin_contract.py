"""The private contract between the core and its built-ins (docs/reference/core-workers.md), and a built-in without the supervisor."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest
import requests
from processes import can_connect, http_status, ok, run_core, running, secretive, serving, wait_for_http
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from wire import BIN, Wire, alive, free_port, wait_for

SECRET = "0123456789abcdef" * 4
SLEEPER = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    directory = tmp_path_factory.mktemp("contract")
    (directory / "secret").write_text(SECRET + "\n")
    (directory / "secret").chmod(0o600)
    with running(directory, http={}, workers=[SLEEPER], env={"III_BUILTIN_TOKEN_FILE": str(directory / "secret")}) as fleet:
        yield fleet


def privileged(core, name: str = "test-builtin", secret: str = SECRET) -> Wire:
    return Wire(core.port, additional_headers={"x-iii-builtin-token": secret, "x-iii-builtin-name": name}).hello()


@contextlib.contextmanager
def both(core, name: str = "test-builtin"):
    """A privileged connection and an ordinary one."""
    builtin, user = privileged(core, name), core.connect()
    try:
        yield builtin, user
    finally:
        builtin.close()
        user.close()


CORE_FUNCTIONS = [
    "core::builtin::hello",
    "core::builtin::ready",
    "core::http_functions::attach",
    "core::http_functions::detach",
    "core::metrics::snapshot",
    "core::registry::watch",
    "core::fleet::list",
    "core::fleet::restart",
    "core::fleet::stop",
    "core::fleet::start",
    "core::fleet::logs",
]


# Who is privileged


@pytest.mark.parametrize("secret", ["", "wrong", SECRET[:-1], SECRET + "0", SECRET.upper(), "0" * 64], ids=["empty", "wrong", "shorter", "longer", "upper case", "other"])
def test_wrong_secret_is_refused_with_403(core, secret):
    with pytest.raises(InvalidStatus) as refused:
        privileged(core, secret=secret)
    assert refused.value.response.status_code == 403


def test_secret_of_a_spawn_is_void_after_its_end(tmp_path):
    with running(tmp_path, workers=[secretive(tmp_path)]) as fleet:
        wait_for(lambda: (tmp_path / "mine.secret").exists(), "the program has taken its secret")
        old = (tmp_path / "mine.secret").read_text()
        assert len(old) == 64
        privileged(fleet, secret=old).close()
        fleet.cli("restart", "mine")
        wait_for(lambda: not fleet.rows()["mine"]["others"], "the process it was for has ended")
        with pytest.raises(InvalidStatus) as refused:
            privileged(fleet, secret=old)
        assert refused.value.response.status_code == 403


def test_short_shared_secret_stops_the_start(tmp_path):
    (tmp_path / "secret").write_text("short\n")
    (tmp_path / "config.yaml").write_text(f"workers:\n  - name: iii-worker-manager\n    config: {{port: {free_port()}}}\n")
    done = run_core("up", cwd=tmp_path, env={"III_BUILTIN_TOKEN_FILE": str(tmp_path / "secret")})
    assert done.returncode == 1
    assert "III_BUILTIN_TOKEN_FILE" in done.stderr and "at least 32 characters" in done.stderr
    assert "short\n" not in done.stdout


@pytest.mark.parametrize("function", CORE_FUNCTIONS)
def test_ordinary_workers_cannot_call_core_functions(core, function):
    user = core.connect()
    assert user.error_of(function, {"name": "iii-http"})["code"] == "function_not_found"
    user.close()


def test_ordinary_workers_do_not_see_core_functions(core):
    with both(core) as (builtin, user):
        seen = {f["function_id"] for f in user.call("engine::functions::list", {"include_internal": True})["functions"]}
        assert not any(f.startswith("core::") for f in seen)
        assert "error" in user.result_of(user.invoke("engine::functions::info", {"function_id": "core::builtin::hello"}))
        everything = {f["function_id"] for f in builtin.call("engine::functions::list", {"include_internal": True})["functions"]}
        assert set(CORE_FUNCTIONS) <= everything


def test_name_header_without_a_secret_gives_nothing(core):
    user = Wire(core.port, additional_headers={"x-iii-builtin-name": "iii-http"}).hello()
    assert user.error_of("core::metrics::snapshot", {})["code"] == "function_not_found"
    user.close()


# What the core offers


def test_hello_answers_with_the_configuration_of_the_entry(core):
    with both(core, "iii-http") as (builtin, _):
        answer = builtin.call("core::builtin::hello", {"name": "iii-http", "role": "http", "pid": os.getpid(), "version": "1"})
        assert answer["instance_id"] and len(answer["channel_key"]) >= 64
        assert answer["config"] == {"host": "127.0.0.1", "port": core.http_port}
        assert builtin.call("core::builtin::ready", {"name": "iii-http"}) == {}


def test_hello_of_a_name_without_an_entry_has_no_configuration(core):
    with both(core, "stranger") as (builtin, _):
        assert builtin.call("core::builtin::hello", {"name": "stranger", "role": "x", "pid": 1, "version": "1"})["config"] is None


def test_metrics_are_counters(core):
    with both(core) as (builtin, user):
        first = builtin.call("core::metrics::snapshot", {})
        assert all(isinstance(value, int | float) for value in first.values())
        assert first["workers"] >= 3 and first["functions"] > 0
        user.register("metrics::one")
        user.sync()
        second = builtin.call("core::metrics::snapshot", {})
        assert second["functions"] == first["functions"] + 1
        assert second["invocations"] > first["invocations"]


def test_registry_watch_tells_what_is_there_and_what_changes(core):
    with both(core) as (builtin, user):
        user.register("watched::old")
        user.sync()
        builtin.register("watcher::changed")
        answer = builtin.call("core::registry::watch", {"function_id": "watcher::changed", "prefixes": ["watched::", "also::"]})
        assert answer == {"functions": ["watched::old"]}
        user.register("watched::new")
        user.register("other::one")
        push = builtin.expect("invokefunction", function_id="watcher::changed")
        assert push["data"] == {"added": ["watched::new"], "removed": []}
        user.send({"type": "unregisterfunction", "id": "watched::old"})
        push = builtin.expect("invokefunction", function_id="watcher::changed")
        assert push["data"] == {"added": [], "removed": ["watched::old"]}
        user.close()
        push = builtin.expect("invokefunction", function_id="watcher::changed")
        assert push["data"] == {"added": [], "removed": ["watched::new"]}


def test_registry_watch_without_prefixes_sees_everything(core):
    with both(core) as (builtin, user):
        builtin.register("watcher::all")
        assert "watcher::all" in builtin.call("core::registry::watch", {"function_id": "watcher::all"})["functions"]
        user.register("some::thing")
        wait_for(lambda: "some::thing" in builtin.expect("invokefunction", function_id="watcher::all")["data"]["added"], "told")
        assert builtin.error_of("core::registry::watch", {})["code"] == "INVALID_ARGUMENTS"


def test_fleet_can_be_listed_restarted_stopped_and_started(core):
    with both(core) as (builtin, _):
        rows = {row["name"]: row for row in builtin.call("core::fleet::list", {})["children"]}
        assert rows["iii-http"]["pid"] == core.pid_of("iii-http")
        answer = builtin.call("core::fleet::restart", {"name": "iii-exec"})
        restarted = {row["name"]: row for row in builtin.call("core::fleet::list", {})["children"]}
        assert restarted["iii-exec"]["pid"] != rows["iii-exec"]["pid"], answer
        builtin.call("core::fleet::stop", {"name": "iii-exec"})
        assert core.rows()["iii-exec"]["state"] == "stopped"
        builtin.call("core::fleet::start", {"name": "iii-exec"})
        assert core.rows()["iii-exec"]["state"] == "ready"
        assert "nobody" in builtin.error_of("core::fleet::restart", {"name": "nobody"})["message"]
        assert builtin.error_of("core::fleet::restart", {})["message"]
        lines = builtin.call("core::fleet::logs", {"name": "iii-http", "count": 5})
        assert any("API listening" in line["fields"]["message"] for line in lines)


# What built-ins may do


@pytest.mark.parametrize("function", ["engine::test::one", "iii::test::one", "state::test", "stream::test"])
def test_built_ins_may_own_reserved_ids_and_users_cannot_take_them(core, function):
    with both(core) as (builtin, user):
        builtin.register(function)
        builtin.sync()
        user.register(function)
        user.sync()
        invocation = user.invoke(function, {"x": 1})
        call = builtin.expect("invokefunction", function_id=function)
        builtin.answer(call, "from the built-in")
        assert user.result_of(invocation)["result"] == "from the built-in"


@pytest.mark.parametrize("function", ["core::test::one", "builtin::iii-http::x", "builtin::test-builtin2::x"])
def test_a_built_in_owns_its_own_part_of_the_private_contract_only(core, function):
    with both(core) as (builtin, user):
        builtin.register(function)
        builtin.sync()
        for caller in (builtin, user):
            assert caller.error_of(function, {"x": 1})["code"] == "function_not_found"


def test_the_core_calls_a_built_in_back_on_a_function_of_its_own(core):
    with both(core) as (builtin, user):
        builtin.register("builtin::test-builtin::changed")
        builtin.call("core::registry::watch", {"function_id": "builtin::test-builtin::changed", "prefixes": ["own::"]})
        assert user.error_of("builtin::test-builtin::changed", {})["code"] == "function_not_found"
        assert builtin.error_of("builtin::test-builtin::changed", {})["code"] == "function_not_found"
        user.register("own::one")
        assert builtin.expect("invokefunction", function_id="builtin::test-builtin::changed")["data"]["added"] == ["own::one"]


def test_user_worker_cannot_register_reserved_ids(core):
    user = core.connect()
    for function in ("core::mine", "builtin::iii-http::drain", "engine::workers::list"):
        user.register(function)
    user.sync()
    assert user.error_of("core::mine")["code"] == "function_not_found"
    assert "workers" in user.call("engine::workers::list", {})
    user.close()


def test_calls_of_built_ins_carry_no_caller_id_and_those_of_users_do(core):
    with both(core) as (builtin, user):
        user.register("callee::one")
        user.sync()
        builtin.invoke("callee::one", {"x": 1})
        assert user.expect("invokefunction", function_id="callee::one")["data"] == {"x": 1}
        builtin.register("callee::two")
        builtin.sync()
        user.invoke("callee::two", {"x": 1})
        assert builtin.expect("invokefunction", function_id="callee::two")["data"] == {"x": 1, "_caller_worker_id": user.worker_id}


def test_frames_of_built_ins_may_be_large(core):
    with both(core) as (builtin, user):
        builtin.register("large::echo")
        builtin.sync()
        invocation = user.invoke("large::echo", {})
        builtin.answer(builtin.expect("invokefunction", function_id="large::echo"), "x" * 40_000_000)
        assert len(user.result_of(invocation)["result"]) == 40_000_000


def test_drain_is_asked_for_before_sigterm(core):
    """iii-http itself serves `builtin::iii-http::drain`, visible to privileged callers."""
    with both(core) as (builtin, user):
        ids = {f["function_id"] for f in builtin.call("engine::functions::list", {"include_internal": True})["functions"]}
        assert "builtin::iii-http::drain" in ids


# Held calls


def test_call_of_a_restarting_built_in_is_held_and_answered(core):
    first = privileged(core, "held-one")
    first.register("held::echo")
    first.sync()
    caller = core.connect()
    first.close()
    wait_for(lambda: "held::echo" not in {f["function_id"] for f in caller.call("engine::functions::list", {})["functions"]}, "it is gone")
    invocations = [caller.invoke("held::echo", {"n": n}) for n in range(3)]
    caller.quiet()
    second = privileged(core, "held-one")
    second.register("held::echo")
    for n in range(3):
        call = second.expect("invokefunction", function_id="held::echo")
        assert call["data"]["n"] == n, "in order"
        second.answer(call, n)
    assert [caller.result_of(i)["result"] for i in invocations] == [0, 1, 2]
    second.close()
    caller.close()


def test_held_call_ends_in_function_not_found_when_the_built_in_stays_away(core):
    first = privileged(core, "held-two")
    first.register("held::gone")
    first.sync()
    caller = core.connect()
    first.close()
    wait_for(lambda: "held::gone" not in {f["function_id"] for f in caller.call("engine::functions::list", {})["functions"]}, "it is gone")
    invocation = caller.invoke("held::gone", {})
    caller.quiet()
    answer = caller.result_of(invocation, timeout=15)
    assert answer["error"]["code"] == "function_not_found"
    caller.close()


def test_functions_of_user_workers_are_not_held(core):
    worker, caller = core.connect(), core.connect()
    worker.register("user::gone")
    worker.sync()
    worker.close()
    wait_for(lambda: "user::gone" not in {f["function_id"] for f in caller.call("engine::functions::list", {})["functions"]}, "it is gone")
    invocation = caller.invoke("user::gone", {})
    # Answered before the next pong: not held.
    (answer,) = caller.sync()
    assert answer["invocation_id"] == invocation and answer["error"]["code"] == "function_not_found"
    caller.close()


# Without the supervisor


@contextlib.contextmanager
def standalone(core, name: str, *args, env=None):
    environment = {**core.env, "III_BUILTIN_TOKEN_FILE": str(core.directory / "secret"), **(env or {})}
    with open(core.directory / f"{name}.log", "wb") as log:
        process = subprocess.Popen([BIN / "iii-http", "--engine", core.url, "--name", name, *args], cwd=core.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        print((core.directory / f"{name}.log").read_text())


@pytest.mark.parametrize("seed", range(3))
def test_a_signal_at_any_moment_of_its_start_ends_a_built_in(core, seed):
    """At once while it has no handler yet, else in order; it is never passed over, and never a crash."""
    draw = random.Random(seed)
    for _ in range(20):
        with standalone(core, "early") as process:
            # Not a wait for something: any moment of the start is to do.
            time.sleep(draw.uniform(0, 0.12))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("function", ["core::fleet::list", "core::metrics::snapshot", "builtin::iii-http::drain"])
def test_no_trigger_lends_a_user_the_privileges_of_a_builtin(core, function):
    wire = core.connect()
    wire.register("own::target")
    guards = {"target": {}, "condition": {"condition_function_id": function}, "middleware": {"middleware_function_ids": [function]}}
    for name, guard in guards.items():
        target = function if name == "target" else "own::target"
        trigger = wire.register_trigger("http", target, config={"api_path": f"/as-{name}/{function}", **guard})
        answer = wire.expect("triggerregistrationresult", id=trigger)
        assert answer["error"]["code"] == "trigger_registration_failed" and function in answer["error"]["message"]
        assert http_status(f"{core.http_url}/as-{name}/{function}") == 404
    wire.close()


def stream(core, ref: dict):
    url = f"ws://127.0.0.1:{core.port}/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir=write"
    try:
        with connect(url, compression=None) as writer:
            writer.send(b"streamed")
    except InvalidStatus:
        return {"status_code": 500, "body": "the engine does not know the reference"}


@pytest.fixture
def bare(tmp_path):
    """A core whose iii-http entry is run by somebody else, as systemd units do."""
    (tmp_path / "secret").write_text(SECRET)
    with running(tmp_path, http={}, workers=[SLEEPER], args=["--except", "iii-http"], env={"III_BUILTIN_TOKEN_FILE": str(tmp_path / "secret")}) as fleet:
        yield fleet


def test_iii_http_works_without_the_supervisor(bare):
    assert not http_status(bare.http_url)
    with serving(bare.port, {"a::b": ok}, {"/x": "a::b"}), standalone(bare, "iii-http") as process:
        wait_for_http(f"{bare.http_url}/x")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert not can_connect(bare.http_port)
        with standalone(bare, "iii-http"):
            wait_for_http(f"{bare.http_url}/x")


def test_standalone_iii_http_survives_a_restart_of_the_core(bare):
    with standalone(bare, "iii-http") as process:
        with serving(bare.port, {"a::b": ok}, {"/x": "a::b"}):
            wait_for_http(f"{bare.http_url}/x")
            bare.process.kill()
            bare.process.wait()
        wait_for(lambda: http_status(f"{bare.http_url}/x") == 503, "it says that its engine is away")
        bare.up()
        with serving(bare.port, {"a::b": ok, "a::stream": lambda data: stream(bare, data["response"])}, {"/x": "a::b", "/stream": "a::stream"}):
            wait_for_http(f"{bare.http_url}/x", timeout=25)
            # The new core has another channel key: references must be made under that one.
            wait_for(lambda: requests.get(f"{bare.http_url}/stream", timeout=10).text == "streamed", "a streamed response")
        assert alive(process.pid)


def test_standalone_iii_http_waits_for_its_core(bare):
    bare.stop()
    with standalone(bare, "iii-http") as process:
        bare.up()
        wait_for_http(bare.http_url, 404, timeout=25)
        assert alive(process.pid)


def test_standalone_iii_http_without_a_secret_ends_with_78(bare):
    environment = {k: v for k, v in bare.env.items() if not k.startswith("III_BUILTIN")}
    done = subprocess.run([BIN / "iii-http", "--engine", bare.url, "--name", "iii-http"], env=environment, cwd=bare.directory, capture_output=True, text=True, timeout=20)
    assert done.returncode == 78
    assert "III_BUILTIN_TOKEN_FILE" in done.stdout + done.stderr


def test_standalone_iii_http_whose_port_is_taken_ends_with_1(core):
    with standalone(core, "iii-http") as process:
        # The supervised one holds the address of the entry.
        assert process.wait(20) == 1
    assert "already in use" in (core.directory / "iii-http.log").read_text()
    assert http_status(core.http_url) == 404
