"""Changes of the iii-http entry while it runs: nothing is lost, nothing is mixed, nothing invalid takes hold."""

import json
import threading

import requests

from processes import entries_of, http_status, reloads, save, status_of
from test_http import App
from test_http_operations import routed
from wire import fleet, free_port, wait_for


def change(core, **http):
    """Saves other settings of iii-http and waits for the end of the reload."""
    entries = entries_of(core)
    config = next(entry for entry in entries if entry["name"] == "iii-http")["config"]
    config.update(http)
    before = reloads(core)
    save(core, entries)
    wait_for(lambda: reloads(core) > before, "the reload")


def test_changed_settings_apply_without_a_restart_or_a_lost_connection():
    with fleet(http={}) as core:
        app = App(core.port)
        release = threading.Event()
        app.route("/slow", lambda d: release.wait(10) and {"body": 1})
        app.route("/fast", lambda d: {"body": 1})
        assert routed(core, "/fast").status_code == 200
        pid = core.pid_of("iii-http")
        with requests.Session() as session:
            first = session.get(core.http_url + "/fast")
            assert first.headers["access-control-allow-origin"] == "*"
            slow = []
            waiting = threading.Thread(target=lambda: slow.append(requests.get(core.http_url + "/slow", timeout=30)))
            waiting.start()
            wait_for(lambda: any(call["data"]["path"] == "/slow" for call in app.seen.values()), "the slow call")
            failures, stop = [], threading.Event()

            def load():
                with requests.Session() as other:
                    while not stop.is_set():
                        answer = other.get(core.http_url + "/fast", timeout=30)
                        if answer.status_code != 200 or answer.headers.get("connection") == "close":
                            failures.append(answer)

            loading = threading.Thread(target=load)
            loading.start()
            change(core, cors={"allowed_origins": ["http://ok.test"]}, request_id_header="x-other")
            changed = session.get(core.http_url + "/fast", headers={"origin": "http://ok.test"})
            assert changed.headers["access-control-allow-origin"] == "http://ok.test" and "x-other" in changed.headers
            release.set()
            waiting.join(30)
            assert slow[0].status_code == 200 and "x-request-id" in slow[0].headers and "x-other" not in slow[0].headers
            stop.set()
            loading.join(30)
            assert failures == []
        assert core.pid_of("iii-http") == pid and "configuration applied" in core.output()
        # What the running process has is also what its successor gets.
        core.cli("restart", "iii-http")
        wait_for(lambda: core.pid_of("iii-http") not in (0, None, pid), "the successor")
        core.wait_ready()
        assert "x-other" in wait_for(lambda: (r := requests.get(core.http_url + "/fast")).status_code == 200 and r.headers, "the route")
        app.wire.close()


def test_invalid_change_keeps_what_runs_and_says_why():
    with fleet(http={}) as core:
        pid = core.pid_of("iii-http")
        change(core, default_timeout="soon")
        assert "default_timeout" in (status_of(core)["last_reload"]["error"] or "")
        # Each key is right, both together are not.
        change(core, default_timeout=1000, cors={"allow_credentials": True})
        wait_for(lambda: "cors.allow_credentials: needs a list of origins" in core.output(), "the reason")
        assert requests.get(core.http_url + "/none").status_code == 404 and core.pid_of("iii-http") == pid
        assert "cors.allow_credentials" in json.dumps(status_of(core))
        again = core.cli("reload", check=False)
        assert again.returncode == 1 and "cors.allow_credentials" in again.stderr and "Error: Error:" not in again.stderr
        change(core, cors=None)
        assert requests.get(core.http_url + "/none").status_code == 404 and core.pid_of("iii-http") == pid


def test_another_port_is_served_by_a_restart_that_drains():
    with fleet(http={}) as core:
        app = App(core.port)
        release = threading.Event()
        app.route("/slow", lambda d: release.wait(10) and {"body": 1})
        app.route("/fast", lambda d: {"body": 1})
        assert routed(core, "/fast").status_code == 200
        slow = []
        waiting = threading.Thread(target=lambda: slow.append(requests.get(core.http_url + "/slow", timeout=30)))
        waiting.start()
        wait_for(lambda: any(call["data"]["path"] == "/slow" for call in app.seen.values()), "the slow call")
        port = free_port()
        change(core, port=port)
        release.set()
        waiting.join(30)
        assert slow[0].status_code == 200
        core.http_port = port
        wait_for(lambda: http_status(core.http_url + "/fast") == 200, "the new port")
        app.wire.close()
