"""The walk through README.md with real processes: `scripts/up` (the last step of `make up`), the call, the kill, the Python worker."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import requests

from wire import BIN, ROOT, alive, free_port, wait_for


@pytest.fixture
def up(tmp_path):
    port, http_port = free_port(), free_port()
    environment = {
        **os.environ, "III_PORT": str(port), "III_HTTP_PORT": str(http_port), "III_STREAM_PORT": str(free_port()), "III_BIN_DIR": str(BIN), "XDG_RUNTIME_DIR": str(tmp_path), "III_DATA_DIR": str(tmp_path / "data"),
        "III_URL": f"ws://127.0.0.1:{port}"}
    log = open(tmp_path / "up.log", "w+b")
    process = subprocess.Popen([ROOT / "scripts" / "up"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    process.environment, process.http = environment, f"http://127.0.0.1:{http_port}"
    process.output = lambda: (tmp_path / "up.log").read_text()
    try:
        wait_for(lambda: "The fleet is up" in process.output() or process.poll() is not None, "the fleet is up")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
            log.close()


def fleet_table(up) -> dict:
    text = subprocess.run([BIN / "iii-core", "ps", "-c", "examples/hello/config.yaml", "--json"], cwd=ROOT, env=up.environment, check=True, capture_output=True).stdout
    return {row["name"]: row for row in json.loads(text)["children"]}


def test_the_printed_command_works_and_a_killed_builtin_comes_back(up):
    command = re.search(r"^    (curl .*)$", up.output(), re.M).group(1)
    assert "you" in subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    first = fleet_table(up)["iii-http"]["pid"]
    # The README's own line, with the directory of the executables in place of the one it names.
    line = re.search(r"^kill -9 .*$", (ROOT / "README.md").read_text(), re.M).group(0)
    subprocess.run(line.replace(".build/release", str(BIN)), shell=True, check=True, cwd=ROOT, env=up.environment)
    wait_for(lambda: fleet_table(up)["iii-http"].get("pid") not in (None, first), "iii-http runs again")
    assert "you" in subprocess.run(f"{command} --retry 5 --retry-connrefused", shell=True, check=True, capture_output=True, text=True).stdout
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 0
    assert not alive(first)


def test_the_board_is_part_of_the_example_fleet(up):
    def notes():
        done = subprocess.run([BIN / "iii-core", "trigger", "stream::list", "stream_name=board", "group_id=notes", "--port", up.environment["III_PORT"]], capture_output=True, text=True)
        return done.returncode == 0 and json.loads(done.stdout)

    page = wait_for(lambda: (answer := requests.get(f"{up.http}/board", timeout=10)).status_code == 200 and answer.text, "the page is served")
    assert f":{up.environment['III_STREAM_PORT']}/" in page
    assert wait_for(notes, "its clock ticks")[0]["id"] == "clock"


def test_the_readme_calls_the_example_from_the_command_line(up):
    command = re.search(r"`\.build/release/(iii-core trigger hello::greet)`", (ROOT / "README.md").read_text()).group(1)
    port = ["--port", up.environment["III_PORT"]]
    answer = subprocess.run([BIN / command.split()[0], *command.split()[1:], *port], check=True, capture_output=True, cwd=ROOT, env=up.environment)
    assert json.loads(answer.stdout) == {"body": {"message": "Hello, world!"}, "status_code": 200}


def test_the_python_example_joins_the_fleet(up):
    worker = subprocess.Popen([sys.executable, ROOT / "examples" / "python" / "echo.py"], env=up.environment, stdin=subprocess.DEVNULL)
    try:
        def answer():
            response = requests.post(f"{up.http}/echo", json={"text": "hi"}, timeout=10)
            return response.status_code == 200 and response.json()

        assert wait_for(answer, "the example serves /echo") == {"echo": {"text": "hi"}}
    finally:
        worker.kill()
        worker.wait()
