"""Routes, requests and responses of iii-http (docs/reference/http.md), over real sockets, handlers served by a raw worker."""

import json
import socket
import threading
import time
import uuid

import pytest
import requests

from wire import Wire, fleet, wait_for


class App:
    """A worker whose functions are Python callables; `None` as a handler never answers."""

    def __init__(self, port: int):
        self.wire = Wire(port).hello()
        self.handlers = {}
        self.seen = {}
        self.refusals = []
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                message = json.loads(self.wire.ws.recv())
            except (ConnectionClosed, OSError):
                return
            if message["type"] == "triggerregistrationresult":
                self.refusals.append(message)
            if message["type"] == "invokefunction":
                handler = self.handlers[message["function_id"]]
                self.seen[message["function_id"]] = message
                if handler is not None:
                    threading.Thread(target=self.answer, args=(message, handler), daemon=True).start()

    def answer(self, message, handler):
        try:
            self.send(message, result=handler(message["data"]))
        except Exception as error:  # what an SDK does with a handler that raises
            self.send(message, error={"code": "invocation_failed", "message": str(error), "stacktrace": "secret trace"})

    def send(self, call, **fields):
        with self.lock:
            self.wire.send({"type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": call["function_id"], **fields})

    def route(self, path, handler, method=None, function=None, **config) -> str:
        function = function or f"http::{uuid.uuid4()}"
        self.handlers[function] = handler
        config = {"api_path": path, **({"http_method": method} if method else {}), **config}
        trigger = str(uuid.uuid4())
        with self.lock:
            self.wire.register(function)
            self.wire.register_trigger("http", function, trigger, config=config)
        return trigger


@pytest.fixture
def app(core):
    it = App(core.port)
    yield it
    it.wire.close()


@pytest.fixture
def get(core):
    """Requests once the route is there: registration is asynchronous, but well under the 300 ms that SDKs wait."""

    def request(path, method="GET", missing=(404, 405), **options):
        deadline = time.monotonic() + 5
        while True:
            answer = requests.request(method, core.http_url + path, timeout=30, allow_redirects=False, **options)
            if answer.status_code not in missing or time.monotonic() > deadline:
                return answer
            time.sleep(0.01)

    return request


def ok(value):
    return lambda data: {"status_code": 200, "body": value}


def test_no_route(core):
    answer = requests.get(f"{core.http_url}/{uuid.uuid4()}")
    assert (answer.status_code, answer.content) == (404, b"") and answer.headers["access-control-allow-origin"] == "*"


def test_path_without_slash_defaults_to_get(app, get):
    app.route("t/hello", ok("hi"))
    assert get("/t/hello").json() == "hi"


def test_method_case_and_405(core, app, get):
    app.route("/t/post", lambda d: {"body": d["method"]}, method="post")
    assert get("/t/post", "POST").json() == "POST"
    refused = requests.get(f"{core.http_url}/t/post")
    assert refused.status_code == 405 and "POST" in refused.headers["allow"]


def test_missing_api_path_is_refused_and_others_go_on(core, app, get):
    function = f"http::{uuid.uuid4()}"
    app.wire.register_trigger("http", function, "no-path-" + function, config={})
    wait_for(lambda: app.refusals, "a refusal")
    assert "api_path is required for http triggers" in app.refusals[0]["error"]["message"]
    app.route("/t/goes-on", ok(1))
    assert get("/t/goes-on").status_code == 200


def test_head_is_served_by_the_get_route(app, get):
    app.route("/t/head", lambda d: {"status_code": 202, "headers": {"x-a": "1"}, "body": {"a": 1}})
    answer = get("/t/head", "HEAD")
    assert (answer.status_code, answer.headers["x-a"], answer.content) == (202, "1", b"")


@pytest.mark.parametrize("literal_first", [True, False])
def test_literal_beats_parameter(app, get, literal_first):
    base = f"/t/lit{literal_first}"
    routes = [(f"{base}/copy", "literal"), (f"{base}/:id", "parameter")]
    for path, name in routes if literal_first else reversed(routes):
        app.route(path, lambda d, name=name: {"body": [name, d["path_params"]]})
    assert get(f"{base}/x").json() == ["parameter", {"id": "x"}]
    assert get(f"{base}/copy").json() == ["literal", {}]


def test_conflicting_shape_is_refused(core, app, get):
    app.route("/t/con/:x/:y", ok("first"))
    assert get("/t/con/1/2").json() == "first"
    refused = app.route("/t/con/:y/:x", ok("second"))
    wait_for(lambda: [r for r in app.refusals if r["id"] == refused], "the refusal")
    assert "conflicts with already-registered route" in app.refusals[-1]["error"]["message"]
    assert get("/t/con/1/2").json() == "first"
    other = Wire(core.port).hello()
    listed = [t["id"] for t in other.call("engine::triggers::list", {})["triggers"]]
    assert refused not in listed
    other.close()


def test_names_may_differ_between_methods(app, get):
    app.route("/t/u/:id", lambda d: {"body": d["path_params"]})
    app.route("/t/u/:userId", lambda d: {"body": d["path_params"]}, method="POST")
    assert get("/t/u/1").json() == {"id": "1"} and get("/t/u/2", "POST").json() == {"userId": "2"}


def test_newest_registration_wins_also_after_the_older_ones_end(core, app, get):
    other = App(core.port)
    other.route("/t/same", ok("old"))
    assert get("/t/same").json() == "old"
    app.route("/t/same", ok("new"))
    wait_for(lambda: get("/t/same").json() == "new", "the newer route")
    other.wire.close()
    for _ in range(20):
        assert get("/t/same", missing=()).json() == "new"


def test_unregistered_trigger_and_gone_worker(core, app, get):
    trigger = app.route("/t/gone", ok(1))
    assert get("/t/gone").status_code == 200
    app.wire.send({"type": "unregistertrigger", "id": trigger, "trigger_type": "http"})
    wait_for(lambda: requests.get(f"{core.http_url}/t/gone").status_code == 404, "the route to go")
    other = App(core.port)
    other.route("/t/gone2", ok(1))
    assert get("/t/gone2").status_code == 200
    other.wire.close()
    wait_for(lambda: requests.get(f"{core.http_url}/t/gone2").status_code == 404, "the route to go")


def test_function_gone_trigger_alive(core, app, get):
    app.route("/t/nofn", ok(1), function="http::nofn")
    assert get("/t/nofn").status_code == 200
    app.wire.send({"type": "unregisterfunction", "id": "http::nofn"})
    # A response with an error status is falsy, hence the list.
    answer = wait_for(lambda: (r := get("/t/nofn")).status_code == 500 and [r], "500")[0]
    assert answer.json()["error"] == "Function http::nofn not found"


@pytest.mark.parametrize("path", ["/T/Case", "/t/case/", "/t//case", "/%74/case"])
def test_paths_are_not_normalised(core, app, get, path):
    app.route("/t/case", ok(1))
    assert get("/t/case").status_code == 200
    assert requests.Request("GET", core.http_url + path).prepare() and raw(core, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 404")


def raw(core, text, read=True) -> bytes:
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=10) as s:
        s.sendall(text if isinstance(text, bytes) else text.encode())
        data = b""
        while read and (chunk := s.recv(65536)):
            data += chunk
        return data


def test_wildcard(app, get):
    app.route("/t/files/{*rest}", lambda d: {"body": d["path_params"]})
    assert get("/t/files/a/b/c").json() == {"rest": "a/b/c"}


def test_parameters_stay_raw(app, get):
    app.route("/t/items/:id", lambda d: {"body": d["path_params"]})
    assert get("/t/items/hello%20world").json() == {"id": "hello%20world"}


def test_payload(core, app, get):
    app.route("t/payload/:id", ok(1), method="POST", function="http::payload")
    get("/t/payload/7?a=1&a=2&b=x+y&c", "POST", json={"n": 9007199254740993}, headers={"X-Tag": "b"})
    call = app.seen["http::payload"]
    data = call["data"]
    assert set(data) >= {"query_params", "path_params", "headers", "path", "method", "body", "trigger", "request_body", "response"}
    assert "_caller_worker_id" not in data
    assert data["query_params"] == {"a": "2", "b": "x y", "c": ""} and data["path_params"] == {"id": "7"}
    assert data["path"] == "t/payload/:id" and data["trigger"] == {"type": "http", "path": "t/payload/:id", "method": "POST"}
    assert data["body"] == {"n": 9007199254740993} and data["headers"]["x-tag"] == "b" and data["method"] == "POST"
    assert data["request_body"]["direction"] == "read" and data["response"]["direction"] == "write"
    assert data["request_body"]["channel_id"] != data["response"]["channel_id"]
    assert all(isinstance(data[ref][key], str) for ref in ("request_body", "response") for key in ("channel_id", "access_key"))


@pytest.mark.parametrize("body, kind", [(b"{nope", "application/json"), (b"", "application/json"), (b"", None), (b"a=1", "application/x-www-form-urlencoded"), (b"1", "text/plain"), (b"\xff", "application/json")])
def test_bodies_that_are_not_json_are_null(app, get, body, kind):
    path = f"/t/null/{uuid.uuid4()}"
    app.route(path, lambda d: {"body": {"got": d["body"]}}, method="POST")
    answer = get(path, "POST", data=body, headers={"content-type": kind} if kind else {})
    assert answer.json() == {"got": None}


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8"])
def test_json_body_with_parameters(app, get, kind):
    path = f"/t/json/{uuid.uuid4()}"
    app.route(path, lambda d: {"body": d["body"]}, method="POST")
    assert get(path, "POST", data=b' {"a": [1.0, "\\u00e9"]} ', headers={"content-type": kind}).json() == {"a": [1.0, "é"]}


@pytest.mark.parametrize("value", [{}, "hi", [1], 5, True, {"hello": 1}])
def test_plain_returns_give_an_empty_object(app, get, value):
    path = f"/t/plain/{uuid.uuid4()}"
    app.route(path, lambda d: value)
    answer = get(path)
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "application/json", b"{}")


@pytest.mark.parametrize(
    "returned, status, kind, body",
    [
        ({"status_code": 201, "body": {"a": 1}}, 201, "application/json", b'{"a":1}'), ({"body": "hi"}, 200, "application/json", b'"hi"'),
        ({"headers": {"Content-Type": "text/xml"}, "body": "<a/>"}, 200, "text/xml", b"<a/>"), ({"body": None}, 200, "application/json", b"null"),
        ({"headers": {"content-type": "text/plain"}, "body": None}, 200, "text/plain", b""), ({"headers": {"content-type": "text/plain"}, "body": [1]}, 200, "text/plain", b"[1]"),
        ({"headers": {"content-type": "application/json"}, "body": '{"raw":1}'}, 200, "application/json", b'{"raw":1}'), ({"status_code": "201", "body": 1}, 200, "application/json", b"1"),
    ],
)
def test_response_mapping(app, get, returned, status, kind, body):
    path = f"/t/map/{uuid.uuid4()}"
    app.route(path, lambda d: returned)
    answer = get(path)
    assert (answer.status_code, answer.headers.get("content-type"), answer.content.replace(b" ", b"")) == (status, kind, body)


def test_header_list(core, app, get):
    app.route("/t/cookies", lambda d: {"headers": ["Set-Cookie: a=1", "Set-Cookie: b=2", "no colon", 1], "body": {}})
    get("/t/cookies")
    head = raw(core, "GET /t/cookies HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").split(b"\r\n\r\n")[0].lower()
    assert head.count(b"set-cookie:") == 2 and b"no colon" not in head


def test_no_content(app, get):
    app.route("/t/204", lambda d: {"status_code": 204})
    answer = get("/t/204")
    assert (answer.status_code, answer.content) == (204, b"") and "transfer-encoding" not in answer.headers


@pytest.mark.parametrize("status", ["404", 404.0, True, [404]], ids=["text", "float", "bool", "list"])
def test_a_status_that_is_no_integer_does_not_pass_in_silence(app, get, core, status):
    path = f"/t/odd-{uuid.uuid4().hex}"
    app.route(path, lambda d: {"status_code": status, "body": 1})
    assert get(path).status_code == 200
    wait_for(lambda: any("no integer" in line and path in line for line in core.output().splitlines()), "the warning")


def test_handler_error(app, get):
    def boom(data):
        raise RuntimeError("boom")

    app.route("/t/boom", boom)
    answer = get("/t/boom")
    body = answer.json()
    assert answer.status_code == 500 and body["error"] == "boom" and 1 <= len(body["error_id"]) <= 12 and "trace" not in answer.text
    int(body["error_id"], 16)


def test_input_that_a_function_cannot_use_is_the_clients_fault(app, get):
    """Typed Swift functions say so (`WorkerTests`), and those of the engine: a request is no input for this one."""
    with app.lock:
        app.wire.register_trigger("http", "engine::functions::info", config={"api_path": "/t/info"})
    wait_for(lambda: get("/t/info").status_code != 404, "the route is live")
    answer = get("/t/info")
    assert answer.status_code == 400 and set(answer.json()) == {"error"} and "function_id" in answer.json()["error"]


def test_worker_killed_during_a_call(core, get):
    other = App(core.port)
    other.route("/t/killed", None, function="http::killed")
    result = {}
    thread = threading.Thread(target=lambda: result.update(answer=get("/t/killed")))
    thread.start()
    wait_for(lambda: "http::killed" in other.seen, "the call")
    other.wire.close()
    thread.join(10)
    assert result["answer"].status_code == 500 and result["answer"].json()["error"] == "Invocation stopped"


@pytest.mark.parametrize("value, status", [(False, 422), (True, 200), (None, 200), (0, 200), ("false", 200), ({}, 200)])
def test_conditions(app, get, value, status):
    condition = f"cond::{uuid.uuid4()}"
    app.handlers[condition] = lambda d: value
    app.wire.register(condition)
    path = f"/t/cond/{uuid.uuid4()}"
    app.route(path, ok("ran"), method="POST", condition_function_id=condition)
    answer = get(path, "POST", json={"x": 1})
    assert answer.status_code == status
    seen = app.seen[condition]["data"]
    assert seen["body"] == {"x": 1} and "request_body" not in seen and "response" not in seen
    if status == 422:
        assert answer.json() == {"error": "Request condition not met", "skipped": True}


def test_missing_condition_function(app, get):
    app.route("/t/nocond", ok(1), condition_function_id="cond::missing")
    assert get("/t/nocond").status_code == 500


def test_trigger_metadata_is_the_sidecar(app, get):
    app.handlers["http::meta"] = ok(1)
    app.wire.register("http::meta")
    app.wire.register_trigger("http", "http::meta", config={"api_path": "/t/meta"}, metadata={"team": "core"})
    assert get("/t/meta").status_code == 200
    assert app.seen["http::meta"]["metadata"] == {"team": "core"}


def test_options(core):
    answer = requests.options(f"{core.http_url}/any/{uuid.uuid4()}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert all(answer.headers[f"access-control-allow-{k}"] == "*" for k in ("origin", "methods", "headers"))
    assert "access-control-request-method" in answer.headers["vary"]


def test_pipelined_requests_are_answered_in_order(core, app, get):
    app.route("/t/slow", lambda d: (time.sleep(0.2), {"body": "slow"})[1])
    app.route("/t/fast", ok("fast"))
    get("/t/slow"), get("/t/fast")
    data = raw(core, "GET /t/slow HTTP/1.1\r\nHost: x\r\n\r\nGET /t/fast HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert data.index(b'"slow"') < data.index(b'"fast"')


@pytest.mark.parametrize(
    "head",
    [
        "Host: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Host: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n", "", "Host: x\r\nHost: y\r\n",
        "Host: x\r\nContent-Length: +3\r\n", "Host: x\r\nTransfer-Encoding: gzip\r\n", "Host : x\r\n", "Host: x\r\n folded\r\n",
    ],
)
def test_ambiguous_requests_are_refused_and_closed(core, head):
    assert raw(core, f"POST / HTTP/1.1\r\n{head}\r\nabc").startswith(b"HTTP/1.1 400")


def test_limits_of_a_request_head(core):
    assert raw(core, f"GET /{'a' * 20000} HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 414")
    assert raw(core, "GET / HTTP/1.1\r\nHost: x\r\n" + "".join(f"x-{i}: 1\r\n" for i in range(200)) + "\r\n").startswith(b"HTTP/1.1 431")


def test_expect_continue(core, app, get):
    app.route("/t/continue", lambda d: {"body": d["body"]}, method="POST")
    get("/t/continue", "POST", json=1)
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=10) as s:
        s.sendall(b"POST /t/continue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 100")
        s.sendall(b"[1]")
        data = b""
        while chunk := s.recv(65536):
            data += chunk
        assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"[1]")


def test_routes_come_and_go_under_load(core, app, get):
    """Item 17: a thousand routes added and removed do not touch an unrelated one."""
    app.route("/t/stable", ok("stable"))
    get("/t/stable")
    churn = Wire(core.port).hello()
    failures = []
    stop = threading.Event()

    def load():
        session = requests.Session()
        while not stop.is_set():
            answer = session.get(f"{core.http_url}/t/stable")
            if answer.status_code != 200:
                failures.append(answer.status_code)

    thread = threading.Thread(target=load)
    thread.start()
    for _ in range(2):
        ids = [churn.register_trigger("http", "http::churn", config={"api_path": f"/churn/{i % 50}/:p/{i}"}) for i in range(500)]
        for trigger in ids:
            churn.send({"type": "unregistertrigger", "id": trigger, "trigger_type": "http"})
    churn.sync()
    stop.set()
    thread.join()
    churn.close()
    assert failures == []


def test_deadline_limit_and_late_results():
    http = {"default_timeout": 400, "concurrency_request_limit": 2, "concurrency_queue_limit": 2, "body_limit": 1000, "null_result_grace_ms": 100}
    with fleet(http=http) as it:
        app = App(it.port)
        app.route("/never", None, function="http::never")
        app.route("/fast", ok(1))
        app.route("/null", lambda d: None)
        app.route("/body", ok(1), method="POST")
        wait_for(lambda: requests.get(f"{it.http_url}/fast").status_code == 200, "the route")
        assert requests.get(f"{it.http_url}/never").status_code == 504
        app.send(app.seen["http::never"], result={"body": "late"})
        assert requests.get(f"{it.http_url}/fast").json() == 1
        assert requests.get(f"{it.http_url}/null").status_code == 204
        large = requests.post(f"{it.http_url}/body", data="x" * 2000, headers={"content-type": "application/json"})
        assert large.status_code == 413
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(requests.get(f"{it.http_url}/never"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = sorted(s.status_code for s in statuses)
        assert codes.count(503) == 4 and set(codes) <= {503, 504}, codes
        assert all(s.headers["retry-after"] == "1" for s in statuses if s.status_code == 503)
        app.wire.close()


def test_concurrency_limit_holds():
    with fleet(http={"concurrency_request_limit": 2}) as it:
        app = App(it.port)
        running, highest = [], []

        def work(data):
            running.append(1)
            highest.append(len(running))
            time.sleep(0.1)
            running.pop()
            return {"body": 1}

        app.route("/work", work)
        wait_for(lambda: requests.get(f"{it.http_url}/work").status_code == 200, "the route")
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(requests.get(f"{it.http_url}/work").status_code)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 6 and max(highest) <= 2
        app.wire.close()


def test_cors_configuration():
    with fleet(http={"cors": {"allowed_origins": ["http://ok.test"], "allowed_methods": ["GET", "POST"]}, "error_format": "envelope"}) as it:
        allowed = requests.options(f"{it.http_url}/x", headers={"origin": "http://ok.test"})
        assert allowed.headers["access-control-allow-origin"] == "http://ok.test" and allowed.headers["access-control-allow-methods"] == "GET,POST"
        refused = requests.get(f"{it.http_url}/x", headers={"origin": "http://evil.test"})
        assert "access-control-allow-origin" not in refused.headers
        assert refused.json() == {"error": {"code": "NOT_FOUND", "message": "Not Found"}}
