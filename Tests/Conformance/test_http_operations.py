"""What operators see of iii-http over real processes: health, the OpenAPI document, the access log."""

import json

import pytest
import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from test_http import App
from wire import fleet, wait_for


def routed(core, path, method="GET", **options):
    return wait_for(lambda: (r := requests.request(method, core.http_url + path, timeout=30, **options)).status_code not in (404, 405) and [r], f"route {path}")[0]


# Health


@pytest.mark.parametrize("prefix", ["", "/internal"])
def test_health_endpoints(prefix):
    with fleet(http={"health_path_prefix": prefix}) as core:
        live = requests.get(f"{core.http_url}{prefix}/healthz")
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
        assert requests.get(f"{core.http_url}{prefix}/readyz").json() == {"status": "ready"}
        assert requests.head(f"{core.http_url}{prefix}/readyz").status_code == 200
        refused = requests.post(f"{core.http_url}{prefix}/healthz")
        assert refused.status_code == 405 and refused.headers["allow"] == "GET,HEAD"
        app = App(core.port)
        app.route(f"{prefix}/healthz", lambda d: {"body": "mine"})
        wait_for(lambda: "is never reached" in core.output(), "the warning about the shadowed route")
        assert requests.get(f"{core.http_url}{prefix}/healthz").json() == {"status": "ok"}
        app.wire.close()


def test_there_is_no_health_endpoint_unless_asked_for():
    with fleet(http={}) as core:
        assert requests.get(f"{core.http_url}/healthz").status_code == 404


# OpenAPI


def test_openapi_document_is_valid_and_follows_the_registry():
    with fleet(http={"openapi_path": "/openapi.json"}) as core:

        def document():
            answer = requests.get(f"{core.http_url}/openapi.json")
            assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
            OpenAPIV31SpecValidator(answer.json()).validate()
            return answer.json()

        assert document()["paths"] == {}
        app = App(core.port)
        user = {
            "type": "object",
            "required": ["body"],
            "properties": {"body": {"$ref": "#/$defs/User"}},
            "$defs": {"User": {"type": "object", "properties": {"name": {"type": "string"}}}},
        }
        app.wire.register("users::make", description="Makes a user", request_format=user, response_format={"type": "object"})
        app.wire.register_trigger("http", "users::make", "t1", config={"api_path": "users/:team", "http_method": "POST"}, metadata={"tags": ["users"]})
        app.wire.register("old::style", request_format={"name": "in", "type": "object", "body": [{"name": "a", "type": "string", "required": True}]})
        app.wire.register_trigger("http", "old::style", config={"api_path": "/old/{*rest}", "http_method": "PUT"})
        app.wire.register("odd::schema", request_format={"required": True, "$ref": "http://127.0.0.1:1/x", "type": "text"})
        app.wire.register_trigger("http", "odd::schema", config={"api_path": "/users/:zone", "http_method": "PATCH"})
        made = wait_for(lambda: (d := document()) and len(d["paths"]) == 2 and d, "both paths")
        post = made["paths"]["/users/{team}"]["post"]
        assert post["summary"] == "Makes a user" and post["tags"] == ["users"] and post["parameters"][0]["name"] == "team"
        assert post["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/users.make.request/properties/body"}
        assert made["components"]["schemas"]["old.style.request"] == {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
        # Only the function changes, no route.
        app.wire.register("users::make", description="Makes another user")
        wait_for(lambda: document()["paths"]["/users/{team}"]["post"].get("summary") == "Makes another user", "the new description")
        app.wire.close()
        wait_for(lambda: document()["paths"] == {}, "an empty document")


# Access log


def lines(core):
    found = []
    for line in core.output().splitlines():
        start = line.find('{"bytes"')
        if start >= 0:
            found.append(json.loads(line[start:]))
    return found


def test_json_access_log_has_one_line_per_request_and_no_secrets():
    with fleet(http={"access_log": "json"}) as core:
        app = App(core.port)
        app.route("/log/:id", lambda d: {"status_code": 201}, function="log::it")
        assert routed(core, "/log/1?token=hidden&b=2", headers={"authorization": "hidden", "x-request-id": "r-1"}).status_code == 201
        requests.get(core.http_url + "/nowhere")
        line = wait_for(lambda: [it for it in lines(core) if it["status"] == 201], "the line")[-1]
        assert line["method"] == "GET" and line["path"] == "/log/1" and line["route"] == "GET /log/:id" and line["function_id"] == "log::it"
        assert line["query_keys"] == ["token", "b"] and line["request_id"] == "r-1" and line["remote_addr"] == "127.0.0.1" and line["bytes"] > 0
        wait_for(lambda: [it for it in lines(core) if it["path"] == "/nowhere" and it["route"] is None], "the line of the 404")
        assert "hidden" not in core.output()
        app.wire.close()


def test_text_access_log():
    with fleet(http={"access_log": "text"}) as core:
        app = App(core.port)
        app.route("/text", lambda d: {"body": 1}, function="text::it")
        assert routed(core, "/text?a=1").status_code == 200
        requests.get(core.http_url + "/nowhere")
        wait_for(lambda: "[CALLED] Endpoint GET /text → text::it 200 (" in core.output(), "the line")
        wait_for(lambda: "[CALLED] Endpoint GET /nowhere → <no route> 404 (" in core.output(), "the line of the 404")
        app.wire.close()
