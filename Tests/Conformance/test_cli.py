"""The command line: what each command prints, and the exit code scripts rely on."""

import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest
from processes import answering, can_connect, entries_of, environment_of, http_status, members, prepared, run_core, running, save, script, secretive, serving
from wire import BIN, Fleet, free_port, wait_for

SLEEPER = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}


def greet(data):
    return {"hello": data.get("name", "nobody"), "got": data}




@pytest.fixture(scope="module")
def up(tmp_path_factory):
    functions = {"greet::hello": greet, "nil::nothing": lambda _: None, "slow::never": lambda _: time.sleep(3600)}
    with running(tmp_path_factory.mktemp("cli"), http={}, workers=[SLEEPER]) as fleet, serving(fleet.port, functions) as service:
        caller = fleet.connect()
        wait_for(lambda: len([f for f in caller.call("engine::functions::list", {})["functions"] if "::" in f["function_id"]]) >= 3, "registered")
        caller.close()
        fleet.service = service
        yield fleet


def trigger(fleet, *args, command="trigger", **options):
    return run_core(command, *args, "--port", fleet.port, cwd=fleet.directory, **options)


# Version and usage


@pytest.mark.parametrize("arguments", [["--version"], ["-v"], ["version"], ["up", "--version"]])
def test_version_prints_only_the_version(tmp_path, arguments):
    done = run_core(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--nonsense"], ["restart"], ["restart", "a", "--all"], ["stop"], ["frobnicate"], ["status", "--timeout", "x"], ["trigger"]])
def test_wrong_usage_ends_with_2_and_says_why(tmp_path, arguments):
    done = run_core(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert done.stdout == ""


def test_help_ends_with_0_on_stdout(tmp_path):
    done = run_core("--help", cwd=tmp_path)
    assert done.returncode == 0
    for command in ("up", "ps", "status", "restart", "logs", "reload", "config", "trigger"):
        assert re.search(rf"^\s+{command}\b", done.stdout, re.M), command


# trigger


def test_trigger_in_the_older_form(up):
    done = trigger(up, "--function-id", "greet::hello", "--payload", '{"name": "Ann"}', "--address", "127.0.0.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"hello": "Ann", "got": {"name": "Ann"} | caller_of(done)}
    assert '\n  "' in done.stdout, "pretty, two spaces"


def test_trigger_says_that_an_address_is_a_host(tmp_path):
    done = run_core("trigger", "a::b", "--address", "ws://127.0.0.1:49134", cwd=tmp_path)
    assert done.returncode == 2
    assert "--address takes a host alone, such as 127.0.0.1, not 'ws://127.0.0.1:49134'; the port goes into --port" in done.stderr


def caller_of(done) -> dict:
    """The engine stamps the caller's id into the payload of unprivileged calls."""
    return {k: v for k, v in json.loads(done.stdout)["got"].items() if k == "_caller_worker_id"}


@pytest.mark.parametrize("command", ["trigger", "t"])
def test_trigger_in_the_newer_form(up, command):
    done = trigger(up, "greet::hello", "name=Bob", "n=3", "list=[1,2]", "text=3x", "flag=true", command=command)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)["got"]
    assert {k: v for k, v in got.items() if k != "_caller_worker_id"} == {"name": "Bob", "n": 3, "list": [1, 2], "text": "3x", "flag": True}


def test_trigger_pairs_win_over_json(up):
    done = trigger(up, "greet::hello", "name=pair", "--json", '{"name": "json", "other": 1}')
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)["got"]
    assert (got["name"], got["other"]) == ("pair", 1)


def test_trigger_reads_its_payload_from_a_file_or_stdin(up, tmp_path):
    (tmp_path / "p.json").write_text('{"name": "file"}')
    done = trigger(up, "greet::hello", "--payload", f"@{tmp_path}/p.json")
    assert json.loads(done.stdout)["hello"] == "file"
    done = trigger(up, "greet::hello", "--payload", "-", input='{"name": "stdin"}')
    assert json.loads(done.stdout)["hello"] == "stdin"


def test_trigger_raw_is_one_line(up):
    assert len(trigger(up, "greet::hello", "--raw").stdout.splitlines()) == 1


def test_trigger_without_a_result_prints_nothing(up):
    done = trigger(up, "nil::nothing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_trigger_void_does_not_wait_and_loses_nothing(up):
    processes = [subprocess.Popen([BIN / "iii-core", "trigger", "slow::never", f"n={n}", "--void", "--port", str(up.port)], env=up.env) for n in range(20)]
    assert [process.wait(20) for process in processes] == [0] * 20
    arrived = lambda: {c["data"]["n"] for c in up.service.calls if c["function_id"] == "slow::never" and "n" in c["data"]}  # noqa: E731
    wait_for(lambda: arrived() == set(range(20)), "every call arrived")


def test_trigger_prints_the_functions_error_as_json_on_stderr(up):
    worker = up.connect()
    worker.register("bad::one")
    worker.sync()
    process = subprocess.Popen(
        [BIN / "iii-core", "trigger", "bad::one", "--port", str(up.port)], env=up.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    worker.answer(worker.expect("invokefunction"), error={"code": "E42", "message": "broken", "stacktrace": "here"})
    out, err = process.communicate(timeout=15)
    worker.close()
    assert process.returncode == 1
    assert out == ""
    assert err.startswith("Error: ")
    error = json.loads(err.removeprefix("Error: "))
    assert (error["code"], error["message"]) == ("E42", "broken")


def test_trigger_of_an_unknown_function_fails_with_its_code(up):
    done = trigger(up, "no::such")
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr.removeprefix("Error: "))["code"] == "function_not_found"


@pytest.mark.parametrize("arguments", [["a::b", "--payload", "{nope"], ["--function-id", "a::b", "--payload", "x"], ["a::b", "x=1", "--json", "[1]"]])
def test_trigger_with_bad_json_fails_without_connecting(tmp_path, arguments):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        done = run_core("trigger", *arguments, "--port", server.getsockname()[1], "--address", "127.0.0.1", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: Invalid JSON payload")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_trigger_fails_fast_when_nobody_listens(tmp_path):
    done = run_core("trigger", "a::b", "--port", free_port(), "--address", "127.0.0.1", cwd=tmp_path, timeout=20)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: WebSocket error: ")


def test_trigger_that_gets_no_answer_in_time_says_so(up):
    done = trigger(up, "slow::never", "--timeout-ms", "300")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Timed out waiting for the engine (no response within the timeout)." in done.stderr


def test_trigger_against_something_that_is_no_engine_ends(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = run_core("trigger", "a::b", "--port", server.getsockname()[1], "--address", "127.0.0.1", "--timeout-ms", "500", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")


# The fleet


def test_up_is_ready_within_five_seconds(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        fleet.spawn()
        done = fleet.cli("status", "--wait-ready", "--timeout", "5s", check=False)
        assert done.returncode == 0, fleet.output()
        print(re.search(r"iii-core ready in \d+ ms", fleet.output())[0])
        assert fleet.stop() == 0


def test_bare_command_is_up(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        with open(fleet.log, "ab") as log:
            fleet.process = subprocess.Popen([BIN / "iii-core"], cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        fleet.wait_ready()
        assert http_status(fleet.http_url) == 404
        assert fleet.stop() == 0


def test_ps_lists_every_child_as_table_and_json(up):
    table = up.cli("ps").stdout.splitlines()
    assert table[0].split() == ["NAME", "PID", "STATE", "READY", "RESTARTS", "UPTIME", "CPU", "RSS", "LAST-EXIT"]
    assert [line.split()[0] for line in table[1:] if line and "disabled" not in line] == ["iii-http", "iii-exec"]
    rows = up.rows()
    assert rows["iii-http"]["listen"] == f"127.0.0.1:{up.http_port}"
    assert all(os.path.exists(f"/proc/{row['pid']}") and row["ready"] for row in rows.values())


def test_status_of_all_one_and_an_unknown_name(up):
    assert up.cli("status").returncode == 0
    shown = up.cli("status", "iii-http").stdout
    assert "iii-http: ready" in shown and re.search(r"^  doing:      .*calls: 0 served, 0 made, 0 held back$", shown, re.M), shown
    assert json.loads(up.cli("status", "iii-http", "--json").stdout)["children"][0]["doing"]["running_calls"] == 0
    assert "doing:" not in up.cli("status", "iii-exec").stdout
    done = up.cli("status", "iii-htpt", check=False)
    assert done.returncode == 1
    assert "did you mean 'iii-http'" in done.stderr


def test_commands_without_an_engine_end_with_4(tmp_path):
    port = free_port()
    for arguments in (["ps"], ["ps", "--json"], ["status"], ["status", "--wait-ready", "--timeout", "200ms"], ["restart", "x"], ["stop", "x"], ["start", "x"], ["reset", "x"], ["logs"], ["reload"]):
        done = run_core(*arguments, "--port", port, cwd=tmp_path)
        assert done.returncode == 4, (arguments, done)
        assert "no engine answers" in done.stderr


@pytest.mark.parametrize("command", ["restart", "stop", "start", "reset", "status", "logs"])
def test_unknown_names_end_with_1_and_name_what_there_is(up, command):
    done = up.cli(command, "nobody", check=False)
    assert done.returncode == 1
    assert "no child named 'nobody'" in done.stderr and "iii-http" in done.stderr


def test_stop_is_sticky_until_start(tmp_path):
    with running(tmp_path, http={}) as fleet:
        before = fleet.pid_of("iii-http")
        assert fleet.cli("stop", "iii-http").returncode == 0
        row = fleet.rows()["iii-http"]
        assert (row["state"], row["pid"]) == ("stopped", None)
        assert not can_connect(fleet.http_port), "clients are refused, not left waiting"
        assert fleet.cli("status", check=False).returncode == 1
        assert fleet.cli("reload").returncode == 0
        assert fleet.rows()["iii-http"]["state"] == "stopped"
        assert fleet.cli("start", "iii-http").returncode == 0
        assert fleet.rows()["iii-http"]["pid"] not in (None, before)
        assert http_status(fleet.http_url) == 404


def test_restart_replaces_one_or_all_processes(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
        first = fleet.rows()
        assert fleet.cli("restart", "iii-http").returncode == 0
        second = fleet.rows()
        assert second["iii-http"]["pid"] != first["iii-http"]["pid"] and second["iii-http"]["restarts"] == 1 and second["iii-http"]["ready"]
        assert second["iii-exec"]["pid"] == first["iii-exec"]["pid"]
        assert fleet.cli("restart", "--all").returncode == 0
        third = fleet.rows()
        assert all(third[name]["pid"] != second[name]["pid"] for name in third)


def test_restart_that_fails_ends_with_1_and_the_reason(tmp_path):
    program = script(tmp_path / "fragile", f"[ -e {tmp_path}/broken ] && exit 3\nexec sleep 1000\n")
    entry = {"name": "fragile", "exec": str(program), "readiness": "reported", "startup_timeout_ms": 300}
    with running(tmp_path, workers=[SLEEPER, {**entry, "readiness": "alive"}]) as fleet:
        save(fleet, [*entries_of(fleet)[:2], entry])
        fleet.cli("reload")
        done = fleet.cli("restart", "fragile", check=False)
        assert done.returncode == 1
        assert "did not become ready" in done.stderr


def test_restart_that_takes_too_long_ends_with_5(tmp_path):
    # The first command of a pipeline may take its time; the restart waits as long as the entry's limits say.
    entry = {"name": "iii-exec", "stop_timeout_ms": 100, "startup_timeout_ms": 100, "config": {"exec": ["sleep 1000", "sleep 1000"]}}
    with answering(tmp_path, workers=[entry]) as fleet:
        done = fleet.cli("restart", "iii-exec", check=False)
        assert done.returncode == 5
        assert "still starting" in done.stderr


def test_reset_starts_a_failed_child_again(tmp_path):
    program = script(tmp_path / "fragile", f"[ -e {tmp_path}/mended ] || exit 78\nexec sleep 1000\n")
    with prepared(tmp_path, workers=[{"name": "fragile", "exec": str(program), "readiness": "alive"}, SLEEPER]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0 and fleet.rows()["fragile"]["state"] == "failed", "gave up")
        (tmp_path / "mended").touch()
        assert fleet.cli("reset", "fragile").returncode == 0
        wait_for(lambda: fleet.rows()["fragile"]["state"] == "ready", "runs")
        assert fleet.stop() == 0


def test_wait_ready_ends_with_1_when_it_does_not_happen(tmp_path):
    program = script(tmp_path / "never", "exec sleep 1000\n")
    with prepared(tmp_path, workers=[{"name": "never", "exec": str(program), "readiness": "reported"}]) as fleet:
        fleet.spawn()
        done = fleet.cli("status", "--wait-ready", "--timeout", "700ms", check=False)
        if done.returncode == 4:  # on a slow machine the control socket was not there yet
            done = fleet.cli("status", "--wait-ready", "--timeout", "700ms", check=False)
        assert done.returncode == 1
        assert "not ready" in done.stdout
        fleet.stop()


def test_only_and_except_choose_what_starts(tmp_path):
    with prepared(tmp_path, http={}, workers=[SLEEPER], args=["--except", "iii-http"]) as fleet:
        fleet.spawn()
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0, "answers")
        wait_for(lambda: fleet.rows()["iii-exec"]["state"] == "ready", "the other runs")
        assert fleet.rows()["iii-http"]["state"] == "disabled"
        assert fleet.cli("start", "iii-http").returncode == 0
        assert http_status(fleet.http_url) == 404
        assert fleet.stop() == 0
    done = run_core("up", "--only", "iii-htpt", cwd=tmp_path)
    assert done.returncode == 1
    assert "--only: no child named 'iii-htpt' (did you mean 'iii-http'?)" in done.stderr


# Logs


def test_logs_show_the_last_lines_of_all_or_some(tmp_path):
    noisy = {"name": "iii-exec", "config": {"exec": ["for i in $(seq 1 50); do echo line $i; done; exec sleep 1000"]}}
    with running(tmp_path, http={}, workers=[noisy]) as fleet:
        wait_for(lambda: "line 50" in fleet.cli("logs", "iii-exec").stdout, "all is written")
        lines = fleet.cli("logs", "iii-exec", "-n", "3").stdout.splitlines()
        assert [line.split("| ")[1] for line in lines if line] == ["line 48", "line 49", "line 50"]
        assert len([line for line in fleet.cli("logs", "-n", "5").stdout.splitlines() if line]) == 5
        everything = fleet.cli("logs", "-n", "1000").stdout
        assert "API listening" in everything and "line 1\n" in everything and "iii-core ready" in everything
        assert "line 1\n" not in fleet.cli("logs", "iii-http", "-n", "1000").stdout
        assert "line 50" in fleet.cli("logs", "iii-exec", "--since", "10m").stdout
        assert fleet.cli("logs", "iii-exec", "--since", "0s").stdout == ""
        rows = [json.loads(line) for line in fleet.cli("logs", "iii-exec", "-n", "2", "--json").stdout.splitlines() if line]
        assert [(row["target"], row["fields"]["stream"], row["fields"]["message"]) for row in rows] == [("iii-exec", "stdout", "line 49"), ("iii-exec", "stdout", "line 50")]


def test_logs_follow_goes_on_and_ends_with_the_engine(tmp_path):
    with running(tmp_path, http={}) as fleet, open(tmp_path / "followed", "w") as target:
        process = subprocess.Popen([BIN / "iii-core", "logs", "iii-http", "-f", "-n", "0", "-c", str(fleet.config)], cwd=tmp_path, env=fleet.env, stdout=target)
        followed = lambda: (tmp_path / "followed").read_text()  # noqa: E731

        def provoke():
            fleet.cli("restart", "iii-http")
            return "API listening" in followed()

        wait_for(provoke, "what comes is shown", interval=0.1)
        fleet.stop()
        assert process.wait(15) == 0


def test_console_lines_carry_time_name_and_no_colour(tmp_path):
    workers = [{"name": "iii-exec", "config": {"exec": ["echo out; echo err >&2; exec sleep 1000"]}}]
    with running(tmp_path, workers=workers) as fleet:
        wait_for(lambda: "err" in fleet.output(), "written")
        assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} iii-exec\s+\| out$", fleet.output(), re.M)
        assert "\x1b" not in fleet.output()


def test_json_console_has_one_record_per_line(tmp_path):
    workers = [{"name": "iii-exec", "config": {"exec": ["echo plain; echo '{\"a\": 1, \"msg\": \"own\"}'; printf '\\033]0;x\\007\\n'; exec sleep 1000"]}}]
    with running(tmp_path, http={}, workers=workers, args=["--log-format", "json"]) as fleet:
        wait_for(lambda: '"a"' in fleet.output() and "0;x" in fleet.output(), "written")
        rows = [json.loads(line) for line in fleet.output().splitlines()]
        assert all(set(row) == {"timestamp", "level", "fields", "target"} and "message" in row["fields"] for row in rows)
        mine = [row["fields"] for row in rows if row["target"] == "iii-exec"]
        assert [fields["message"] for fields in mine] == ["plain", "own", "\x1b]0;x\x07"] and mine[1]["a"] == 1
        listening = next(row for row in rows if row["target"] == "iii-http" and "API listening" in row["fields"]["message"])
        assert listening["level"] == "INFO"


# Safety


def test_control_socket_is_private(up):
    directory = up.directory / "iii-core"
    path = directory / f"{up.port}.sock"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_control_socket_is_gone_after_the_end_and_a_stale_one_is_replaced(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        path = tmp_path / "iii-core" / f"{fleet.port}.sock"
        fleet.up()
        fleet.kill()
        assert path.exists(), "a killed engine leaves it behind"
        wait_for(lambda: not members(fleet), "children are gone")
        fleet.up()
        fleet.stop()
        assert not path.exists()


def test_nonsense_on_the_control_socket_harms_nobody(up):
    path = str(up.directory / "iii-core" / f"{up.port}.sock")
    for data in (b"nonsense\n", b"{}\n", b'{"command":"nope"}\n', b"x" * 100_000, b'{"command":"restart"}\n', b"\xff\xfe\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(path)
            client.sendall(data)
            answer = json.loads(client.makefile().readline())
            assert (answer["done"], answer["ok"]) == (True, False)
    assert up.cli("status").returncode == 0


def test_second_engine_on_the_same_port_is_refused(up, tmp_path):
    (tmp_path / "config.yaml").write_text(f"workers:\n  - name: iii-worker-manager\n    config: {{port: {up.port}}}\n")
    done = run_core("up", cwd=tmp_path, env={"XDG_RUNTIME_DIR": str(up.directory)})
    assert done.returncode == 1
    assert f"127.0.0.1:{up.port} is already in use" in done.stderr
    assert up.cli("status").returncode == 0


def test_http_port_in_use_is_refused_before_anything_starts(up, tmp_path):
    (tmp_path / "config.yaml").write_text(
        f"workers:\n  - name: iii-worker-manager\n    config: {{port: {free_port()}}}\n  - name: iii-http\n    config: {{port: {up.http_port}}}\n"
    )
    done = run_core("up", cwd=tmp_path)
    assert done.returncode == 1
    assert f"iii-http: address 127.0.0.1:{up.http_port} is already in use" in done.stderr


def test_secrets_appear_in_no_argv_log_or_listing(tmp_path):
    entry = secretive(tmp_path) | {"env": {"DB_PASSWORD": "hunter2secret"}, "config": {"api_key": "hunter3secret"}}
    with running(tmp_path, http={}, workers=[entry], env={"III_LOG_LEVEL": "trace"}) as fleet:
        wait_for(lambda: fleet.rows()["mine"]["ready"], "ready")
        wait_for(lambda: (tmp_path / "mine.secret").exists(), "the program has taken its secret")
        token = (tmp_path / "mine.secret").read_text()
        assert len(token) >= 32
        assert environment_of(fleet.pid_of("mine"))["DB_PASSWORD"] == "hunter2secret"
        secrets = [token, "hunter2secret", "hunter3secret"]
        listings = [fleet.output(), fleet.cli("ps", "--json").stdout, fleet.cli("status", "--json").stdout, fleet.cli("logs", "-n", "10000").stdout]
        listings.append(run_core("config", "check", cwd=tmp_path).stdout)
        caller = fleet.connect()
        for function in ("engine::workers::list", "engine::functions::list", "engine::triggers::list"):
            listings.append(json.dumps(caller.call(function, {"include_internal": True})))
        caller.close()
        for pid in members(fleet):
            listings.append(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
            assert token not in str(environment_of(pid))
        for secret in secrets:
            assert not any(secret in text for text in listings)


def test_every_spawn_gets_a_secret_of_its_own_and_user_commands_get_none(tmp_path):
    with running(tmp_path, workers=[SLEEPER, secretive(tmp_path)], env={"III_BUILTIN_TOKEN": "inherited", "III_BUILTIN_TOKEN_FD": "0"}) as fleet:
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
        wait_for(lambda: (tmp_path / "mine.secret").exists(), "taken")
        first = (tmp_path / "mine.secret").read_text()
        (tmp_path / "mine.secret").unlink()
        fleet.cli("restart", "mine")
        wait_for(lambda: (tmp_path / "mine.secret").exists(), "taken again")
        assert len({first, (tmp_path / "mine.secret").read_text(), "inherited"}) == 3
        user = fleet.pid_of("iii-exec")
        assert not any(name.startswith("III_BUILTIN") for name in environment_of(user))
        # 0 to 2 and the lifeline: no descriptor of the core or of another child.
        open_files = {os.readlink(f"/proc/{user}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{user}/fd")}
        assert not open_files & {"socket"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to start a fleet as another user")
@pytest.mark.parametrize("args, is_protected", [([], True), (["--debuggable"], False)], ids=["default", "debuggable"])
def test_processes_with_secrets_are_closed_to_their_own_user(args, is_protected):
    """Files below /proc/PID belong to root where the process is not dumpable, else to its user."""
    nobody = 65534
    with tempfile.TemporaryDirectory(prefix="iii-") as name:
        directory = pathlib.Path(name)
        directory.chmod(0o777)
        it = Fleet(directory, http={}, workers=[SLEEPER], args=args)
        process = subprocess.Popen([BIN / "iii-core", "up", "-c", str(it.config), *args], cwd=directory, env=it.env, user=nobody, group=nobody, extra_groups=[], stdin=subprocess.DEVNULL, stdout=open(it.log, "wb"), stderr=subprocess.STDOUT)
        try:
            it.process = process
            it.wait_ready()
            owners = {name: os.stat(f"/proc/{it.pid_of(name)}/environ").st_uid for name in ("iii-http", "iii-exec")}
            owners["core"] = os.stat(f"/proc/{process.pid}/environ").st_uid
            secret = 0 if is_protected else nobody
            assert owners == {"core": secret, "iii-http": secret, "iii-exec": nobody}
        finally:
            it.stop()


def test_children_inherit_nothing_of_systemd_and_know_the_engine(tmp_path):
    env = {"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "30000000", "LISTEN_PID": "1", "LISTEN_FDS": "1", "JOURNAL_STREAM": "8:1"}
    with running(tmp_path, http={}, workers=[SLEEPER], env=env) as fleet:
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
        for name in ("iii-http", "iii-exec"):
            child = environment_of(fleet.pid_of(name))
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM"} & set(child)
            assert child["III_URL"] == child["III_ENGINE_URL"]
            # Built-ins come by a loopback listener of their own, so that no rule of the public one cuts them off.
            assert (child["III_URL"] == fleet.url) == (name == "iii-exec") and child["III_URL"].startswith("ws://127.0.0.1:")
            assert child["III_ENTRY_NAME"] == name
            assert "III_WORKER_NAME" not in child, "an SDK would take it for its own name"
            assert child["III_ENGINE_PID"] == str(fleet.process.pid)
        assert "LISTEN_FDS" not in environment_of(fleet.pid_of("iii-exec"))
        http = environment_of(fleet.pid_of("iii-http"))
        assert http["LISTEN_PID"] == str(fleet.pid_of("iii-http"))


def test_children_hold_no_descriptors_but_their_own(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
        pid = fleet.pid_of("iii-exec")
        descriptors = {int(d): os.readlink(f"/proc/{pid}/fd/{d}") for d in os.listdir(f"/proc/{pid}/fd")}
        assert descriptors[0] == "/dev/null"
        # stdout, stderr, and the lifeline at most.
        assert set(descriptors) <= {0, 1, 2, 3}, descriptors
        assert all(target.startswith("pipe:") for number, target in descriptors.items() if number > 0)


def test_ctrl_c_is_an_orderly_end(tmp_path):
    with prepared(tmp_path, http={}) as fleet:
        fleet.up()
        fleet.process.send_signal(signal.SIGINT)
        assert fleet.process.wait(20) == 0
        assert not members(fleet)
