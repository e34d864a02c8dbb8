"""The fleet under fire: killed, restarted, overloaded and ended processes, systemd's protocols, process 1."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
from processes import (
    answering,
    build_of,
    can_connect,
    environment_of,
    http_status,
    members,
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

SLEEPER = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}


class Load:
    """Clients that send requests one after the other; each ends in a status, an error, or (never) silence."""

    def __init__(self, url: str, clients: int = 8):
        self.url, self.outcomes, self.silent, self.stopping = url, [], [], threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def _run(self):
        session = requests.Session()
        while not self.stopping.is_set():
            try:
                self.outcomes.append(session.get(self.url, timeout=20).status_code)
            except requests.exceptions.Timeout:
                self.silent.append(time.monotonic())
            except requests.exceptions.RequestException:
                self.outcomes.append(0)
                session = requests.Session()

    def progress(self, count: int = 20):
        """More answers of 200 from now on."""
        start = len(self.outcomes)
        wait_for(lambda: self.outcomes[start:].count(200) >= count, f"{count} more answers, got {self.outcomes[start:][-20:]}")


class Wrk:
    def __init__(self, url: str, seconds: int):
        self.process = subprocess.Popen(["wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "10s", url], stdout=subprocess.PIPE, text=True)

    def report(self) -> dict:
        text = self.process.communicate(timeout=60)[0]
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        failures = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        requests_done = re.search(r"(\d+) requests in", text)
        names = ("connect", "read", "write", "timeout")
        return {
            "requests": int(requests_done[1]) if requests_done else 0,
            "failures": int(failures[1]) if failures else 0,
            **dict(zip(names, map(int, errors.groups()) if errors else [0] * 4)),
        }


needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")


# Built-ins that die


@contextlib.contextmanager
def serving_fleet(directory, **options):
    with running(directory, http={}, workers=[SLEEPER], **options) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}) as service:
        wait_for_http(f"{fleet.http_url}/x")
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "the user's process runs")
        fleet.service = service
        yield fleet


def test_killed_iii_http_is_back_and_costs_only_what_it_does(tmp_path):
    with serving_fleet(tmp_path) as fleet:
        caller = fleet.connect()
        listing = lambda: sorted(f["function_id"] for f in caller.call("engine::functions::list", {})["functions"])  # noqa: E731
        triggers = lambda: caller.call("engine::triggers::list", {})["triggers"]  # noqa: E731
        before, functions_before, triggers_before = fleet.rows(), listing(), triggers()
        with Load(f"{fleet.http_url}/x") as load:
            load.progress()
            killed = time.monotonic()
            os.kill(before["iii-http"]["pid"], signal.SIGKILL)
            wait_for(lambda: not alive(before["iii-http"]["pid"]), "it is dead")
            wait_for_http(f"{fleet.http_url}/x")
            print(f"serving again {1000 * (time.monotonic() - killed):.0f} ms after SIGKILL")
            load.progress()
        assert not load.silent, "every caller gets an answer or an error"
        assert set(load.outcomes) <= {200, 0}, "no 404 while routes are replayed"
        after = wait_for(lambda: (r := fleet.rows())["iii-http"]["ready"] and r, "ready")
        assert after["iii-http"]["restarts"] == 1
        assert after["iii-http"]["last_exit"] == "SIGKILL"
        assert "SIGKILL" in fleet.cli("ps").stdout
        assert after["iii-exec"]["pid"] == before["iii-exec"]["pid"]
        assert (listing(), triggers()) == (functions_before, triggers_before)
        assert fleet.service.thread.is_alive(), "no worker lost its connection"
        caller.close()


def test_user_worker_that_dies_gives_callers_an_error_at_once(tmp_path):
    with running(tmp_path, http={}) as fleet:
        worker = slow_route(fleet)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(requests.get(f"{fleet.http_url}/slow", timeout=20).status_code))
        thread.start()
        worker.expect("invokefunction")
        worker.ws.socket.close()
        thread.join(15)
        assert answers and answers[0] >= 500


@needs_wrk
def test_restart_of_iii_http_under_load_refuses_no_connection(tmp_path):
    with serving_fleet(tmp_path) as fleet:
        wrk = Wrk(f"{fleet.http_url}/x", 4)
        wait_for(lambda: len(fleet.service.calls) > 200, "load arrives")
        for _ in range(2):
            assert fleet.cli("restart", "iii-http").returncode == 0
        report = wrk.report()
        print(report)
        assert report["requests"] > 200
        assert (report["connect"], report["failures"], report["timeout"]) == (0, 0, 0), report
        assert fleet.rows()["iii-http"]["restarts"] == 2


@needs_wrk
def test_kill_of_iii_http_under_load_refuses_no_connection_either(tmp_path):
    with serving_fleet(tmp_path) as fleet:
        wrk = Wrk(f"{fleet.http_url}/x", 3)
        wait_for(lambda: len(fleet.service.calls) > 200, "load arrives")
        os.kill(fleet.pid_of("iii-http"), signal.SIGKILL)
        report = wrk.report()
        print(report)
        # What was in flight breaks; the listening socket is the core's, so nobody is turned away.
        assert (report["connect"], report["failures"], report["timeout"]) == (0, 0, 0), report


def test_stopped_iii_http_process_is_found_unresponsive_and_replaced(tmp_path):
    port = free_port()
    entry = {"name": "iii-http", "stop_timeout_ms": 300, "config": {"port": port}}
    with running(tmp_path, workers=[entry]) as fleet, serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
        before = fleet.pid_of("iii-http")
        os.kill(before, signal.SIGSTOP)
        wait_for(lambda: fleet.rows()["iii-http"]["pid"] not in (None, before) and fleet.rows()["iii-http"]["ready"], "replaced", timeout=55, interval=0.3)
        wait_for(lambda: not alive(before), "its successor did not wait for its end")
        assert fleet.rows()["iii-http"]["last_error"] == "unresponsive"
        wait_for_http(f"http://127.0.0.1:{port}/x")


def test_built_in_that_always_exits_backs_off_and_recovers_once_mended(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    program = script(tmp_path / "http", f'[ -e {broken} ] && {{ echo "no luck today" >&2; exit 3; }}\nexec {BIN / "iii-http"}\n')
    port = free_port()
    restart = {"delay_ms": 50, "factor": 2, "max_delay_ms": 400, "jitter": 0, "reset_after_ms": 300, "max_restarts": 1000}
    entry = {"name": "iii-http", "exec": str(program), "config": {"port": port}, "restart": restart}
    with prepared(tmp_path, workers=[entry]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.output().count("next start in 400 ms") >= 2, "the delay has grown to its limit")
        delays = [int(ms) for ms in re.findall(r"next start in (\d+) ms", fleet.output())]
        assert delays[:5] == [50, 100, 200, 400, 400]
        row = wait_for(lambda: (r := fleet.rows()["iii-http"])["state"] == "backoff" and r, "in back-off")
        assert row["last_exit"] == "exit 3" and row["next_start_ms"] is not None and row["restarts"] >= 4
        assert fleet.cli("status", check=False).returncode == 1
        assert "no luck today" in fleet.output()
        with serving(fleet.port, {"a::b": ok}, {"/x": "a::b"}):
            caller = fleet.connect()
            assert caller.call("a::b", {}) == ok(), "the core works on"
            caller.close()
            broken.unlink()
            wait_for_http(f"http://127.0.0.1:{port}/x")
            assert fleet.cli("status", "--wait-ready").returncode == 0
            # Healthy for long enough, the next failure begins with the first delay again.
            wait_for(lambda: fleet.rows()["iii-http"]["uptime_ms"] > 1000, "healthy for a while")
            seen = len(re.findall(r"next start in", fleet.output()))
            os.kill(fleet.pid_of("iii-http"), signal.SIGKILL)
            wait_for(lambda: len(found := re.findall(r"next start in (\d+) ms", fleet.output())) > seen and found[seen] == "50", "the delay was reset")
        assert fleet.stop() == 0


def test_crash_loop_beyond_the_limit_gives_up_if_asked_to(tmp_path):
    program = script(tmp_path / "crash", "exit 3\n")
    restart = {"delay_ms": 10, "max_delay_ms": 20, "max_restarts": 3, "give_up": True}
    with prepared(tmp_path, workers=[{"name": "crash", "exec": str(program), "readiness": "alive", "restart": restart}, SLEEPER]) as fleet:
        fleet.spawn()
        row = wait_for(lambda: fleet.cli("ps", check=False).returncode == 0 and (r := fleet.rows()["crash"])["state"] == "failed" and r, "gave up")
        assert "more than 3 failures" in row["last_error"]
        assert fleet.rows()["iii-exec"]["state"] == "ready"
        assert fleet.stop() == 0


def test_critical_child_that_gives_up_ends_the_core_with_3(tmp_path):
    program = script(tmp_path / "crash", "exit 78\n")
    with prepared(tmp_path, workers=[{"name": "crash", "exec": str(program), "restart": {"critical": True}}, SLEEPER]) as fleet:
        fleet.spawn()
        assert fleet.process.wait(20) == 3
        nothing_is_left_of(fleet)


def test_exit_78_is_final_until_the_configuration_or_a_reset_says_otherwise(tmp_path):
    mended = tmp_path / "mended"
    program = script(tmp_path / "http", f'[ -e {mended} ] || exit 78\nexec {BIN / "iii-http"}\n')
    entry = {"name": "iii-http", "exec": str(program), "config": {"port": free_port()}, "restart": {"delay_ms": 10}}
    with prepared(tmp_path, workers=[entry]) as fleet:
        fleet.spawn()
        row = wait_for(lambda: (r := fleet.cli("ps", "--json", check=False)).returncode == 0 and (f := fleet.rows()["iii-http"])["state"] == "failed" and f, "failed")
        assert (row["restarts"], row["last_exit"]) == (0, "exit 78")
        assert "exit 78" in fleet.cli("status", "iii-http", check=False).stdout
        mended.touch()
        assert fleet.rows()["iii-http"]["restarts"] == 0
        assert fleet.cli("restart", "iii-http").returncode == 0
        assert fleet.stop() == 0


def test_built_in_that_never_gets_ready_is_started_again(tmp_path):
    program = script(tmp_path / "hang", "exec sleep 1000\n")
    entry = {"name": "iii-http", "exec": str(program), "config": {"port": free_port()}, "startup_timeout_ms": 200, "restart": {"delay_ms": 20}}
    with prepared(tmp_path, workers=[entry]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.output().count("not ready within 200 ms") >= 2, "given up on twice")
        assert fleet.stop() == 0
        nothing_is_left_of(fleet)


# The end of the core


def test_killed_core_leaves_nothing_and_its_ports_are_free(tmp_path):
    # The user's process ignores what can be ignored and has children of its own.
    stubborn = "trap '' TERM HUP INT; sh -c 'trap \"\" TERM HUP; while :; do sleep 0.2; done' & while :; do sleep 0.2; done"
    with prepared(tmp_path, http={}, workers=[{"name": "iii-exec", "config": {"exec": [stubborn]}}]) as fleet:
        fleet.up()
        wait_for(lambda: sum(name in ("sh", "dash") for name in members(fleet).values()) >= 2, "the group is up")
        with Load(f"{fleet.http_url}/x", clients=2):
            killed = time.monotonic()
            fleet.process.kill()
            fleet.process.wait()
            nothing_is_left_of(fleet, timeout=2)
            print(f"everything gone {1000 * (time.monotonic() - killed):.0f} ms after SIGKILL of the core")
        fleet.up()
        assert http_status(fleet.http_url) == 404
        assert fleet.stop() == 0


def test_core_that_cannot_start_leaves_nothing(tmp_path):
    with prepared(tmp_path, http={}, workers=[SLEEPER]) as fleet, socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", fleet.http_port))
        taken.listen()
        fleet.spawn()
        assert fleet.process.wait(15) == 1
        assert f"127.0.0.1:{fleet.http_port} is already in use" in fleet.output()
        nothing_is_left_of(fleet)


@contextlib.contextmanager
def request_in_flight(fleet):
    """A request whose function has been called and has not answered; yields (worker, call, answers, thread)."""
    worker = slow_route(fleet)
    answers = []

    def get():
        try:
            answers.append(requests.get(f"{fleet.http_url}/slow", timeout=30).status_code)
        except requests.exceptions.RequestException:
            answers.append(0)

    thread = threading.Thread(target=get)
    thread.start()
    try:
        yield worker, worker.expect("invokefunction"), answers, thread
    finally:
        with contextlib.suppress(Exception):
            worker.close()
        thread.join(40)


def test_sigterm_answers_what_is_in_flight_and_leaves_nothing(tmp_path):
    with prepared(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        fleet.up()
        with request_in_flight(fleet) as (worker, call, answers, thread):
            fleet.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "iii-http: ready → stopping" in fleet.output(), "it drains")
            wait_for(lambda: status_refused(fleet.port), "new workers are turned away")
            worker.answer(call, {"status_code": 200, "body": "late"})
            thread.join(20)
            assert answers == [200]
            assert fleet.process.wait(25) == 0
        nothing_is_left_of(fleet)
        assert not can_connect(fleet.port) and not can_connect(fleet.http_port)


def status_refused(port: int) -> bool:
    try:
        return requests.get(
            f"http://127.0.0.1:{port}/", headers={"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}, timeout=5
        ).status_code == 503
    except requests.exceptions.RequestException:
        return False


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_second_signal_ends_at_once_with_its_number(tmp_path, number, code):
    with prepared(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        fleet.up()
        with request_in_flight(fleet):
            fleet.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "draining" in fleet.output(), "it drains")
            assert fleet.process.poll() is None
            fleet.process.send_signal(number)
            assert fleet.process.wait(5) == code
            nothing_is_left_of(fleet)


def test_children_that_ignore_sigterm_are_killed_at_their_limit(tmp_path):
    stubborn = {"name": "iii-exec", "stop_timeout_ms": 300, "config": {"exec": ["trap '' TERM; while :; do sleep 0.1; done"]}}
    with prepared(tmp_path, workers=[stubborn]) as fleet:
        fleet.up()
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "runs")
        assert fleet.stop() == 0
        assert "SIGKILL" in fleet.output()
        nothing_is_left_of(fleet)


def test_workers_are_told_to_come_back_when_the_core_ends(tmp_path):
    with prepared(tmp_path) as fleet:
        fleet.up()
        worker = fleet.connect()
        fleet.process.send_signal(signal.SIGTERM)
        with pytest.raises(Exception) as closed:
            worker.ws.recv(timeout=15)
        assert closed.value.rcvd.code == 1012
        assert fleet.process.wait(15) == 0


# Logs of children


def test_child_that_writes_10_mb_without_newline_harms_no_other_lines(tmp_path):
    flood = {"name": "iii-exec", "config": {"exec": ["head -c 10485760 /dev/zero | tr '\\0' x; echo; echo flood is over; exec sleep 1000"]}}
    ticks = {"name": "iii-exec", "config": {"exec": ["i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo tick $i end; done; echo ticks are over; exec sleep 1000"]}}
    with running(tmp_path, http={}, workers=[flood, ticks]) as fleet:
        wait_for(lambda: "| flood is over" in fleet.output() and "| ticks are over" in fleet.output(), "both went through", timeout=30)
        lines = fleet.output().splitlines()
        assert [line.split("| ")[1] for line in lines if "iii-exec#1" in line and "| tick" in line and "over" not in line] == [f"tick {i} end" for i in range(1, 201)]
        assert any("[line cut at 64 KiB]" in line for line in lines)
        assert max(map(len, lines)) < 70_000
        assert http_status(fleet.http_url) == 404


def test_blocked_console_blocks_nobody(tmp_path):
    done = tmp_path / "done"
    # With their prefixes these lines are several times what the pipe (64 KiB) and the core's own queue (4 MiB) hold.
    flood = {"name": "iii-exec", "config": {"exec": [f"seq 1 400000; touch {done}; exec sleep 1000"]}}
    with prepared(tmp_path, http={}, workers=[flood]) as fleet:
        reader, writer = os.pipe()
        fleet.process = subprocess.Popen([BIN / "iii-core", "up", "-c", str(fleet.config)], cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
        os.close(writer)
        # Nobody reads the pipe: it is full after 64 KiB.
        wait_for(done.exists, "the noisy child came to its end", timeout=40)
        assert http_status(fleet.http_url) == 404
        assert fleet.cli("status").returncode == 0
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.process.wait(20) == 0
        os.close(reader)


def test_console_that_goes_away_does_not_end_the_core(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        reader, writer = os.pipe()
        fleet.process = subprocess.Popen([BIN / "iii-core", "up", "-c", str(fleet.config)], cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
        os.close(writer)
        os.close(reader)
        assert fleet.cli("status", "--wait-ready", "--timeout", "15s").returncode == 0
        assert fleet.cli("restart", "iii-http").returncode == 0
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.process.wait(20) == 0


# systemd


class Notifications:
    """The receiving end of sd_notify."""

    def __init__(self, directory: pathlib.Path, abstract: bool = False):
        self.name = f"@iii-test-{os.getpid()}-{directory.name}" if abstract else str(directory / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        self.socket.setblocking(False)
        self.messages: list[str] = []

    def all(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.messages.append(self.socket.recv(65536).decode())
        return self.messages

    def has(self, field: str) -> bool:
        return any(field in message.splitlines() for message in self.all())


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_of_readiness_watchdog_reload_and_end(tmp_path, abstract):
    notifications = Notifications(tmp_path, abstract)
    gate = tmp_path / "gate"
    program = script(tmp_path / "http", f'while [ ! -e {gate} ]; do sleep 0.05; done\nexec {BIN / "iii-http"}\n')
    entry = {"name": "iii-http", "exec": str(program), "config": {"port": free_port()}}
    env = {"NOTIFY_SOCKET": notifications.name, "WATCHDOG_USEC": "200000"}
    with prepared(tmp_path, workers=[entry], env=env) as fleet:
        fleet.spawn()
        wait_for(lambda: sum("WATCHDOG=1" in m for m in notifications.all()) >= 3, "the watchdog is fed while starting")
        assert not notifications.has("READY=1"), "not before its built-in is ready"
        gate.touch()
        wait_for(lambda: notifications.has("READY=1"), "ready")
        assert notifications.has("STATUS=1/1 built-ins ready")
        ready = [m for m in notifications.all() if "READY=1" in m]
        assert len(ready) == 1
        assert fleet.cli("reload").returncode == 0
        wait_for(lambda: any("RELOADING=1" in m and "MONOTONIC_USEC=" in m for m in notifications.all()), "reloading")
        wait_for(lambda: sum("READY=1" in m for m in notifications.all()) == 2, "ready again")
        fed = sum("WATCHDOG=1" in m for m in notifications.all())
        wait_for(lambda: sum("WATCHDOG=1" in m for m in notifications.all()) > fed + 2, "the watchdog is fed on")
        assert not notifications.has("STOPPING=1")
        assert fleet.stop() == 0
        assert notifications.has("STOPPING=1")
    notifications.socket.close()


def test_no_watchdog_pings_when_none_are_asked_of_this_process(tmp_path):
    notifications = Notifications(tmp_path)
    env = {"NOTIFY_SOCKET": notifications.name, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
    with prepared(tmp_path, http={}, env=env) as fleet:
        fleet.up()
        wait_for(lambda: notifications.has("READY=1"), "ready")
        fleet.stop()
        assert not notifications.has("WATCHDOG=1")
    notifications.socket.close()


def test_sockets_of_systemd_are_taken_over_by_name(tmp_path):
    with prepared(tmp_path, http={}) as fleet, socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as worker:
        # The configured addresses are not bound when systemd has bound others for us.
        http_port, worker_port = http.getsockname()[1], worker.getsockname()[1]
        command = f'exec 3<&{http.fileno()} 4<&{worker.fileno()}; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:worker exec "$@"'
        with open(fleet.log, "ab") as log:
            fleet.process = subprocess.Popen(
                ["bash", "-c", command, "bash", BIN / "iii-core", "up", "-c", str(fleet.config)],
                cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(http.fileno(), worker.fileno()),
            )  # fmt: skip
        http.close()
        worker.close()
        done = run_core("status", "--wait-ready", "--timeout", "15s", "--port", worker_port, cwd=tmp_path)
        assert done.returncode == 0, done.stderr + fleet.output()
        assert not can_connect(fleet.port) and not can_connect(fleet.http_port)
        with serving(worker_port, {"a::b": ok}, {"/x": "a::b"}):
            url = f"http://127.0.0.1:{http_port}/x"
            wait_for_http(url)
            assert run_core("restart", "iii-http", "--port", worker_port, cwd=tmp_path).returncode == 0
            wait_for_http(url)
        assert fleet.stop() == 0
        nothing_is_left_of(fleet)


# Process 1


def can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="this environment does not allow `unshare --pid --fork --mount-proc`")
def test_process_1_buries_orphans_and_obeys_sigterm(tmp_path):
    orphans = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); (sh -c 'sleep 0.05; echo x >> orphans' &); done; exec sleep 1000"
    with prepared(tmp_path, http={}, workers=[{"name": "iii-exec", "config": {"exec": [orphans]}}]) as fleet:
        with open(fleet.log, "ab") as log:
            fleet.process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", BIN / "iii-core", "up", "-c", str(fleet.config)],
                cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        fleet.wait_ready()
        core = wait_for(lambda: next((pid for pid, name in members(fleet).items() if name == "iii-core"), None), "process 1")
        assert "NSpid:" in (status := pathlib.Path(f"/proc/{core}/status").read_text()) and re.search(r"NSpid:\s+\d+\s+1\n", status)
        orphaned = tmp_path / "orphans"
        wait_for(lambda: orphaned.exists() and orphaned.read_text().count("x") == 20, "all orphans have lived")
        wait_for(lambda: not zombies_of(core), "all are buried")
        # The statuses of its own children are not lost to the burial of others.
        http = next(pid for pid, name in members(fleet).items() if name == "iii-http")
        os.kill(http, signal.SIGKILL)
        wait_for(lambda: fleet.rows()["iii-http"]["restarts"] == 1 and fleet.rows()["iii-http"]["ready"], "restarted")
        assert fleet.rows()["iii-http"]["last_exit"] == "SIGKILL"
        os.kill(core, signal.SIGTERM)
        assert fleet.process.wait(20) == 0
        nothing_is_left_of(fleet)


def zombies_of(parent: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                if fields[0] == "Z" and int(fields[1]) == parent:
                    found.append(int(entry))
    return found


# iii-exec


def exec_entry(*commands, watch=None, **fields) -> dict:
    return {"name": "iii-exec", "config": {"exec": list(commands), **({"watch": watch} if watch else {})}, **fields}


def test_exec_pipeline_runs_its_commands_in_order(tmp_path):
    with running(tmp_path, workers=[exec_entry("echo first >> steps", "echo second >> steps", "echo third >> steps; exec sleep 1000")]):
        wait_for(lambda: (tmp_path / "steps").exists() and (tmp_path / "steps").read_text().split() == ["first", "second", "third"], "all ran")


def test_exec_pipeline_stops_at_a_failing_command_and_the_engine_stays(tmp_path):
    with answering(tmp_path, http={}, workers=[exec_entry("echo first >> steps; exit 7", "echo second >> steps")]) as fleet:
        wait_for(lambda: "Pipeline step failed, aborting pipeline" in fleet.output(), "reported")
        row = fleet.rows()["iii-exec"]
        assert (row["state"], row["last_error"]) == ("failed", "step 1 of the pipeline failed: exit 7")
        wait_for_http(fleet.http_url, 404)
        assert (tmp_path / "steps").read_text().split() == ["first"]


def test_exec_last_command_is_restarted_on_failure_but_not_after_success(tmp_path):
    failing = exec_entry("echo once >> steps", "echo again >> steps; sleep 0.1; exit 1", restart={"delay_ms": 20, "policy": "on-failure"})
    finished = exec_entry("echo done >> finished")
    with running(tmp_path, workers=[failing, finished]) as fleet:
        wait_for(lambda: (tmp_path / "steps").exists() and (tmp_path / "steps").read_text().count("again") >= 3, "run again and again")
        assert (tmp_path / "steps").read_text().count("once") == 1, "the steps before have done their work"
        wait_for(lambda: fleet.rows()["iii-exec#1"]["state"] == "stopped", "the other has ended")
        assert (tmp_path / "finished").read_text() == "done\n"


def test_exec_group_is_gone_within_its_grace_at_shutdown(tmp_path):
    # The leader obeys, a child in its group does not.
    command = "sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & exec sleep 1000"
    with prepared(tmp_path, http={}, workers=[exec_entry(command)]) as fleet:
        fleet.up()
        wait_for(lambda: "sh" in members(fleet).values() or "dash" in members(fleet).values(), "the group runs")
        fleet.process.send_signal(signal.SIGTERM)
        nothing_is_left_of(fleet, timeout=15)
        assert fleet.process.wait(15) == 0


def test_exec_step_in_progress_is_ended_at_shutdown_and_later_ones_skipped(tmp_path):
    with prepared(tmp_path, workers=[exec_entry("touch started; sleep 1000", "touch second")]) as fleet:
        fleet.spawn()
        wait_for((tmp_path / "started").exists, "the first step runs")
        assert fleet.stop() == 0
        assert not (tmp_path / "second").exists()
        nothing_is_left_of(fleet)


@pytest.mark.parametrize("how", ["in place", "rename", "create", "delete"])
def test_exec_restarts_when_a_watched_file_changes(tmp_path, how):
    source = tmp_path / "src" / "deep"
    source.mkdir(parents=True)
    (source / "a.ts").write_text("1")
    with running(tmp_path, workers=[exec_entry("echo run >> runs; exec sleep 1000", watch=["src/**/*.ts"])]) as fleet:
        runs = lambda: (tmp_path / "runs").read_text().count("run") if (tmp_path / "runs").exists() else 0  # noqa: E731
        wait_for(lambda: runs() == 1, "runs")
        (source / "b.txt").write_text("not watched")
        if how == "in place":
            (source / "a.ts").write_text("2")
        elif how == "rename":
            (source / "a.tmp").write_text("2")
            os.replace(source / "a.tmp", source / "a.ts")
        elif how == "create":
            (source / "new").mkdir()
            (source / "new" / "c.ts").write_text("1")
        else:
            (source / "a.ts").unlink()
        wait_for(lambda: runs() == 2, "runs again")
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
        assert "watched files have changed" in fleet.output()


def test_exec_gets_its_environment_and_directory(tmp_path):
    (tmp_path / "sub").mkdir()
    command = {"command": "pwd > ../where; env > ../env; exec sleep 1000", "cwd": str(tmp_path / "sub"), "env": {"MINE": "1"}}
    with running(tmp_path, workers=[exec_entry(command)], env={"INHERITED": "2"}) as fleet:
        wait_for(lambda: (tmp_path / "env").exists() and "MINE=1" in (tmp_path / "env").read_text(), "written")
        assert (tmp_path / "where").read_text().strip() == str(tmp_path / "sub")
        text = (tmp_path / "env").read_text()
        assert "INHERITED=2" in text and f"III_URL={fleet.url}" in text


def test_sdk_worker_started_by_exec_serves_and_comes_back(tmp_path):
    build = build_of(tmp_path / "bin", "hello-worker")
    with running(tmp_path, http={}, workers=[exec_entry(f"exec {build}/hello-worker", restart={"delay_ms": 50})]) as fleet:
        url = f"{fleet.http_url}/hello?name=Ann"
        wait_for_http(url)
        assert requests.get(url, timeout=10).json() == {"message": "Hello, Ann!"}
        pid = fleet.pid_of("iii-exec")
        assert environment_of(pid)["III_URL"] == fleet.url
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: fleet.rows()["iii-exec"]["pid"] not in (None, pid), "started again")
        wait_for_http(url)


# Order, limits, other signals


def test_children_start_after_and_stop_before_what_they_depend_on(tmp_path):
    gate = tmp_path / "gate"
    http = {"name": "iii-http", "exec": str(script(tmp_path / "http", f'while [ ! -e {gate} ]; do sleep 0.05; done\nexec {BIN / "iii-http"}\n')), "config": {"port": free_port()}}
    with prepared(tmp_path, workers=[{**SLEEPER, "depends_on": ["iii-http"]}, http]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0 and fleet.rows()["iii-http"]["state"] == "starting", "the first starts")
        assert fleet.rows()["iii-exec"]["state"] == "waiting"
        gate.touch()
        wait_for(lambda: fleet.rows()["iii-exec"]["state"] == "ready", "the second follows")
        assert fleet.stop() == 0
        text = fleet.output()
        assert text.index("iii-http: starting → ready") < text.index("iii-exec: waiting → starting")


def test_child_beyond_its_memory_limit_is_restarted_with_the_reason(tmp_path):
    program = script(tmp_path / "hog", "exec python3 -c 'import time; x = b\"x\" * (200 << 20); time.sleep(1000)'\n")
    entry = {"name": "hog", "exec": str(program), "readiness": "alive", "resources": {"memory_max_mb": 100}, "restart": {"delay_ms": 50}}
    with running(tmp_path, workers=[entry]) as fleet:
        row = wait_for(lambda: (r := fleet.rows()["hog"])["restarts"] >= 1 and r, "restarted", timeout=30)
        assert "MiB of at most 100" in row["last_error"]


def test_harmless_signals_do_not_end_the_core(tmp_path):
    with running(tmp_path, http={}) as fleet:
        pid = fleet.pid_of("iii-http")
        for number in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGPIPE, signal.SIGCHLD):
            fleet.process.send_signal(number)
        wait_for(lambda: "state {" in fleet.output(), "SIGQUIT dumps the state")
        assert fleet.cli("status").returncode == 0
        assert fleet.pid_of("iii-http") == pid


def test_sigterm_while_children_are_in_back_off_or_starting_is_an_orderly_end(tmp_path):
    crash = {"name": "crash", "exec": str(script(tmp_path / "crash", "exit 1\n")), "restart": {"delay_ms": 60000, "max_delay_ms": 60000}}
    hang = {"name": "hang", "exec": str(script(tmp_path / "hang", "exec sleep 1000\n")), "readiness": "reported", "startup_timeout_ms": 60000}
    with prepared(tmp_path, workers=[crash, hang]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0 and fleet.rows()["crash"]["state"] == "backoff", "waits")
        assert fleet.rows()["hang"]["state"] == "starting"
        assert fleet.stop(15) == 0
        nothing_is_left_of(fleet)


def can_unshare_network() -> bool:
    return can_unshare() and bool(shutil.which("ip")) and subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare_network(), reason="this environment does not allow `unshare --net`, and the default ports may be taken")
def test_default_configuration_runs_on_loopback_without_a_file(tmp_path):
    with prepared(tmp_path) as fleet:
        fleet.config.unlink()
        with open(fleet.log, "ab") as log:
            fleet.process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", BIN / "iii-core", "--use-default-config"],
                cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        assert run_core("status", "--wait-ready", "--timeout", "15s", cwd=tmp_path).returncode == 0, fleet.output()
        assert "127.0.0.1:3111" in run_core("status", cwd=tmp_path).stdout
        assert "WARN" not in fleet.output()
        done = run_core("reload", cwd=tmp_path)
        assert done.returncode == 1 and "default configuration" in done.stderr
        fleet.process.send_signal(signal.SIGTERM)
        assert fleet.process.wait(20) == 0
