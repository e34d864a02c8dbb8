"""The board of examples/board in a real browser: headless Chromium, spoken to over its debugging protocol."""

import contextlib
import itertools
import json
import os
import signal
import subprocess

import pytest
import requests
from streams import Client
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from wire import BIN, fleet, free_port, wait_for


class Tab:
    """A page, and what is on it."""

    def __init__(self, debugging: str, url: str):
        target = requests.put(f"{debugging}/json/new?{url}", timeout=30).json()
        self.ws = connect(target["webSocketDebuggerUrl"], max_size=None, compression=None)
        self.ids = itertools.count(1)

    def run(self, script: str):
        number = next(self.ids)
        self.ws.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": {"expression": script, "returnByValue": True, "awaitPromise": True}}))
        while True:
            answer = json.loads(self.ws.recv(timeout=30))
            if answer.get("id") == number:
                return answer["result"]["result"].get("value")

    def notes(self) -> list[str]:
        return self.run("[...document.querySelectorAll('#notes li')].map(item => item.firstChild.data.trim())") or []

    def state(self) -> str:
        return self.run("document.querySelector('#state')?.textContent")

    def pin(self, text: str):
        self.run(f"document.querySelector('input').value = {json.dumps(text)}; document.querySelector('form').requestSubmit()")


@contextlib.contextmanager
def chromium(directory):
    """Answers with the address of its debugging port."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    process = subprocess.Popen([*command, "--remote-debugging-port=0", f"--user-data-dir={directory}", "about:blank"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        active = directory / "DevToolsActivePort"
        wait_for(lambda: active.exists() and active.read_text().strip(), "the browser is there", timeout=60)
        yield f"http://127.0.0.1:{active.read_text().split()[0]}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_two_tabs_see_one_board_and_miss_nothing_over_a_killed_iii_stream(tmp_path):
    port = free_port()
    workers = [
        {"name": "iii-stream", "config": {"port": port, "auth_function": "board::admit", "adapter": {"name": "kv", "config": {"file_path": str(tmp_path / "items")}}}},
        {"name": "iii-exec", "config": {"exec": [str(BIN.resolve() / "board-worker")]}},
    ]
    with fleet(http={}, workers=workers, env={**os.environ, "III_STREAM_PORT": str(port)}) as it, chromium(tmp_path / "browser") as debugging:
        wire = it.connect()
        wait_for(lambda: requests.get(f"{it.http_url}/board", timeout=10).status_code == 200, "the page is served")
        with pytest.raises(InvalidStatus) as refusal:
            Client(port, subprotocols=["Authorization", "wrong"])
        assert refusal.value.response.status_code == 401

        first, second = Tab(debugging, f"{it.http_url}/board"), Tab(debugging, f"{it.http_url}/board")
        for tab in (first, second):
            wait_for(lambda: tab.state() == "live", "the page has joined with its token", timeout=30)
        first.pin("milk")
        wait_for(lambda: first.notes() == second.notes() == ["milk"], "both see the note")
        wire.call("stream::set", {"stream_name": "board", "group_id": "notes", "item_id": "n", "data": {"id": "n", "text": "<b>bread</b>"}})
        wait_for(lambda: first.notes() == second.notes() == ["milk", "<b>bread</b>"], "both see what a worker writes, as text")
        second.run("document.querySelector('#notes li button').click()")
        wait_for(lambda: first.notes() == second.notes() == ["<b>bread</b>"], "both see it go")

        os.kill(it.pid_of("iii-stream"), signal.SIGKILL)
        for number in range(20):
            item = {"stream_name": "board", "group_id": "notes", "item_id": f"x{number}", "data": {"id": f"x{number}", "text": f"x{number}"}}
            wait_for(lambda: "result" in wire.result_of(wire.invoke("stream::set", item)), "the write is taken", timeout=30)
        stored = [note["text"] for note in wire.call("stream::list", {"stream_name": "board", "group_id": "notes"})]
        assert stored == ["<b>bread</b>", *(f"x{number}" for number in range(20))]
        wait_for(lambda: first.notes() == second.notes() == stored, "both hold what is stored, also what was written while they were away", timeout=30)
        first.pin("the end")
        wait_for(lambda: second.notes() == [*stored, "the end"], "and go on")
        wire.close()
