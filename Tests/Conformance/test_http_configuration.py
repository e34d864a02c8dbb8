"""Every option of the iii-http entry that changes what clients or handlers see, over real processes."""

import contextlib
import gzip
import json
import re
import socket
import uuid

import pytest
import requests

from processes import run_core
from test_http import App, raw
from wire import fleet, wait_for


@contextlib.contextmanager
def gateway(**http):
    with fleet(http=http) as core:
        app = App(core.port)
        try:
            yield core, app
        finally:
            app.wire.close()


def routed(core, path, method="GET", **options):
    return wait_for(
        lambda: (r := requests.request(method, core.http_url + path, timeout=30, allow_redirects=False, **options)).status_code not in (404, 405) and [r], f"route {path}"
    )[0]


@pytest.mark.parametrize(
    "http, message",
    [
        ({"middleware": [{"function_id": "a", "phase": "onError"}]}, "phase"), ({"middleware": [{"function_id": "a", "prio": 1}]}, "prio"),
        ({"middleware": [{"priority": 1}]}, "function_id"), ({"middleware_mode": "odd"}, "middleware_mode"), ({"access_log": "xml"}, "access_log"),
        ({"access_log_sample": 1.5}, "access_log_sample"), ({"compression": "br"}, "compression"), ({"max_conections": 1}, "max_connections"),
    ],
)  # fmt: skip
def test_wrong_values_are_named_by_config_check(tmp_path, http, message):
    import yaml

    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"workers": [{"name": "iii-http", "config": http}]}))
    done = run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1 and message in done.stdout + done.stderr


def test_every_option_is_known_to_config_check(tmp_path):
    import yaml

    http = {
        "middleware": [{"function_id": "a"}], "middleware_mode": "strict", "trust_proxy": True, "request_id_header": None, "ignore_trailing_slash": True, "not_found_function": "a", "stream_body_limit": 0, "plain_return_as_body": True,
        "error_status_mapping": True, "hide_error_messages": True, "extended_request": True, "health_path_prefix": "", "openapi_path": "/openapi.json", "access_log": "json", "access_log_sample": 0.5, "compression": "gzip",
        "compression_min_bytes": 10, "etag": True, "max_requests_per_connection": 3, "write_stall_timeout_ms": 1, "body_timeout_ms": 1, "max_connections": 5,
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"workers": [{"name": "iii-http", "config": http}]}))
    done = run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_request_id_is_accepted_or_made_and_echoed():
    with gateway(extended_request=True) as (core, app):
        app.route("/id", lambda d: {"body": d["request_id"]})
        made = routed(core, "/id")
        assert re.fullmatch(r"[0-9a-f-]{36}", made.json()) and made.headers["x-request-id"] == made.json()
        given = requests.get(core.http_url + "/id", headers={"x-request-id": "client-7"})
        assert given.json() == given.headers["x-request-id"] == "client-7"
        bad = requests.get(core.http_url + "/id", headers={"x-request-id": "a" * 129})
        assert re.fullmatch(r"[0-9a-f-]{36}", bad.json())
        assert "x-request-id" in requests.get(core.http_url + "/none").headers


@pytest.mark.parametrize("off", [None, ""])
def test_request_id_can_be_switched_off(off):
    with gateway(request_id_header=off, extended_request=True) as (core, app):
        app.route("/id", lambda d: {"body": d["request_id"]})
        answer = routed(core, "/id")
        assert "x-request-id" not in answer.headers and answer.json() is None


def test_extended_request_and_trusted_proxy():
    with gateway(extended_request=True, trust_proxy=True) as (core, app):
        app.route("/x/:id", lambda d: {"body": d})
        assert routed(core, "/x/0").status_code == 200
        data = raw(core, "GET /x/a%20b?k=1&k=2&e HTTP/1.1\r\nhost: h\r\nx-forwarded-for: 9.9.9.9, 10.0.0.7\r\nx-a: 1\r\nX-A: 2\r\nconnection: close\r\n\r\n")
        body = json.loads(data.split(b"\r\n\r\n", 1)[1])
        assert body["raw_path"] == "/x/a%20b" and body["raw_query"] == "k=1&k=2&e" and body["query_params_all"] == {"k": ["1", "2"], "e": [""]}
        assert body["headers_all"]["x-a"] == ["1", "2"] and body["headers"]["x-a"] == "2" and body["remote_addr"] == "10.0.0.7" and body["http_version"] == "1.1"


def test_defaults_add_nothing_and_trust_nobody():
    with gateway() as (core, app):
        app.route("/x", lambda d: {"body": sorted(d)})
        assert routed(core, "/x").json() == sorted(["query_params", "path_params", "headers", "path", "method", "body", "trigger", "request_body", "response"])
    with gateway(extended_request=True) as (core, app):
        app.route("/x", lambda d: {"body": d["remote_addr"]})
        assert routed(core, "/x", headers={"x-forwarded-for": "9.9.9.9"}).json() == "127.0.0.1"


def test_trailing_slash_and_not_found_function():
    with gateway(ignore_trailing_slash=True, not_found_function="nf") as (core, app):
        app.handlers["nf"] = lambda d: {"body": [d["path"], d["query_params"], d["method"]]}
        app.wire.register("nf")
        app.route("/users", lambda d: {"body": "users"})
        app.route("/teams/", lambda d: {"body": "teams"})
        assert routed(core, "/users/").json() == "users" and routed(core, "/teams").json() == "teams"
        answer = requests.get(core.http_url + "/no%20where?a=b")
        assert answer.status_code == 404 and answer.json() == ["/no%20where", {"a": "b"}, "GET"]
        assert requests.delete(core.http_url + "/users").status_code == 405


def test_results_and_errors_as_configured():
    with gateway(plain_return_as_body=True, error_status_mapping=True, hide_error_messages=True) as (core, app):
        app.route("/plain", lambda d: [1, "two"])
        assert routed(core, "/plain").json() == [1, "two"]

        def fail(data):
            raise RuntimeError("secret")

        app.route("/fail", fail)
        answer = routed(core, "/fail")
        assert answer.status_code == 500 and answer.json()["error"] == "internal server error" and "secret" not in answer.text
        wait_for(lambda: "secret" in core.output() and answer.json()["error_id"] in core.output(), "the log line")
        app.wire.register_trigger("http", "nobody::serves", config={"api_path": "/missing"})
        answer = routed(core, "/missing")
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_node_buffers():
    with gateway() as (core, app):
        app.route("/png", lambda d: {"headers": {"content-type": "image/png"}, "body": {"type": "Buffer", "data": list(b"\x89PNG\r\n")}})
        answer = routed(core, "/png")
        assert answer.content == b"\x89PNG\r\n" and answer.headers["content-length"] == "6"


def test_compression_and_entity_tags():
    with gateway(compression="gzip", compression_min_bytes=100, etag=True) as (core, app):
        big = {"a": ["text"] * 500}
        app.route("/big", lambda d: {"body": big})
        app.route("/small", lambda d: {"body": 1})
        answer = routed(core, "/big", headers={"accept-encoding": "gzip"}, stream=True)
        packed = answer.raw.read()
        assert answer.headers["content-encoding"] == "gzip" and "accept-encoding" in answer.headers["vary"] and len(packed) == int(answer.headers["content-length"])
        assert len(packed) < 500 and json.loads(gzip.decompress(packed)) == big
        head = requests.head(core.http_url + "/big", headers={"accept-encoding": "gzip"})
        assert head.headers["content-length"] == answer.headers["content-length"]
        plain = requests.get(core.http_url + "/big", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.json() == big and plain.headers["etag"] == answer.headers["etag"]
        assert "content-encoding" not in routed(core, "/small").headers
        again = requests.get(core.http_url + "/big", headers={"if-none-match": plain.headers["etag"]})
        assert again.status_code == 304 and again.content == b""


def test_stream_body_limit():
    with gateway(stream_body_limit=1000) as (core, app):
        app.route("/up", lambda d: {"body": 1}, method="POST")
        assert routed(core, "/up", "POST", data=b"x" * 1000, headers={"content-type": "text/plain"}).status_code == 200
        assert requests.post(core.http_url + "/up", data=b"x" * 1001, headers={"content-type": "text/plain"}).status_code == 413
        assert requests.post(core.http_url + "/up", json="x" * 2000).status_code == 200


def test_requests_per_connection_and_body_timeout():
    with gateway(max_requests_per_connection=2, body_timeout_ms=200) as (core, app):
        app.route("/up", lambda d: {"body": d["body"]}, method="POST")
        assert routed(core, "/up", "POST", json=1).status_code == 200
        with requests.Session() as session:
            assert "connection" not in session.post(core.http_url + "/up", json=1).headers
            assert session.post(core.http_url + "/up", json=1).headers["connection"] == "close"
        stalled = raw(core, "POST /up HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n[1")
        assert stalled.startswith(b"HTTP/1.1 408") and b"connection: close" in stalled


def is_established(port: int, client: socket.socket) -> bool:
    """Whether the server's end of this connection is still open, as the kernel sees it."""
    with open("/proc/net/tcp") as table:
        ends = (f":{port:04X}", f":{client.getsockname()[1]:04X}")
        return any(line.split()[1].endswith(ends[0]) and line.split()[2].endswith(ends[1]) and line.split()[3] == "01" for line in table.readlines()[1:])


def test_client_that_stops_reading_is_dropped():
    with gateway(write_stall_timeout_ms=300) as (core, app):
        app.route("/big", lambda d: {"body": "x" * 8_000_000})
        assert routed(core, "/big").status_code == 200
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", core.http_port))
            s.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
            wait_for(lambda: not is_established(core.http_port, s), "the gateway to drop the connection")


def test_connections_are_limited():
    with gateway(max_connections=2) as (core, app):
        held = [socket.create_connection(("127.0.0.1", core.http_port), timeout=10) for _ in range(2)]
        for s in held:
            s.sendall(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n")
            assert s.recv(65536).startswith(b"HTTP/1.1 404")
        assert raw(core, "").startswith(b"HTTP/1.1 503")
        for s in held:
            s.close()
        wait_for(lambda: raw(core, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").startswith(b"HTTP/1.1 404"), "a free place")


def test_trace_context_is_passed_on_when_valid():
    with gateway() as (core, app):
        app.route("/t", lambda d: {"body": 1}, function="traced")
        valid = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        assert routed(core, "/t", headers={"traceparent": valid, "baggage": "a=b"}).status_code == 200
        assert app.seen["traced"]["traceparent"] == valid and app.seen["traced"]["baggage"] == "a=b"
        requests.get(core.http_url + "/t", headers={"traceparent": "00-zz"})
        assert not app.seen["traced"].get("traceparent")


def test_functions_of_a_route_are_looked_up_in_its_namespace():
    with gateway() as (core, app):
        app.route("/here", lambda d: {"body": 1}, function="ns::it")
        app.wire.register_trigger("http", "ns::it", config={"api_path": "/there"}, namespace="billing")
        assert routed(core, "/here").status_code == 200
        answer = routed(core, "/there")
        assert answer.status_code == 500 and "not found in namespace billing" in answer.json()["error"]
