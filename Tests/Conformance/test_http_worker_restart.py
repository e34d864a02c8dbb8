"""Routes whose only worker goes away and comes back, and what many clients together may make the gateway keep
(docs/reference/http.md#errors)."""

import contextlib
import socket
import threading

import requests

from processes import http_status, ok, serving, wait_for_http
from test_http_raw import core_connections, read, statuses
from wire import fleet, wait_for

RESTART = {"worker_restart_hold_ms": 8000, "worker_restart_grace_ms": 12000, "worker_restart_hold_limit": 4}


def test_requests_wait_for_a_worker_that_restarts():
    with fleet(http=RESTART) as core:
        with serving(core.port, {"again::f": ok}, {"/again": "again::f"}):
            wait_for_http(core.http_url + "/again")
        wait_for(lambda: "Unregistering router GET:again" in core.output(), "its going is noticed")
        answers = []
        waiting = [threading.Thread(target=lambda: answers.append(http_status(core.http_url + "/again", 30))) for _ in range(3)]
        for thread in waiting:
            thread.start()
        wait_for(lambda: core_connections(core) == 3, "the requests are there")
        with serving(core.port, {"again::f": ok}, {"/again": "again::f"}):
            for thread in waiting:
                thread.join(30)
        assert answers == [200] * 3


def test_a_worker_that_is_not_back_is_503_then_404():
    with fleet(http={"worker_restart_hold_ms": 200, "worker_restart_grace_ms": 6000}) as core:
        with serving(core.port, {"gone::f": ok}, {"/gone": "gone::f"}):
            wait_for_http(core.http_url + "/gone")
        wait_for(lambda: "Unregistering router GET:gone" in core.output(), "its going is noticed")
        answer = requests.get(core.http_url + "/gone", timeout=10)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        wait_for_http(core.http_url + "/gone", 404)


def test_a_trigger_that_is_taken_back_is_404_at_once():
    with fleet(http=RESTART) as core, serving(core.port, {"back::f": ok}) as service:
        trigger = service.wire.register_trigger("http", "back::f", config={"api_path": "/back"})
        wait_for_http(core.http_url + "/back")
        service.wire.send({"type": "unregistertrigger", "id": trigger, "trigger_type": "http"})
        wait_for_http(core.http_url + "/back", 404, timeout=5)


def test_a_refused_update_of_a_route_leaves_nothing_behind_its_owner():
    with fleet(http=RESTART) as core:
        with serving(core.port, {"ghost::f": ok}) as service:
            trigger = service.wire.register_trigger("http", "ghost::f", config={"api_path": "/ghost"})
            wait_for_http(core.http_url + "/ghost")
            service.wire.register_trigger("http", "ghost::f", trigger, config={"api_path": "/gho st"})
            wait_for(lambda: "can never match" in core.output(), "the refusal is said")
            assert http_status(core.http_url + "/ghost") == 200, "the old route serves on"
        wait_for_http(core.http_url + "/ghost", 404, timeout=5)


def test_half_bodies_of_many_clients_are_bounded_together():
    with fleet(http={"max_buffered_bytes": 4 << 20}) as core, serving(core.port, {"half::f": ok}, {"/half": "half::f"}) as service:
        service.wire.register_trigger("http", "half::f", config={"api_path": "/body", "http_method": "POST"})
        wait_for_http(core.http_url + "/half")
        head = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n"
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", core.http_port), timeout=20)) for _ in range(20)]
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(head + b"1" * 1_000_000)
            wait_for(lambda: any(readable(client) for client in clients), "some are turned away")
            # Whoever was turned away hears 503; the memory of the others is theirs until they leave.
            turned_away = [client for client in clients if readable(client)]
            assert turned_away and all(statuses(read(client)) == [503] for client in turned_away)
        wait_for_http(core.http_url + "/half")


def readable(client) -> bool:
    client.settimeout(0.05)
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except OSError:
        return False
    finally:
        client.settimeout(20)


def test_clients_that_do_not_read_are_cut_when_the_memory_is_used_up():
    settings = {"max_buffered_bytes": 32 << 20, "write_stall_timeout_ms": 0}
    functions = {"big::f": lambda _data: {"body": "x" * 16_000_000}, "small::f": ok}
    with fleet(http=settings) as core, serving(core.port, functions, {"/big": "big::f", "/small": "small::f"}):
        wait_for_http(core.http_url + "/small")
        with contextlib.ExitStack() as stack:
            for _ in range(6):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", core.http_port), timeout=20))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: http_status(core.http_url + "/big", 20) and "slow_client_cut" in core.output(), "the memory is used up and clients are cut")
            # Those who read are served again, without anybody's help.
            wait_for(lambda: http_status(core.http_url + "/big", 20) == 200, "a reader is served")
