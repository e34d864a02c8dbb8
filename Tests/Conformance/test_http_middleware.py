"""Global and route middleware over real processes: their order, and that they fail closed
(docs/reference/http.md#middleware-and-conditions)."""

import socket

import pytest
import requests

from test_http import App, raw
from wire import fleet, wait_for

PASS = {"action": "continue"}


def routed(core, path, method="GET", **options):
    """The answer once the route is there."""
    return wait_for(
        lambda: (r := requests.request(method, core.http_url + path, timeout=30, **options)).status_code not in (404, 405) and [r], f"route {path}"
    )[0]


def steps(app, *names, **handlers):
    """Registers functions that note when they are called."""
    calls = []

    def note(name, handler):
        def run(data):
            calls.append(name)
            return handler(data) if callable(handler) else handler

        return run

    for name in [*names, *handlers]:
        app.handlers[name] = note(name, handlers.get(name, PASS))
        with app.lock:
            app.wire.register(name)
    return calls


@pytest.fixture(scope="module")
def guarded():
    entries = [{"function_id": "mw::late", "priority": 10}, {"function_id": "mw::early", "priority": 5}, {"function_id": "mw::late2", "phase": "preHandler", "priority": 10}]
    with fleet(http={"middleware": entries, "default_timeout": 3000}) as it:
        yield it


@pytest.fixture
def app(guarded):
    it = App(guarded.port)
    yield it
    it.wire.close()


def test_order_over_all_stages(guarded, app):
    calls = steps(app, "mw::late", "mw::early", "mw::late2", "r1", "r2", condition=True)
    app.route("/m/order/:id", lambda d: calls.append("handler") or {"body": 1}, method="POST", condition_function_id="condition", middleware_function_ids=["r1", 7, "r2"])
    assert routed(guarded, "/m/order/1?q=x", "POST", json={"a": 1}, headers={"X-Tag": "t"}).status_code == 200
    assert calls == ["mw::early", "mw::late", "mw::late2", "condition", "r1", "r2", "handler"]
    for name in ("mw::early", "r2"):
        data = app.seen[name]["data"]
        assert set(data) == {"phase", "request", "context"} and data["phase"] == "preHandler" and data["context"] == {}
        assert set(data["request"]) == {"path_params", "query_params", "headers", "method"}
        assert data["request"]["path_params"] == {"id": "1"} and data["request"]["query_params"] == {"q": "x"} and data["request"]["headers"]["x-tag"] == "t"


def test_global_middleware_ends_the_request_before_the_upload(guarded, app):
    refusal = {"action": "respond", "response": {"status_code": 401, "body": {"error": "who?"}, "headers": {"www-authenticate": "Bearer"}}}
    calls = steps(app, "mw::late", "mw::late2", **{"mw::early": lambda d: PASS if "authorization" in d["request"]["headers"] else refusal})
    app.route("/m/upload", lambda d: {"body": d["body"]}, method="POST")
    answer = wait_for(lambda: (r := requests.post(guarded.http_url + "/m/upload", json=1)).status_code == 401 and [r], "401")[0]
    assert answer.json() == {"error": "who?"} and answer.headers["www-authenticate"] == "Bearer" and calls[-1] == "mw::early"
    head = "POST /m/upload HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 3\r\nexpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", guarded.http_port), timeout=10) as s:
        s.sendall(head.encode() + b"\r\n")
        data = b""
        while chunk := s.recv(65536):
            data += chunk
        assert data.startswith(b"HTTP/1.1 401") and b"connection: close" in data.lower()
    with socket.create_connection(("127.0.0.1", guarded.http_port), timeout=10) as s:
        s.sendall(head.encode() + b"authorization: x\r\n\r\n")
        assert s.recv(65536).startswith(b"HTTP/1.1 100 Continue")
        s.sendall(b"[1]")
        data = b""
        while not data.endswith(b"[1]"):
            data += s.recv(65536)
        assert data.startswith(b"HTTP/1.1 200")


def test_no_middleware_for_what_has_no_route(guarded, app):
    calls = steps(app, "mw::late", "mw::early", "mw::late2")
    app.route("/m/known", lambda d: {"body": 1})
    assert routed(guarded, "/m/known").status_code == 200
    calls.clear()
    assert requests.get(guarded.http_url + "/m/none").status_code == 404
    assert requests.put(guarded.http_url + "/m/known").status_code == 405
    assert requests.options(guarded.http_url + "/m/known").status_code == 200
    assert calls == []


def test_missing_failing_and_hanging_global_middleware(guarded, app):
    called = []
    steps(app, "mw::late", "mw::late2")
    app.route("/m/closed", lambda d: called.append(1) or {"body": 1})
    answer = routed(guarded, "/m/closed")
    assert answer.status_code == 500 and answer.json()["error"] == "Function mw::early not found"

    def fail(data):
        raise RuntimeError("no luck")

    steps(app, **{"mw::early": fail})
    answer = wait_for(lambda: (r := requests.get(guarded.http_url + "/m/closed")).json()["error"] == "no luck" and [r], "the failure")[0]
    assert answer.status_code == 500
    app.handlers["mw::early"] = None
    assert requests.get(guarded.http_url + "/m/closed", timeout=30).status_code == 504
    assert called == []


@pytest.mark.parametrize("answer", [None, {"action": "zzz"}, 5])
def test_unclear_answers_let_the_request_pass(guarded, app, answer):
    steps(app, "mw::late", "mw::early", "mw::late2", **{"m::unclear": answer})
    app.route("/m/unclear", lambda d: {"body": 1}, middleware_function_ids=["m::unclear"])
    assert routed(guarded, "/m/unclear").status_code == 200


def test_strict_mode_refuses_unclear_answers():
    with fleet(http={"middleware_mode": "strict"}) as core:
        app = App(core.port)
        steps(app, **{"m::unclear": {"action": "zzz"}})
        app.route("/m/strict", lambda d: {"body": 1}, middleware_function_ids=["m::unclear"])
        answer = routed(core, "/m/strict")
        assert answer.status_code == 500 and answer.json()["error"] == "internal server error"
        app.wire.close()


def test_route_middleware_responds_with_its_own_rules(guarded, app):
    responses = iter([{"body": "hi", "headers": {"content-type": "text/plain"}}, {"status_code": 403, "headers": {"a": "b", "c": 1}, "body": {}}, None])
    steps(app, "mw::late", "mw::early", "mw::late2", **{"m::stop": lambda d: {"action": "respond", "response": next(responses)}})
    app.route("/m/stop", lambda d: {"body": "never"}, middleware_function_ids=["m::stop"])
    first = routed(guarded, "/m/stop")
    assert (first.status_code, first.content, first.headers["content-type"]) == (200, b'"hi"', "text/plain")
    second = requests.get(guarded.http_url + "/m/stop")
    assert (second.status_code, second.headers.get("a")) == (403, None)
    third = requests.get(guarded.http_url + "/m/stop")
    assert (third.status_code, third.content) == (200, b"null")


def test_pipelined_requests_wait_behind_the_guard(guarded, app):
    steps(app, "mw::late", "mw::early", "mw::late2")
    app.route("/m/pipe/:n", lambda d: {"body": d["path_params"]["n"] + str(d["body"])}, method="POST")
    assert routed(guarded, "/m/pipe/0", "POST").status_code == 200
    text = "".join(
        f"POST /m/pipe/{n} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1\r\n{'connection: close' if n == 4 else 'a: b'}\r\n\r\n{n}" for n in range(1, 5)
    )
    data = raw(guarded, text)
    assert [data.index(f'"{n}{n}"'.encode()) for n in range(1, 5)] == sorted(data.index(f'"{n}{n}"'.encode()) for n in range(1, 5))


def test_more_middleware_than_a_route_may_have_is_refused(guarded, app):
    trigger = app.route("/m/many", lambda d: {}, middleware_function_ids=[f"m::{n}" for n in range(65)])
    wait_for(lambda: [r for r in app.refusals if r["id"] == trigger], "the refusal")
    assert "more than 64" in app.refusals[-1]["error"]["message"]
