"""Functions that are remote HTTP endpoints (docs/reference/worker-protocol.md#http-functions)."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import uuid

import pytest
import requests
from processes import entries_of, prepared, running, save
from remotes import Remote, raw
from wire import BIN, Wire, alive, wait_for

OPEN = {"security": {"url_allowlist": ["localhost", "127.0.0.1"], "block_private_ips": False, "require_https": False}}
SECRETS = {"HOOK_SECRET": "sëcret", "HOOK_TOKEN": "t0ken", "HOOK_KEY": "k3y"}


def entry(**config) -> dict:
    return {"name": "iii-http-functions", "config": {**OPEN, **config}}


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    with running(tmp_path_factory.mktemp("functions"), http={}, workers=[entry(max_response_bytes=1 << 20)], env=SECRETS) as it:
        yield it


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Default security."""
    with running(tmp_path_factory.mktemp("strict"), workers=[{"name": "iii-http-functions"}]) as it:
        yield it


@pytest.fixture
def remote():
    it = Remote()
    yield it
    it.close()


@pytest.fixture
def worker(core):
    it = core.connect()
    yield it
    it.close()


@pytest.fixture
def caller(core):
    it = core.connect()
    yield it
    it.close()


def listed(wire: Wire) -> set:
    return {row["function_id"] for row in wire.call("engine::functions::list", {})["functions"]}


def declare(wire: Wire, url: str, function_id: str | None = None, **invocation) -> str:
    function_id = function_id or f"remote::{uuid.uuid4()}"
    wire.register(function_id, invocation={"url": url, **invocation})
    # Whoever calls it does so over a connection of its own, which the engine may read first.
    wire.settle()
    return function_id


def refusals(core, function_id: str) -> list[str]:
    return [line for line in core.output().splitlines() if "an HTTP function was refused" in line and function_id in line]


def wait_refused(core, function_id: str) -> str:
    lines = wait_for(lambda: refusals(core, function_id), f"{function_id} is refused")
    assert len(lines) == 1, lines
    return lines[0]


# The request


def test_request_as_specified(worker, caller, remote):
    function = declare(worker, remote.url("/hook?x=1"), headers={"X-Tenant": "a", "empty": ""})
    call = caller.invoke(function, {"n": 9007199254740993, "t": "ü"}, traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", baggage="k=v")
    answer = caller.result_of(call)
    assert answer["result"] == {"ok": True} and answer["function_id"] == function
    (request,) = remote.seen("/hook?x=1")
    assert request.method == "POST"
    assert request.json == {"n": 9007199254740993, "t": "ü", "_caller_worker_id": caller.worker_id}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-iii-function-path"] == function
    assert request.headers["x-iii-invocation-id"] == call
    assert abs(int(request.headers["x-iii-timestamp"]) - time.time()) < 60
    assert request.headers["x-tenant"] == "a" and request.headers["empty"] == ""
    assert request.headers["traceparent"] == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert request.headers["baggage"] == "k=v"
    assert request.headers["host"] == f"127.0.0.1:{remote.port}" and "expect" not in request.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_method_carries_the_body(worker, caller, remote, method):
    function = declare(worker, remote.url("/m"), method=method)
    assert caller.call(function, [1, 2]) == {"ok": True}
    (request,) = remote.seen("/m")
    assert (request.method, request.json) == (method, [1, 2])


def test_configured_headers_replace_defaults(worker, caller, remote):
    function = declare(worker, remote.url("/h"), headers={"content-type": "application/cloudevents+json", "Authorization": "mine"})
    caller.call(function, {})
    (request,) = remote.seen("/h")
    assert request.headers.get_all("content-type") == ["application/cloudevents+json"]
    assert request.headers["authorization"] == "mine"


def test_hmac_verifies(worker, caller, remote):
    function = declare(worker, remote.url("/s"), auth={"type": "hmac", "secret_key": "HOOK_SECRET"})
    caller.call(function, {"a": [1, None]})
    (request,) = remote.seen("/s")
    text = f"{request.headers['x-iii-timestamp']}:{base64.b64encode(request.body).decode()}"
    expected = hmac.new(SECRETS["HOOK_SECRET"].encode(), text.encode(), hashlib.sha256).hexdigest()
    assert request.headers["x-iii-signature"] == f"sha256={expected}"


def test_bearer_and_api_key(worker, caller, remote):
    bearer = declare(worker, remote.url("/b"), auth={"type": "bearer", "token_key": "HOOK_TOKEN"}, headers={"authorization": "mine"})
    key = declare(worker, remote.url("/k"), auth={"type": "api_key", "header": "X-Key", "value_key": "HOOK_KEY"})
    caller.call(bearer, None)
    caller.call(key, None)
    assert remote.seen("/b")[0].headers.get_all("authorization") == ["Bearer t0ken"]
    assert remote.seen("/k")[0].headers["x-key"] == "k3y"
    assert "t0ken" not in str(caller.call("engine::functions::list", {}))


def test_channel_keys_do_not_leave(core, worker, caller, remote):
    function = declare(worker, remote.url("/c"))
    reference = {"channel_id": "c-1", "access_key": "secret", "direction": "read"}
    caller.call(function, {"body": {"deep": [reference]}, "access_key": "not a reference"})
    sent = remote.seen("/c")[0].json
    assert sent["body"] == {"deep": [{"channel_id": "c-1", "direction": "read"}]} and sent["access_key"] == "not a reference"


def test_as_target_of_an_http_route(core, worker, remote):
    remote.answers["/route"] = (200, {"status_code": 201, "body": {"from": "afar"}})
    function = declare(worker, remote.url("/route"))
    path = f"/r/{uuid.uuid4()}"
    worker.register_trigger("http", function, config={"api_path": path, "http_method": "GET"})
    answer = wait_for(lambda: (lambda a: a if a.status_code != 404 else None)(requests.get(core.http_url + path, timeout=10)), "the route serves")
    assert (answer.status_code, answer.json()) == (201, {"from": "afar"})
    sent = remote.seen("/route")[0].json
    assert sent["path"] == path and "access_key" not in sent["request_body"] and "access_key" not in sent["response"]


def test_void_call(worker, caller, remote):
    function = declare(worker, remote.url("/v"))
    caller.send({"type": "invokefunction", "function_id": function, "data": {"v": 1}, "action": {"type": "void"}})
    wait_for(lambda: remote.seen("/v"), "the remote is called")
    caller.quiet()


def test_connections_are_reused(worker, caller, remote):
    function = declare(worker, remote.url("/reuse"))
    for _ in range(20):
        caller.call(function, {})
    assert remote.connections == 1


# Results


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((204, None), None),
        ((200, b""), None),
        ((200, b" [1, 2.5] "), [1, 2.5]),
        ((201, {"a": "ü"}), {"a": "ü"}),
        ((300, {"choices": 2}), {"choices": 2}),
    ],
    ids=["204", "empty", "json", "201", "3xx with JSON"],
)
def test_values(worker, caller, remote, answer, expected):
    remote.answers["/r"] = answer
    assert caller.call(declare(worker, remote.url("/r")), {}) == expected


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ((200, b"<html>"), "invalid_response", None),
        ((200, b"{"), "invalid_response", None),
        ((502, {"error": {"code": "X", "message": "m"}}), "X", "m"),
        ((500, {"error": {"code": 7}}), "http_error", "HTTP request failed"),
        ((500, {"error": "boom"}), "http_error", "HTTP request failed"),
        ((400, b"no"), "http_error", "HTTP 400 Bad Request"),
        ((404, {"detail": "gone"}), "http_error", "HTTP 404 Not Found"),
        ((302, b"", {"location": "/elsewhere"}), "http_error", "HTTP 302 Found"),
        ((307, b"moved", {"location": "http://10.0.0.1/"}), "http_error", "HTTP 307 Temporary Redirect"),
    ],
    ids=["html", "cut json", "error body", "odd code", "text error", "plain 400", "404", "302", "307"],
)
def test_errors(worker, caller, remote, answer, code, message):
    remote.answers["/e"] = answer
    error = caller.error_of(declare(worker, remote.url("/e")), {})
    assert error["code"] == code and (message is None or error["message"] == message), error
    assert not remote.seen("/elsewhere")


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"ok":true}', {"ok": True}),
        (b'HTTP/1.0 200 OK\r\n\r\n{"ok":1}', {"ok": 1}),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n', [1, 2]),
        (b'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5', 5),
        (b"HTTP/1.1 418 Short And Stout\r\nContent-Length: 0\r\n\r\n", ("http_error", "HTTP 418 Short And Stout")),
        (b"HTTP/1.1 400\r\nContent-Length: 0\r\n\r\n", ("http_error", "HTTP 400 Bad Request")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1,2", ("http_response_failed", None)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[1,", ("http_response_failed", None)),
        (b"", ("http_request_failed", None)),
        (b"HTTP/1.1 200 OK\r\nContent-", ("http_request_failed", None)),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ("http_request_failed", None)),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 300_000 + b"\r\n\r\n", ("http_request_failed", None)),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 60_000 + b"\r\n", ("http_request_failed", None)),
        (b"HTTP/1.1 200 OK\r\n\r\n[" + b" " * (1 << 20) + b"]", ("http_response_failed", None)),
    ],
    ids=["no length", "1.0", "chunked", "early hints", "own phrase", "no phrase", "cut body", "cut chunk", "nothing", "cut head", "not http", "huge header", "many headers", "huge body"],
)
def test_hostile_servers(worker, caller, response, expected):
    with raw(response) as server:
        call = caller.result_of(caller.invoke(declare(worker, server.url()), {"a": 1}))
        if isinstance(expected, tuple):
            assert call["error"]["code"] == expected[0], call
            assert expected[1] is None or call["error"]["message"] == expected[1]
        else:
            assert call["result"] == expected
        assert server.served == 1


def test_a_body_without_end_is_cut_off(worker, caller):
    def endless(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
        while True:
            connection.sendall(b" " * 65536)

    with raw(endless) as server:
        error = caller.error_of(declare(worker, server.url()), {})
        assert error["code"] == "http_response_failed" and "max_response_bytes" in error["message"]


# Failures of the way there


def test_slow_remote_times_out(worker, caller):
    with raw(lambda connection, data: connection.recv(1)) as server:
        error = caller.error_of(declare(worker, server.url(), timeout_ms=100), {})
        assert error["code"] == "http_request_failed" and "timed out" in error["message"]


def test_slow_body_times_out(worker, caller):
    def half(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1")
        connection.recv(1)

    with raw(half) as server:
        error = caller.error_of(declare(worker, server.url(), timeout_ms=200), {})
        assert error["code"] == "http_response_failed" and "timed out" in error["message"]


def test_closed_port(worker, caller):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    error = caller.error_of(declare(worker, f"http://127.0.0.1:{port}/"), {})
    assert error["code"] == "http_request_failed" and "connect" in error["message"]


def test_a_name_without_address(tmp_path):
    """Without the address check a name is first looked up by the call."""
    with running(tmp_path, workers=[{"name": "iii-http-functions", "config": {"security": {"block_private_ips": False, "require_https": False}}}]) as core:
        wire = core.connect()
        error = wire.error_of(declare(wire, "http://nonexistent.invalid/"), {})
        assert error["code"] == "http_request_failed" and "connect" in error["message"]
        wire.close()


def test_slow_remotes_hold_nobody_up(worker, caller, remote):
    with raw(lambda connection, data: connection.recv(1)) as server:
        slow, fast = declare(worker, server.url()), declare(worker, remote.url("/fast"))
        waiting = [caller.invoke(slow, {}) for _ in range(50)]
        wait_for(lambda: server.served == 50, "all slow calls run")
        for _ in range(20):
            assert caller.call(fast, {}) == {"ok": True}
        assert not [m for m in caller.inbox if m.get("invocation_id") in waiting]


# URL policy


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", "HTTPS is required"),
        ("https://10.0.0.1", "Private IP blocked"),
        ("https://[::ffff:10.0.0.1]/", "Private IP blocked"),
        ("https://localhost/", "Private IP blocked"),
        ("https://0x7f.1/", "Private IP blocked"),
        ("https://2130706433/", "Private IP blocked"),
        ("https://127.1:49134/", "Private IP blocked"),
        ("https://user:secret@example.com/", "Invalid URL"),
        ("https://nonexistent.invalid", "DNS lookup failed"),
        ("nonsense", "Invalid URL"),
        ("", "Invalid URL"),
    ],
)
def test_default_policy(strict, url, reason):
    wire = strict.connect()
    function = declare(wire, url)
    line = wait_refused(strict, function)
    assert f"url_validation_failed: {reason}" in line and "secret" not in line
    assert wire.error_of(function, {})["code"] == "function_not_found"
    assert function not in listed(wire)
    wire.quiet()
    wire.close()


def test_allowlist(core, worker):
    function = declare(worker, "http://example.com:1/path")
    line = wait_refused(core, function)
    assert "URL not in allowlist" in line and "host=example.com:1" in line


@pytest.mark.parametrize(
    ("invocation", "reason"),
    [
        ({}, "invocation.url"),
        ({"url": "http://127.0.0.1/", "method": "get"}, "invocation.method"),
        ({"url": "http://127.0.0.1/", "timeout_ms": -1}, "invocation.timeout_ms"),
        ({"url": "http://127.0.0.1/", "headers": {"a": "x\r\ny: z"}}, "invocation.headers.a"),
        ({"url": "http://127.0.0.1/", "headers": {"Host": "x"}}, "invocation.headers"),
        ({"url": "http://127.0.0.1/", "auth": {"type": "basic"}}, "invocation.auth.type"),
        ({"url": "http://127.0.0.1/", "auth": {"type": "hmac", "secret_key": "NOT_SET"}}, "secret_not_found: Secret not found: NOT_SET"),
        ({"url": "http://127.0.0.1/", "auth": {"type": "bearer", "token_key": "NOT_SET"}}, "token_not_found: Token not found: NOT_SET"),
        ({"url": "http://127.0.0.1/", "auth": {"type": "api_key", "header": "x", "value_key": "NOT_SET"}}, "api_key_not_found: API key not found: NOT_SET"),
        ([], "invocation must be an object"),
        ("http://127.0.0.1/", "invocation must be an object"),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value)[:40],
)
def test_malformed_registrations(core, worker, invocation, reason):
    function = f"remote::{uuid.uuid4()}"
    worker.register(function, invocation=invocation)
    assert reason in wait_refused(core, function)
    assert worker.error_of(function, {})["code"] == "function_not_found"
    worker.quiet()


def test_ids_of_the_engine_are_refused(core, worker, remote):
    for function in ("engine::functions::list", "core::x", "builtin::x"):
        declare(worker, remote.url(), function)
    assert isinstance(worker.call("engine::functions::list", {})["functions"], list)
    assert not listed(worker) & {"core::x", "builtin::x"} and not remote.requests


# Ownership


def test_an_early_call_waits_for_the_check(worker, remote):
    """The frame right behind the registration finds the function, as for any other function."""
    for index in range(50):
        assert worker.call(declare(worker, remote.url(f"/{index}")), {}) == {"ok": True}


def test_unregister(worker, caller, remote):
    function = declare(worker, remote.url("/u"), description="ignored by the engine")
    assert caller.call(function, {}) == {"ok": True}
    assert function in listed(caller)
    worker.send({"type": "unregisterfunction", "id": function})
    worker.sync()
    assert function not in listed(caller)
    assert caller.error_of(function, {})["code"] == "function_not_found"
    assert len(remote.seen("/u")) == 1


def test_unregister_wins_over_its_own_registration(worker, caller, remote):
    for _ in range(50):
        function = declare(worker, remote.url("/never"))
        worker.send({"type": "unregisterfunction", "id": function})
        assert worker.error_of(function, {})["code"] == "function_not_found"
        assert function not in listed(caller)
    assert not remote.seen("/never")


def test_disconnect(core, caller, remote):
    owner = core.connect()
    function = declare(owner, remote.url("/d"))
    assert caller.call(function, {}) == {"ok": True}
    owner.close()
    wait_for(lambda: function not in listed(caller), "the function is gone with its worker")
    assert caller.error_of(function, {})["code"] == "function_not_found"
    assert len(remote.seen("/d")) == 1


def test_a_call_outlives_the_worker_that_registered_it(core, caller):
    go = threading.Event()

    def serve(connection, _):
        go.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7")

    with raw(serve) as server:
        owner = core.connect()
        call = caller.invoke(declare(owner, server.url()), {})
        wait_for(lambda: server.served == 1, "the remote has the call")
        owner.close()
        go.set()
        assert caller.result_of(call)["result"] == 7


def test_owner_stack(core, worker, caller, remote):
    remote.answers["/old"], remote.answers["/new"] = (200, "old"), (200, "new")
    function = declare(worker, remote.url("/old"))
    assert caller.call(function, {}) == "old"
    newer = core.connect()
    declare(newer, remote.url("/new"), function)
    wait_for(lambda: caller.call(function, {}) == "new", "the newer owner serves")
    refused = core.connect()
    declare(refused, "http://example.com/", function)
    wait_refused(core, function)
    assert caller.call(function, {}) == "new", "a refused registration changes nothing"
    newer.close()
    wait_for(lambda: caller.call(function, {}) == "old", "the older owner serves again")
    refused.close()
    worker.send({"type": "unregisterfunction", "id": function})
    worker.sync()
    assert function not in listed(caller)


def test_changing_sides(worker, caller, remote):
    """Remote, then served by the worker itself, then remote again: the last registration holds."""

    def ask():
        call = caller.invoke(function, {})
        caller.send({"type": "ping"})
        caller.expect("pong")
        for delivered in worker.sync():
            worker.answer(delivered, "local")
        return caller.result_of(call)["result"]

    function = declare(worker, remote.url("/side"))
    assert ask() == {"ok": True}
    worker.register(function)
    worker.sync()
    assert ask() == "local"
    declare(worker, remote.url("/side"), function)
    wait_for(lambda: ask() == {"ok": True}, "the remote serves again")
    assert [row["function_id"] for row in caller.call("engine::functions::list", {})["functions"]].count(function) == 1


def test_limit_of_functions(tmp_path, remote):
    with running(tmp_path, manager={"max_functions_per_worker": 3}, workers=[entry()]) as core:
        wire = core.connect()
        functions = [declare(wire, remote.url(f"/{i}")) for i in range(4)]
        assert [wire.call(function, {}) for function in functions[:3]] == [{"ok": True}] * 3
        assert wire.error_of(functions[3], {})["code"] == "function_not_found"
        assert "max_functions_per_worker is 3" in core.output()
        wire.close()


# The process that calls


def test_kill_loses_no_registration(core, worker, caller, remote):
    functions = [declare(worker, remote.url(f"/{i}")) for i in range(20)]
    for function in functions:
        assert caller.call(function, {}) == {"ok": True}
    for _ in range(3):
        pid = core.pid_of("iii-http-functions")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), "the process is gone")
        # In the gap calls wait for the next process; those that were on their way are reported.
        for function in functions:
            answer = caller.result_of(caller.invoke(function, {}))
            assert answer.get("result") == {"ok": True} or answer["error"]["code"] == "invocation_stopped", answer
        assert set(functions) <= listed(caller)
        wait_for(lambda: core.rows()["iii-http-functions"]["state"] == "ready", "it is back")
        for function in functions:
            assert caller.call(function, {}) == {"ok": True}


def test_kill_reports_calls_in_flight(core, worker, caller):
    with raw(lambda connection, data: connection.recv(1)) as server:
        call = caller.invoke(declare(worker, server.url()), {})
        wait_for(lambda: server.served == 1, "the call is under way")
        os.kill(core.pid_of("iii-http-functions"), signal.SIGKILL)
        assert caller.result_of(call)["error"]["code"] == "invocation_stopped"


def test_restart_drains(core, worker, caller):
    """A call in flight finishes; calls that come meanwhile wait for the next process."""
    go = threading.Event()

    def serve(connection, _):
        go.wait(20)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7")

    with raw(serve) as server:
        function = declare(worker, server.url())
        before = caller.invoke(function, {})
        wait_for(lambda: server.served == 1, "the call is under way")
        pid = core.pid_of("iii-http-functions")
        restart = threading.Thread(target=lambda: core.cli("restart", "iii-http-functions"))
        restart.start()
        wait_for(lambda: core.rows()["iii-http-functions"]["state"] != "ready", "it is draining")
        meanwhile = caller.invoke(function, {})
        go.set()
        assert caller.result_of(before)["result"] == 7
        assert caller.result_of(meanwhile)["result"] == 7
        restart.join()
        assert core.pid_of("iii-http-functions") != pid


def test_parked_until_the_process_is_there(tmp_path, remote):
    with running(tmp_path, workers=[entry()]) as core:
        core.cli("stop", "iii-http-functions")
        wire = core.connect()
        function = declare(wire, remote.url("/p"))
        assert function not in listed(wire)
        call = wire.invoke(function, {})
        core.cli("start", "iii-http-functions")
        assert wire.result_of(call)["result"] == {"ok": True}
        assert function in listed(wire)
        wire.close()


def test_a_function_without_process_fails_clearly(tmp_path, remote):
    with running(tmp_path, workers=[entry()]) as core:
        wire = core.connect()
        function = declare(wire, remote.url("/p"))
        assert wire.call(function, {}) == {"ok": True}
        core.cli("stop", "iii-http-functions")
        assert wire.error_of(function, {})["code"] == "function_unavailable"
        assert function in listed(wire)
        wire.close()


def test_not_configured(tmp_path, remote):
    with running(tmp_path) as core:
        wire = core.connect()
        function = declare(wire, remote.url())
        assert wire.error_of(function, {})["code"] == "function_not_found"
        (line,) = wait_for(lambda: [line for line in core.output().splitlines() if "HTTP functions module not loaded" in line], "it is logged")
        assert function in line and "- name: iii-http-functions" in line
        wire.close()


def test_entry_comes_and_goes_by_reload(tmp_path, remote):
    with running(tmp_path) as core:
        wire = core.connect()
        entries = entries_of(core)
        save(core, entries + [entry()])
        core.cli("reload")
        wait_for(lambda: "iii-http-functions" in core.rows(), "the entry is there")
        function = declare(wire, remote.url("/p"))
        assert wire.call(function, {}) == {"ok": True}
        save(core, entries)
        core.cli("reload")
        wait_for(lambda: function not in listed(wire), "the function is gone with the entry")
        wait_for(lambda: "HTTP functions module not loaded" in core.output(), "it is logged")
        wire.close()


def test_a_stricter_policy_takes_functions_away(tmp_path, remote):
    """The changed entry restarts, and what it is handed again must pass the new policy."""
    with running(tmp_path, workers=[entry()]) as core:
        wire = core.connect()
        kept = declare(wire, remote.url("/kept", host="localhost"))
        lost = declare(wire, remote.url("/lost", host="127.0.0.1"))
        assert wire.call(kept, {}) == wire.call(lost, {}) == {"ok": True}
        stricter = {**entry(), "config": {"security": {**OPEN["security"], "url_allowlist": ["localhost"]}}}
        save(core, [stricter if old["name"] == "iii-http-functions" else old for old in entries_of(core)])
        core.cli("reload")
        assert "URL not in allowlist" in wait_refused(core, lost)
        assert wire.error_of(lost, {})["code"] == "function_not_found"
        assert wire.call(kept, {}) == {"ok": True}
        wire.close()


def test_limit_of_concurrent_requests(tmp_path):
    with running(tmp_path, workers=[entry(max_concurrent_requests=2)]) as core, raw(lambda c, d: c.recv(1)) as server:
        wire = core.connect()
        function = declare(wire, server.url(), timeout_ms=60000)
        for _ in range(2):
            wire.invoke(function, {})
        wait_for(lambda: server.served == 2, "two calls run")
        error = wire.error_of(function, {})
        assert error["code"] == "too_many_in_flight" and "max_concurrent_requests" in error["message"]
        wire.close()


def test_a_response_larger_than_a_message_costs_only_its_call(tmp_path, remote):
    with running(tmp_path, manager={"max_message_bytes": 1 << 20, "max_frame_bytes": 1 << 20}, workers=[entry()]) as core:
        remote.answers["/big"] = (200, ["x" * (1 << 20)])
        wire = core.connect()
        pid = core.pid_of("iii-http-functions")
        assert wire.error_of(declare(wire, remote.url("/big")), {})["code"] == "payload_too_large"
        assert wire.call(declare(wire, remote.url("/small")), {}) == {"ok": True}
        assert core.pid_of("iii-http-functions") == pid and "an HTTP function was refused" not in core.output()
        wire.close()


@pytest.mark.parametrize("pattern", ["[", "ok[a", "https://[z-a]/"])
def test_invalid_pattern_ends_the_start(tmp_path, pattern):
    with prepared(tmp_path, workers=[{"name": "iii-http-functions", "config": {"security": {"url_allowlist": [pattern]}}}]) as core:
        core.spawn()
        wait_for(lambda: "security.url_allowlist[0]" in core.output(), "the start is refused")
        assert core.process.wait(15) == 1 and "config.yaml:" in core.output(), "file and line are named"


def test_roles(tmp_path):
    def run(*args, **environment):
        return subprocess.run([BIN / "iii-http", *args], env={**os.environ, **environment}, capture_output=True, text=True, timeout=20)

    for unknown in (run("--role", "cache"), run(III_BUILTIN_ROLE="cache")):
        assert unknown.returncode == 78 and "unknown role 'cache'" in unknown.stderr + unknown.stdout
    assert "--role" in run("--help").stdout


def test_a_private_address_behind_a_name_is_refused_before_every_call(strict):
    """`localhost` resolves to a loopback address: also when it is spelled otherwise, nobody connects."""
    with raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1") as server:
        wire = strict.connect()
        for host in ("localhost", "LOCALHOST", "localhost."):
            assert "Private IP blocked" in wait_refused(strict, declare(wire, f"https://{host}:{server.port}/"))
        assert server.served == 0
        wire.close()


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority, a certificate for localhost and one for another name."""
    directory = tmp_path_factory.mktemp("ca")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2")
    for name in ("localhost", "elsewhere.test"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (directory / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")
    return directory


@contextlib.contextmanager
def https(authority, name: str):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / f"{name}.pem", authority / f"{name}.key")
    remote = Remote(context)
    try:
        yield remote
    finally:
        remote.close()


def test_tls(tmp_path, authority):
    secure = {"security": {"block_private_ips": False}, "ca_file": str(authority / "ca.pem")}
    with running(tmp_path, workers=[{"name": "iii-http-functions", "config": secure}]) as core:
        wire = core.connect()
        with https(authority, "localhost") as good, https(authority, "elsewhere.test") as other:
            assert wire.call(declare(wire, good.url("/", host="localhost")), {"a": 1}) == {"ok": True}
            error = wire.error_of(declare(wire, other.url("/", host="localhost")), {})
            assert error["code"] == "http_request_failed" and "certificate" in error["message"], error
            assert not other.requests
        wire.close()


def test_tls_of_an_unknown_authority_is_refused(tmp_path, authority):
    with running(tmp_path, workers=[{"name": "iii-http-functions", "config": {"security": {"block_private_ips": False}}}]) as core:
        wire = core.connect()
        with https(authority, "localhost") as remote:
            error = wire.error_of(declare(wire, remote.url("/", host="localhost")), {})
            assert error["code"] == "http_request_failed" and "certificate" in error["message"], error
            assert not remote.requests
        wire.close()


def test_the_contract_is_closed_to_workers(core, worker, caller, remote):
    function = declare(worker, remote.url("/mine"))
    assert caller.call(function, {}) == {"ok": True}
    definition = {"function_id": function, "namespace": "default", "invocation": {"url": remote.url("/stolen")}}
    for contract in ("register_function", "unregister_function", "drain"):
        assert caller.error_of(f"builtin::iii-http-functions::{contract}", definition)["code"] == "function_not_found"
    for contract in ("attach", "detach"):
        assert caller.error_of(f"core::http_functions::{contract}", {})["code"] == "function_not_found"
    assert caller.call(function, {}) == {"ok": True} and not remote.seen("/stolen")


def test_the_secret_of_the_built_in_is_no_token(core, worker, remote):
    function = declare(worker, remote.url(), auth={"type": "bearer", "token_key": "III_BUILTIN_TOKEN"})
    assert "token_not_found" in wait_refused(core, function)


def test_a_stop_abandons_what_outlives_the_grace(tmp_path):
    with running(tmp_path, workers=[{**entry(), "stop_timeout_ms": 2000}]) as core, raw(lambda c, d: c.recv(1)) as server:
        wire = core.connect()
        call = wire.invoke(declare(wire, server.url(), timeout_ms=60000), {})
        wait_for(lambda: server.served == 1, "the call is under way")
        core.cli("stop", "iii-http-functions")
        error = wire.result_of(call)["error"]
        assert error["code"] == "http_request_failed" and "is stopping" in error["message"], error
        wire.close()


def test_proxies_of_the_environment(tmp_path, remote):
    """Honoured only without address checks: a proxy would connect to an address that nobody has checked."""
    environment = {"http_proxy": remote.url(), "no_proxy": "", "NO_PROXY": ""}
    with running(tmp_path, workers=[entry()], env=environment) as core:
        wire = core.connect()
        assert wire.call(declare(wire, "http://localhost:1/through"), {}) == {"ok": True}
        assert remote.seen("http://localhost:1/through")
        wire.close()


def test_outbound_role_as_a_unit_of_its_own(tmp_path, remote):
    """What a systemd unit runs: it comes after the registration, is killed, and comes again."""
    (tmp_path / "secret").write_text("0123456789abcdef" * 4)
    environment = {"III_BUILTIN_TOKEN_FILE": str(tmp_path / "secret")}
    with running(tmp_path, workers=[entry()], args=["--except", "iii-http-functions"], env=environment) as core:
        wire = core.connect()
        function = declare(wire, remote.url("/unit"))
        for _ in range(2):
            with open(tmp_path / "unit.log", "ab") as log:
                process = subprocess.Popen([BIN / "iii-http", "--role", "outbound", "--engine", core.url], env=core.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                wait_for(lambda: function in listed(wire), "the function is listed")
                assert wire.call(function, {}) == {"ok": True}
            finally:
                process.kill()
                process.wait()
        wire.close()
