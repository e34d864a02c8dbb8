"""Judged by others: httplint (the linter behind REDbot) reads our responses, schemathesis attacks an app through its OpenAPI document."""

import socket
import subprocess
import sys
import time

import pytest
import requests
from httplint import HttpRequestLinter, HttpResponseLinter
from httplint.note import levels

from processes import serving
from wire import fleet, wait_for

PERSON = {
    "type": "object", "required": ["body"],
    "properties": {"body": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}}}


def make(data):
    person = data["body"]
    if not isinstance(person, dict) or not isinstance(person.get("name"), str) or not isinstance(person.get("age", 0), int) or isinstance(person.get("age", 0), bool):
        return {"status_code": 400, "body": {"error": "name must be a text, age an integer"}}
    return {"status_code": 201, "headers": {"location": "/people/1"}, "body": person}


@pytest.fixture(scope="module")
def core():
    http = {"openapi_path": "/openapi.json", "health_path_prefix": "", "invalid_json": "reject", "compression": "gzip", "compression_min_bytes": 100}
    with fleet(http=http) as it:
        functions = {
            "tool::make": make, "tool::get": lambda data: {"body": {"id": data["path_params"]["id"]}}, "tool::text": lambda data: {"headers": {"content-type": "text/plain; charset=utf-8"}, "body": "text " * 200},
            "tool::gone": lambda data: {"status_code": 204}}
        with serving(it.port, {}) as app:
            app.functions = functions
            app.wire.register("tool::make", request_format=PERSON, description="Makes a person")
            for function in ["tool::get", "tool::text", "tool::gone"]:
                app.wire.register(function)
            for function, path, method in [("tool::make", "/people", "POST"), ("tool::get", "/people/:id", "GET"), ("tool::text", "/text", "GET"), ("tool::gone", "/people/:id", "DELETE")]:
                app.wire.register_trigger("http", function, config={"api_path": path, "http_method": method})
            wait_for(lambda: len(requests.get(f"{it.http_url}/openapi.json", timeout=10).json()["paths"]) == 3, "the document names all paths")
            yield it


def pairs(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    return [(name, value.strip()) for name, value in (line.split(b":", 1) for line in lines)]


@pytest.mark.parametrize(
    "request_line, fields, body",
    [
        ("GET /people/1", "", ""), ("HEAD /people/1", "", ""), ("POST /people", "Content-Type: application/json\r\n", '{"name":"x"}'), ("POST /people", "Content-Type: application/json\r\n", "{"),
        ("GET /text", "", ""), ("GET /text", "Accept-Encoding: gzip\r\n", ""), ("DELETE /people/1", "", ""), ("GET /nothing", "", ""), ("PUT /people/1", "", ""),
        ("OPTIONS /people", "Origin: http://a.test\r\nAccess-Control-Request-Method: POST\r\n", ""), ("GET /healthz", "", ""), ("GET /openapi.json", "", ""),
    ])
def test_httplint_finds_nothing_bad(core, request_line, fields, body):
    with socket.create_connection(("127.0.0.1", core.http_port), timeout=20) as client:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        client.sendall(f"{request_line} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}{length}\r\n{body}".encode())
        data = b""
        while chunk := client.recv(65536):
            data += chunk
    head, content = data.split(b"\r\n\r\n", 1)
    top, *lines = head.split(b"\r\n")
    version, status, phrase = (top.split(b" ", 2) + [b""])[:3]
    asked = HttpRequestLinter(start_time=time.time())
    method, target = request_line.split(" ")
    asked.process_request_topline(method.encode(), f"http://a.test{target}".encode(), b"HTTP/1.1")
    asked.process_headers([(b"Host", b"a.test"), *pairs(fields.encode().split(b"\r\n")[:-1])])
    asked.finish_content(True)
    linter = HttpResponseLinter(start_time=time.time())
    linter.request, linter.is_head_response = asked, method == "HEAD"
    linter.process_response_topline(version, status, phrase)
    linter.process_headers(pairs(lines))
    linter.feed_content(content)
    linter.finish_content(True)
    assert [str(note.summary) for note in linter.notes if note.level is levels.BAD] == []


def test_schemathesis_breaks_nothing(core):
    """Positive and hostile inputs from the document: no 5xx, no undocumented status, content types as documented."""
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{core.http_url}/openapi.json", "--url", core.http_url, "--checks", "not_a_server_error,content_type_conformance",
            "--max-examples", "60", "--seed", "1", "--request-timeout", "20", "--no-color"],
        capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
