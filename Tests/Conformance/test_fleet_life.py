"""Restarts that cost nobody anything, ports without a server, and processes that must not outlive their entry."""

import concurrent.futures
import contextlib
import os
import pathlib
import pty
import resource
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from processes import (
    build_of,
    can_connect,
    environment_of,
    http_status,
    nothing_is_left_of,
    ok,
    prepared,
    run_core,
    running,
    script,
    serving,
    slow_route,
    wait_for_http,
)
from wire import BIN, alive, free_port, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


def exchange(port: int, path: str = "/x", timeout: float = 20) -> str:
    """One request on a fresh connection; its status line, or what went wrong."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return answer.split(b"\r\n", 1)[0].decode() or "an empty close"
    except TimeoutError:
        return "a timeout"
    except OSError as error:
        return f"{type(error).__name__}"


class Clients:
    """Threads that send requests until told to stop, on fresh connections or each on one that it keeps."""

    def __init__(self, port: int, fresh: int = 4, kept: int = 4):
        self.port, self.stopping, self.outcomes, self.lock = port, threading.Event(), {}, threading.Lock()
        self.threads = [threading.Thread(target=self._fresh, daemon=True) for _ in range(fresh)]
        self.threads += [threading.Thread(target=self._kept, daemon=True) for _ in range(kept)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(40)

    def count(self, outcome: str):
        with self.lock:
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def _fresh(self):
        while not self.stopping.is_set():
            self.count("fresh " + exchange(self.port))

    def _kept(self):
        connection, buffer = None, b""
        while not self.stopping.is_set():
            try:
                if connection is None:
                    connection, buffer = socket.create_connection(("127.0.0.1", self.port), timeout=20), b""
                connection.sendall(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
                while b"\r\n\r\n" not in buffer:
                    if not (piece := connection.recv(65536)):
                        raise OSError("an empty close")
                    buffer += piece
                head, _, rest = buffer.partition(b"\r\n\r\n")
                length = int(next(line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")))
                while len(rest) < length:
                    rest += connection.recv(65536)
                buffer = rest[length:]
                self.count("kept " + head.split(b"\r\n", 1)[0].decode())
                if b"connection: close" in head.lower():
                    connection.close()
                    connection = None
            except OSError as error:
                self.count(f"kept {error}")
                connection = None

    def failures(self) -> dict:
        return {outcome: count for outcome, count in self.outcomes.items() if not outcome.endswith("200 OK")}


# Handover


def test_restarts_of_iii_http_cost_no_client_anything(tmp_path):
    rounds = int(os.environ.get("III_RESTARTS", "6"))
    with running(tmp_path, http={}) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
        wait_for_http(f"{fleet.http_url}/x")
        with Clients(fleet.http_port) as clients:
            pids = {fleet.pid_of("iii-http")}
            for _ in range(rounds):
                done = sum(clients.outcomes.values())
                assert fleet.cli("restart", "iii-http").returncode == 0
                pids.add(fleet.pid_of("iii-http"))
                wait_for(lambda: sum(clients.outcomes.values()) > done + 50, "load goes on")
        print(clients.outcomes)
        assert len(pids) == rounds + 1 and fleet.rows()["iii-http"]["restarts"] == rounds
        assert not clients.failures()


def test_a_request_in_flight_ends_in_its_own_time_beside_the_successor(tmp_path):
    with running(tmp_path, http={}) as fleet:
        worker = slow_route(fleet)
        before = fleet.pid_of("iii-http")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(exchange, fleet.http_port, "/slow", 40)
            call = worker.expect("invokefunction")
            assert fleet.cli("restart", "iii-http").returncode == 0
            row = fleet.rows()["iii-http"]
            assert row["pid"] != before and row["state"] == "ready"
            assert [(other["pid"], other["activity"]) for other in row["others"]] == [(before, "draining")]
            assert str(before) in fleet.cli("ps").stdout and "draining" in fleet.cli("ps").stdout
            with serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
                wait_for_http(f"{fleet.http_url}/x")
            assert not answer.done()
            worker.answer(call, {"status_code": 200, "body": "late"})
            assert answer.result(20) == "HTTP/1.1 200 OK"
        wait_for(lambda: not fleet.rows()["iii-http"]["others"] and not alive(before), "the predecessor has ended")
        worker.close()


def test_a_stop_ends_predecessors_too(tmp_path):
    with running(tmp_path, http={}) as fleet:
        worker = slow_route(fleet)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(exchange, fleet.http_port, "/slow", 40)
            worker.expect("invokefunction")
            fleet.cli("restart", "iii-http")
            both = [fleet.pid_of("iii-http"), fleet.rows()["iii-http"]["others"][0]["pid"]]
            assert fleet.cli("stop", "iii-http").returncode == 0
            assert not any(map(alive, both))
            wait_for(lambda: not can_connect(fleet.http_port), "the port is closed")
            answer.result(40)
        worker.close()


def test_handover_timeout_bounds_the_predecessor(tmp_path):
    port = free_port()
    entry = {"name": "iii-http", "handover_timeout_ms": 300, "stop_timeout_ms": 500, "config": {"port": port}}
    with running(tmp_path, workers=[entry]) as fleet:
        worker = slow_route(fleet)
        before = fleet.pid_of("iii-http")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(exchange, port, "/slow", 40)
            worker.expect("invokefunction")
            assert fleet.cli("restart", "iii-http").returncode == 0
            wait_for(lambda: not alive(before), "it was not waited for any longer")
            assert answer.result(10) != "HTTP/1.1 200 OK"
        assert http_status(f"http://127.0.0.1:{port}/slow-not-there") == 404
        worker.close()


def test_a_successor_that_cannot_start_leaves_the_old_process_serving(tmp_path):
    build = build_of(tmp_path / "bin", "iii-core", "iii-http")
    with prepared(tmp_path, http={}) as fleet:
        output = open(fleet.log, "ab")
        fleet.process = subprocess.Popen([build / "iii-core", "up", "-c", str(fleet.config)], cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        output.close()
        fleet.wait_ready()
        with serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
            wait_for_http(f"{fleet.http_url}/x")
            before = fleet.pid_of("iii-http")
            (build / "iii-http").unlink()
            script(build / "iii-http", "exit 3\n")
            done = fleet.cli("restart", "iii-http", check=False)
            assert done.returncode == 1 and "the old process goes on" in done.stderr
            row = fleet.rows()["iii-http"]
            assert (row["pid"], row["state"], row["restarts"]) == (before, "ready", 0)
            assert http_status(f"{fleet.http_url}/x") == 200
        assert fleet.stop() == 0


def test_a_changed_port_is_taken_over_while_the_old_one_is_finished(tmp_path):
    with running(tmp_path, http={}) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
        wait_for_http(f"{fleet.http_url}/x")
        new = free_port()
        fleet.config.write_text(fleet.config.read_text().replace(str(fleet.http_port), str(new)))
        wait_for_http(f"http://127.0.0.1:{new}/x")
        wait_for(lambda: not can_connect(fleet.http_port), "the old port is given back")


def test_ten_kills_in_quick_succession_leave_nobody_without_an_answer(tmp_path):
    with running(tmp_path, http={}) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
        wait_for_http(f"{fleet.http_url}/x")
        with Clients(fleet.http_port, fresh=4, kept=0) as clients:
            for _ in range(10):
                pid = wait_for(lambda: (row := fleet.rows()["iii-http"])["ready"] and row["pid"], "ready", timeout=30)
                os.kill(pid, signal.SIGKILL)
                wait_for(lambda: not alive(pid), "dead")
            wait_for(lambda: fleet.rows()["iii-http"]["ready"], "ready again", timeout=30)
            wait_for_http(f"{fleet.http_url}/x")
        print(clients.outcomes)
        # What a killed process had accepted breaks; whoever came in between waited a moment or was told to come back.
        assert set(clients.failures()) <= {"fresh ConnectionResetError", "fresh an empty close", "fresh HTTP/1.1 503 Service Unavailable"}
        first = [line for line in fleet.output().splitlines() if "started again at once" in line]
        assert len(first) == 5


def test_a_child_is_started_again_when_descriptors_have_run_out(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        output = open(fleet.log, "ab")
        fleet.process = subprocess.Popen(
            [BIN / "iii-core", "up", "-c", str(fleet.config)],
            cwd=tmp_path,
            env=fleet.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        )
        output.close()
        fleet.wait_ready()
        clients = [socket.create_connection(("127.0.0.1", fleet.port), timeout=10) for _ in range(80)]
        for _ in range(5):
            wait_for(lambda: len(os.listdir(f"/proc/{fleet.process.pid}/fd")) >= 40, "only the reserve is left")
            before = fleet.rows()["iii-http"]
            os.kill(before["pid"], signal.SIGKILL)
            wait_for(lambda: (row := fleet.rows()["iii-http"])["ready"] and row["pid"] != before["pid"], "started again")
        assert "start_failed" not in fleet.output()
        for client in clients:
            client.close()
        assert fleet.stop() == 0


# Ports without a server


def raw(port: int, request: bytes, timeout: float = 10) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


def test_the_port_of_a_failed_gateway_answers_503(tmp_path):
    mended = tmp_path / "mended"
    port = free_port()
    program = script(tmp_path / "http", f'[ -e {mended} ] || exit 78\nexec {BIN / "iii-http"}\n')
    entry = {"name": "iii-http", "exec": str(program), "config": {"port": port}}
    with prepared(tmp_path, workers=[entry]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0 and fleet.rows()["iii-http"]["state"] == "failed", "gave up")
        response = requests.post(f"http://127.0.0.1:{port}/x", data=b"x" * 100_000, timeout=10)
        assert (response.status_code, response.headers["retry-after"], response.headers["connection"]) == (503, "30", "close")
        assert response.json() == {"error": "iii-http is not available (failed)"}
        assert requests.head(f"http://127.0.0.1:{port}/x", timeout=10).status_code == 503
        assert raw(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") == b"", "a TLS handshake is closed"
        # Silent clients do not keep others out, and are not kept for ever.
        idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(300)]
        assert requests.get(f"http://127.0.0.1:{port}/x", timeout=15).status_code == 503
        assert idle[0].recv(10) == b""
        for connection in idle:
            connection.close()
        mended.touch()
        assert fleet.cli("reset", "iii-http").returncode == 0
        wait_for_http(f"http://127.0.0.1:{port}/x", 404)
        assert fleet.cli("stop", "iii-http").returncode == 0
        assert not can_connect(port), "stopped on purpose, the port is given back"
        assert fleet.cli("start", "iii-http").returncode == 0
        assert http_status(f"http://127.0.0.1:{port}/x") == 404
        assert fleet.stop() == 0


def test_the_port_of_a_gateway_in_a_long_back_off_answers_503(tmp_path):
    port = free_port()
    program = script(tmp_path / "http", "exit 1\n")
    entry = {"name": "iii-http", "exec": str(program), "config": {"port": port}, "restart": {"delay_ms": 60_000, "max_delay_ms": 60_000, "jitter": 0}}
    with prepared(tmp_path, workers=[entry]) as fleet:
        fleet.spawn()
        wait_for_http(f"http://127.0.0.1:{port}/x", 503)
        response = requests.get(f"http://127.0.0.1:{port}/x", timeout=10)
        assert 50 <= int(response.headers["retry-after"]) <= 60
        assert fleet.stop() == 0


# Commands


def test_a_mistyped_configuration_never_reaches_another_fleet(tmp_path):
    with running(tmp_path, http={}) as fleet:
        before = fleet.pid_of("iii-http")
        done = run_core("stop", "iii-http", "-c", "/nope/typo.yaml", cwd=tmp_path)
        assert done.returncode == 1 and "/nope/typo.yaml" in done.stderr
        other = tmp_path / "other.yaml"
        other.write_text("workers: [")
        assert run_core("stop", "iii-http", "-c", other, cwd=tmp_path).returncode == 1
        # A file of another fleet that names the same port, as two that name none do.
        other.write_text(fleet.config.read_text())
        for command in (["stop", "iii-http"], ["restart", "--all"], ["reload"], ["ps"], ["logs"]):
            done = run_core(*command, "-c", other, cwd=tmp_path)
            assert done.returncode == 1 and f"was started with '{fleet.config}'" in done.stderr, command
        assert run_core("ps", "--port", fleet.port, cwd=tmp_path).returncode == 0
        assert fleet.pid_of("iii-http") == before
        # The very file of this engine, broken or gone, still names it.
        text = fleet.config.read_text()
        fleet.config.write_text("workers: [")
        assert run_core("ps", "-c", fleet.config, cwd=tmp_path).returncode == 0
        assert run_core("ps", cwd=tmp_path).returncode == 0
        fleet.config.unlink()
        assert run_core("ps", "-c", fleet.config, cwd=tmp_path).returncode == 0
        # Or one that names another port by now, which is not in force.
        fleet.config.write_text(text.replace(str(fleet.port), str(free_port())).replace("iii-http", "iii-htpp"))
        assert run_core("ps", "-c", fleet.config, cwd=tmp_path).returncode == 0
        fleet.config.write_text("workers: []\n")
        assert run_core("ps", "-c", fleet.config, cwd=tmp_path).returncode == 0
        fleet.config.write_text(text)


@pytest.mark.parametrize("case", ["back-off", "failed step", "finished"])
def test_status_counts_every_entry(tmp_path, case):
    commands = {"back-off": ["exit 3"], "failed step": ["exit 7", "exec sleep 1000"], "finished": ["exit 0"]}[case]
    entry = {"name": "iii-exec", "config": {"exec": commands}, "restart": {"delay_ms": 60_000, "max_delay_ms": 60_000, "policy": "on-failure"}}
    with prepared(tmp_path, http={}, workers=[entry]) as fleet:
        fleet.spawn()
        expected = {"back-off": "backoff", "failed step": "failed", "finished": "stopped"}[case]
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0 and fleet.rows()["iii-exec"]["state"] == expected and fleet.rows()["iii-http"]["ready"], expected)
        code = 0 if case == "finished" else 1
        assert fleet.cli("status", check=False).returncode == code
        assert fleet.cli("status", "iii-exec", check=False).returncode == code
        began = time.monotonic()
        limit = "1s" if case == "back-off" else "60s"
        assert fleet.cli("status", "--wait-ready", "--timeout", limit, check=False).returncode == code
        assert time.monotonic() - began < 30, "what has given up is not waited for"
        assert fleet.rows()["iii-exec"]["last_exit"] == {"back-off": "exit 3", "failed step": "exit 7", "finished": "exit 0"}[case]
        assert fleet.stop() == 0


def test_a_program_that_cannot_start_shows_no_exit_of_an_earlier_one(tmp_path):
    program = script(tmp_path / "program", "sleep 0.2; exit 9\n")
    entry = {"name": "mine", "exec": str(program), "restart": {"delay_ms": 20, "max_delay_ms": 20, "max_restarts": 1000}}
    with running(tmp_path, workers=[entry]) as fleet:
        wait_for(lambda: fleet.rows()["mine"]["last_exit"] == "exit 9", "it ends with 9")
        program.unlink()
        row = wait_for(lambda: (r := fleet.rows()["mine"])["last_error"].startswith("cannot execute") and r, "it cannot be started")
        assert row["last_exit"] is None


def can_own_run() -> bool:
    return os.geteuid() == 0 and os.access("/run", os.W_OK) and not os.path.exists("/run/iii")


@pytest.mark.skipif(not can_own_run(), reason="needs root and a free /run/iii, as the shipped unit has")
def test_the_fleet_of_the_shipped_unit_is_found(tmp_path):
    unit = (ROOT / "deploy" / "iii-core.service").read_text()
    runtime = next(line.split("XDG_RUNTIME_DIR=")[1] for line in unit.splitlines() if "XDG_RUNTIME_DIR=" in line)
    os.mkdir(runtime, 0o755)
    try:
        with running(tmp_path, http={}, env={"XDG_RUNTIME_DIR": runtime}) as fleet:
            env = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}
            command = [BIN / "iii-core", "ps", "--port", str(fleet.port)]
            done = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0 and "iii-http" in done.stdout, done.stderr
            if shutil.which("setpriv"):
                done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", *command], cwd="/", env=env, capture_output=True, text=True, timeout=30)
                assert done.returncode == 4 and "sudo" in done.stderr
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


# Descendants

# A daemon that leaves its group, its session and its parent.
DAEMON = "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & while [ ! -s daemon ]; do sleep 0.02; done; "


def daemon(tmp_path) -> int:
    return int(wait_for(lambda: (tmp_path / "daemon").exists() and (tmp_path / "daemon").read_text().strip(), "the daemon runs"))


@pytest.mark.parametrize("how", ["stop", "restart", "crash", "shutdown"])
def test_what_has_left_its_session_does_not_outlive_its_entry(tmp_path, how):
    entry = {"name": "iii-exec", "config": {"exec": [DAEMON + "sleep 0.1; exec sleep 1000"]}, "restart": {"delay_ms": 20}}
    with running(tmp_path, workers=[entry]) as fleet:
        pid = daemon(tmp_path)
        assert os.getsid(pid) == pid
        leader = fleet.pid_of("iii-exec")
        (tmp_path / "daemon").unlink()
        if how == "crash":
            os.kill(leader, signal.SIGKILL)
        elif how == "shutdown":
            assert fleet.stop() == 0
        else:
            assert fleet.cli(how, "iii-exec").returncode == 0
        wait_for(lambda: not alive(pid), "the daemon has ended")
        if how in ("restart", "crash"):
            assert alive(daemon(tmp_path)), "the new one's daemon lives"


def test_what_has_left_everything_and_wiped_its_environment_ends_with_the_core(tmp_path):
    hidden = "(env -i setsid sh -c 'echo $$ > daemon; exec sleep 1000' &) ; while [ ! -s daemon ]; do sleep 0.02; done; exec sleep 1000"
    with running(tmp_path, workers=[{"name": "iii-exec", "config": {"exec": [hidden]}}]) as fleet:
        pid = daemon(tmp_path)
        assert fleet.stop() == 0
        assert not alive(pid)


def test_what_a_finished_step_leaves_running_serves_the_next_until_the_entry_stops(tmp_path):
    entry = {"name": "iii-exec", "config": {"exec": [DAEMON + "exit 0", "exec sleep 1000"]}, "restart": {"delay_ms": 20}}
    with running(tmp_path, workers=[entry]) as fleet:
        pid = daemon(tmp_path)
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "the second step runs")
        assert alive(pid)
        os.kill(fleet.pid_of("iii-exec"), signal.SIGKILL)
        wait_for(lambda: fleet.rows()["iii-exec"]["restarts"] == 1 and fleet.rows()["iii-exec"]["ready"], "the second step runs again")
        assert alive(pid), "only the last step was started again"
        assert fleet.cli("stop", "iii-exec").returncode == 0
        wait_for(lambda: not alive(pid), "gone with the entry")


def test_memory_counts_the_whole_family(tmp_path):
    hog = "python3 -c 'import time; x = b\"x\" * (150 << 20); time.sleep(1000)'"
    limited = {"name": "limited", "exec": str(script(tmp_path / "limited", f"{hog} &\nsetsid {hog} &\nwait\n")), "readiness": "alive", "resources": {"memory_max_mb": 250}, "restart": {"delay_ms": 50}}
    free = {"name": "free", "exec": str(script(tmp_path / "free", f"setsid {hog} &\nexec sleep 1000\n")), "readiness": "alive"}
    with running(tmp_path, workers=[limited, free]) as fleet:
        wait_for(lambda: (fleet.rows()["free"]["rss_bytes"] or 0) > 150 << 20, "shown by ps", timeout=30)
        row = wait_for(lambda: (r := fleet.rows()["limited"])["restarts"] >= 1 and r, "restarted", timeout=30)
        assert "MiB of at most 250" in row["last_error"]


def test_user_programs_are_not_named_by_the_core(tmp_path):
    entry = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}
    with running(tmp_path, http={}, workers=[entry]) as fleet:
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
        for name in ("iii-exec", "iii-http"):
            environment = environment_of(fleet.pid_of(name))
            assert "III_WORKER_NAME" not in environment and environment["III_ENTRY_NAME"] == name


# Terminals


class Terminal:
    """A process that leads a session of its own on a terminal of its own."""

    def __init__(self, command: list, cwd, env):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(str(command[0]), [str(word) for word in command], env)
        self.output = b""

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:
                return
            if not piece:
                return
            self.output += piece

    def says(self, text: str) -> bool:
        self.read()
        return text.encode() in self.output

    def key(self, key: bytes):
        os.write(self.master, key)

    def hang_up(self):
        self.read()
        os.close(self.master)

    def ended(self) -> tuple[int] | None:
        """The exit code, once there is one."""
        with contextlib.suppress(OSError):
            self.read()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return (os.waitstatus_to_exitcode(status),) if pid else None

    def wait(self, timeout: float = 40) -> int:
        return wait_for(self.ended, "the process has ended", timeout=timeout)[0]


def test_closing_the_terminal_ends_its_fleet_in_order(tmp_path):
    entry = {"name": "iii-exec", "config": {"exec": ["trap 'echo bye > farewell; exit 0' TERM; while :; do sleep 0.1; done"]}}
    with prepared(tmp_path, http={}, workers=[entry]) as fleet:
        terminal = Terminal([BIN / "iii-core", "up", "-c", fleet.config], tmp_path, fleet.env)
        wait_for(lambda: terminal.says("iii-core ready"), "ready")
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "the user's process runs")
        terminal.hang_up()
        assert os.waitstatus_to_exitcode(wait_for(lambda: (s := os.waitpid(terminal.pid, os.WNOHANG))[0] and (s[1],), "ended", timeout=40)[0]) == 0
        assert (tmp_path / "farewell").read_text() == "bye\n", "it was asked to end, not killed"
        nothing_is_left_of(fleet)


def test_sighup_reloads_what_no_terminal_has_started(tmp_path):
    with running(tmp_path, http={}) as fleet:
        fleet.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "reload: received SIGHUP" in fleet.output(), "it reloads")
        assert fleet.cli("status").returncode == 0


@pytest.mark.parametrize("wrapper", ["script", "make"])
def test_one_ctrl_c_drains(tmp_path, wrapper):
    with prepared(tmp_path, http={}) as fleet:
        env = {**fleet.env, "III_BIN_DIR": str(BIN.resolve()), "III_PORT": str(fleet.port), "III_HTTP_PORT": str(fleet.http_port), "III_STREAM_PORT": str(free_port()), "III_DATA_DIR": str(tmp_path / "data")}
        command = [ROOT / "scripts" / "up"]
        if wrapper == "make":
            (tmp_path / "Makefile").write_text(f"up:\n\t@{ROOT}/scripts/up\n")
            command = ["make", "-C", tmp_path, "up"]
        terminal = Terminal(command, tmp_path, env)
        wait_for(lambda: terminal.says("The fleet is up"), "up", timeout=40)
        wait_for_http(f"{fleet.http_url}/hello?name=Ann")
        terminal.key(b"\x03")
        terminal.wait()
        assert terminal.says("draining") and not terminal.says("second signal")
        assert terminal.says("iii-http: stopping → stopped (stopped, exit 0)")
        nothing_is_left_of(fleet)


def test_two_ctrl_c_kill(tmp_path):
    entry = {"name": "iii-exec", "config": {"exec": ["trap '' TERM INT; while :; do sleep 0.1; done"]}, "stop_timeout_ms": 20_000}
    with prepared(tmp_path, workers=[entry]) as fleet:
        terminal = Terminal([BIN / "iii-core", "up", "-c", fleet.config], tmp_path, fleet.env)
        wait_for(lambda: terminal.says("iii-exec: starting → ready"), "ready")
        terminal.key(b"\x03")
        wait_for(lambda: terminal.says("draining"), "it drains")

        def insist():
            # At first it is taken for the echo of the first one.
            with contextlib.suppress(OSError):
                terminal.key(b"\x03")
            return terminal.ended()

        assert wait_for(insist, "it is killed", interval=0.1)[0] == 130
        nothing_is_left_of(fleet)
