"""Changes of the configuration of a running fleet that come in pieces, at the same time, or for processes that others run."""

import concurrent.futures
import contextlib
import os
import subprocess
import threading
import time

import pytest
import yaml
from processes import (
    can_connect,
    entries_of,
    environment_of,
    http_status,
    prepared,
    reloads,
    run_core,
    running,
    save,
    save_by_rename,
    secretive,
    settle,
    status_of,
    wait_for_http,
)
from wire import BIN, Wire, builtin, free_port, wait_for

# The configuration is watched with a debounce of 500 ms; after this a reload would have happened.
DEBOUNCE = 1.2
SLEEPER = {"name": "iii-exec", "config": {"exec": ["exec sleep 1000"]}}


def pids(fleet) -> dict:
    return {name: row["pid"] for name, row in fleet.rows().items()}


# Saves in pieces


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "workers:\n", "workers: []\n", "modules: []\n"], ids=["empty", "comment", "null", "no-entries", "no-modules"])
def test_a_file_that_names_nothing_ends_nothing(tmp_path, text):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        before, good = pids(fleet), fleet.config.read_text()
        save(fleet, text)
        wait_for(lambda: "reload: refused" in fleet.output(), "it is refused")
        # The file names no port any more, but it is this engine's.
        error = status_of(fleet)["last_reload"]["error"]
        assert "names nothing to run" in error and "iii-http" in error and "iii-exec" in error
        assert fleet.cli("reload", check=False).returncode == 1, "a command does not help it along"
        assert pids(fleet) == before
        wait_for_http(fleet.http_url, 404)
        fleet.connect().close()
        save(fleet, good)
        wait_for(lambda: status_of(fleet)["last_reload"]["ok"], "a whole file clears the error")
        assert pids(fleet) == before


def test_a_writer_who_takes_his_time_is_waited_for(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        before = pids(fleet)
        entries = entries_of(fleet)
        entries[1]["config"]["default_timeout"] = 4321
        pieces = [yaml.safe_dump({"workers": entries[:1]}), yaml.safe_dump(entries[1:2]), yaml.safe_dump(entries[2:])]
        with open(fleet.config, "w") as file:
            for piece in pieces:
                file.write(piece)
                file.flush()
                # Other files in the directory wake the watch while this one is half written.
                (tmp_path / "other.log").write_text("x")
                settle(DEBOUNCE)
            assert reloads(fleet) == 0
        wait_for(lambda: reloads(fleet) == 1, "read when it is whole")
        assert "~1 changed" in fleet.output() and "-0 removed" in fleet.output() and "refused" not in fleet.output()
        assert pids(fleet) == before


def test_a_file_that_is_saved_in_two_steps_takes_nothing_away(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        before, entries = pids(fleet), entries_of(fleet)
        save(fleet, entries[:1])
        wait_for(lambda: "reload: the file no longer names iii-http, iii-exec" in fleet.output(), "it hesitates")
        save(fleet, entries)
        settle(DEBOUNCE)
        assert reloads(fleet) == 1 and "-0 removed" in fleet.output()
        assert pids(fleet) == before
        # Left like that, it is meant.
        save(fleet, entries[:1])
        wait_for(lambda: "-2 removed" in fleet.output(), "applied")


def test_a_removal_by_command_is_applied_at_once(tmp_path):
    with running(tmp_path, http={}, workers=[SLEEPER]) as fleet:
        save(fleet, entries_of(fleet)[:2])
        assert fleet.cli("reload").returncode == 0
        assert "-1 removed" in fleet.output()
        settle(DEBOUNCE)
        assert reloads(fleet) == 1, "the watch has nothing to add"


def test_a_pipe_in_place_of_the_file_holds_up_nobody(tmp_path):
    with running(tmp_path, http={}) as fleet:
        text = fleet.config.read_text()
        fleet.config.unlink()
        os.mkfifo(fleet.config)
        wait_for(lambda: "reload: refused" in fleet.output(), "refused")
        assert "not a regular file" in fleet.output()
        fleet.config.unlink()
        began = time.monotonic()
        save(fleet, text)
        wait_for(lambda: reloads(fleet) == 2, "read again")
        assert time.monotonic() - began < 10


def test_a_directory_that_is_made_anew_is_watched(tmp_path):
    (tmp_path / "conf").mkdir()
    with prepared(tmp_path, http={}) as fleet:
        entries = entries_of(fleet)
        fleet.config = fleet.config.rename(tmp_path / "conf" / "config.yaml")
        fleet.up()
        os.rename(tmp_path / "conf", tmp_path / "old")
        (tmp_path / "conf").mkdir()
        entries[1]["config"]["default_timeout"] = 4321
        save_by_rename(fleet, entries)
        wait_for(lambda: reloads(fleet) == 1 and "~1 changed" in fleet.output(), "noticed")
        assert fleet.stop() == 0


# Several at once


LATER = "reload: one is under way, the file is read again after it"


def core_worker(fleet, name: str = "mine") -> Wire:
    """The test plays the program of a `core_worker` entry, with the secret of its process."""
    path = fleet.directory / f"{name}.secret"
    secret = wait_for(lambda: path.exists() and path.read_text(), "the program has its secret")
    path.unlink()
    wire = Wire(fleet.port, additional_headers={"x-iii-builtin-token": secret}).hello()
    wire.configuration = wire.call("core::builtin::hello", {"name": name})["config"]
    wire.register(f"builtin::{name}::configure")
    assert wire.call("core::builtin::ready", {"name": name}) == {}
    return wire


def mine(value: int) -> dict:
    return {"core_worker": True, "config": {"value": value}}


def offer(wire) -> tuple[dict, int]:
    call = wire.expect("invokefunction", function_id="builtin::mine::configure")
    return call, call["data"]["config"]["value"]


def in_background(*args):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    return pool.submit(*args)


def test_overlapping_reloads_know_what_is_in_force(tmp_path):
    entry = secretive(tmp_path)
    with prepared(tmp_path, workers=[entry | mine(1)]) as fleet:
        fleet.spawn()
        wire = core_worker(fleet)
        assert wire.configuration == {"value": 1}
        fleet.wait_ready()
        pid, first = fleet.pid_of("mine"), entries_of(fleet)[:1]

        def reload(value: int):
            save(fleet, first + [entry | mine(value)])
            return in_background(lambda: fleet.cli("reload", check=False))

        one = reload(2)
        call, value = offer(wire)
        assert value == 2
        # A second one comes before the first is answered, of a file that is refused, and a third.
        two = reload(3)
        wait_for(lambda: LATER in fleet.output(), "it waits")
        wire.quiet()
        wire.answer(call, {"applied": True})
        assert one.result(20).returncode == 0
        call, value = offer(wire)
        assert value == 3
        wire.answer(call, {"applied": False, "invalid": True, "reason": "three is too many"})
        done = two.result(20)
        assert done.returncode == 1 and "three is too many" in done.stderr
        # What is in force is 2, not 1: going back to 2 is no change, and 3 is offered again.
        assert reload(2).result(20).returncode == 0
        wire.quiet()
        three = reload(3)
        call, value = offer(wire)
        wire.answer(call, {"applied": True})
        assert value == 3 and three.result(20).returncode == 0
        # A process that ends during the change gets the new one.
        four = reload(4)
        call, value = offer(wire)
        wire.close()
        os.kill(pid, 9)
        assert four.result(20).returncode == 0
        again = core_worker(fleet)
        assert again.configuration == {"value": 4}
        again.close()


def test_a_broken_file_during_a_reload_fails_only_the_one_that_read_it(tmp_path):
    entry = secretive(tmp_path)
    with prepared(tmp_path, workers=[entry | mine(1)]) as fleet:
        fleet.spawn()
        wire = core_worker(fleet)
        fleet.wait_ready()
        good = entries_of(fleet)
        save(fleet, good[:1] + [entry | mine(2)])
        one = in_background(lambda: fleet.cli("reload", check=False))
        call, _ = offer(wire)
        save(fleet, "workers: [")
        two = in_background(lambda: run_core("reload", "--port", fleet.port, cwd=tmp_path))
        wait_for(lambda: LATER in fleet.output(), "it waits")
        wire.answer(call, {"applied": True})
        assert one.result(20).returncode == 0
        done = two.result(20)
        assert done.returncode == 1 and "Failed to parse" in done.stderr
        wire.close()


# Processes that others run


@contextlib.contextmanager
def unit(fleet, name: str = "iii-http"):
    """`iii-http` as a systemd unit runs it: started again whenever it ends with an error."""
    environment = {**fleet.env, "III_BUILTIN_TOKEN_FILE": str(fleet.directory / "secret")}
    stopping = threading.Event()
    starts = []

    def run():
        while not stopping.is_set():
            with open(fleet.directory / f"{name}.log", "ab") as log:
                process = subprocess.Popen(
                    [BIN / "iii-http", "--engine", fleet.url, "--name", name], cwd=fleet.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            starts.append(process)
            process.wait()
            stopping.wait(0.1)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield starts
    finally:
        stopping.set()
        for process in starts:
            process.kill()
        thread.join(20)
        print((fleet.directory / f"{name}.log").read_text())


@pytest.fixture
def bare(tmp_path):
    """A core whose `iii-http` is a unit of its own."""
    (tmp_path / "secret").write_text("s" * 64)
    environment = {"III_BUILTIN_TOKEN_FILE": str(tmp_path / "secret")}
    with running(tmp_path, http={}, workers=[SLEEPER], args=["--except", "iii-http"], env=environment) as fleet:
        yield fleet


def health(fleet) -> int:
    return http_status(f"{fleet.http_url}/up/healthz")


def test_a_unit_of_its_own_takes_over_changed_configuration(bare):
    with unit(bare) as starts:
        wait_for(lambda: can_connect(bare.http_port), "it serves")
        entries = entries_of(bare)
        for prefix, status in (("/up", 200), (None, 404), ("/up", 200)):
            entries[1]["config"] = {"host": "127.0.0.1", "port": bare.http_port} | ({"health_path_prefix": prefix} if prefix else {})
            save(bare, entries)
            wait_for(lambda: health(bare) == status, f"health answers {status}")
        assert len(starts) == 1 and starts[0].poll() is None
        wait_for(lambda: bare.output().count("iii-http: configuration applied without a restart") == 3, "said")
        assert bare.rows()["iii-http"]["state"] == "disabled"


def test_a_unit_that_needs_a_new_process_gets_one(bare):
    with unit(bare) as starts:
        wait_for(lambda: can_connect(bare.http_port), "it serves")
        entries, new = entries_of(bare), free_port()
        entries[1]["config"]["port"] = new
        save(bare, entries)
        assert bare.cli("reload").returncode == 0
        wait_for(lambda: can_connect(new), "it serves there", timeout=20)
        assert len(starts) == 2
        assert "started with the changed configuration by who runs it" in bare.output()


def test_an_unusable_configuration_leaves_a_unit_and_its_successors_alone(tmp_path):
    (tmp_path / "secret").write_text("s" * 64)
    entry = {"name": "mine", "exec": ["/bin/true"], "core_worker": True}
    environment = {"III_BUILTIN_TOKEN_FILE": str(tmp_path / "secret")}
    with running(tmp_path, workers=[SLEEPER, entry | {"config": {"value": 1}}], args=["--except", "mine"], env=environment) as fleet:
        wires = []
        for _ in range(2):
            wire = builtin(fleet, "mine")
            assert wire.call("core::builtin::hello", {"name": "mine"})["config"] == {"value": 1}
            wire.register("builtin::mine::configure")
            wire.sync()
            wires.append(wire)
        save(fleet, entries_of(fleet)[:2] + [entry | {"config": {"value": 2}}])
        done = in_background(lambda: fleet.cli("reload", check=False))
        for wire, answer in zip(wires, ({"applied": True}, {"applied": False, "invalid": True, "reason": "two is too many"})):
            wire.answer(wire.expect("invokefunction", function_id="builtin::mine::configure"), answer)
        result = done.result(20)
        assert result.returncode == 1 and "mine: two is too many" in result.stderr
        assert wires[0].call("core::builtin::hello", {"name": "mine"})["config"] == {"value": 1}
        for wire in wires:
            wire.close()


def test_an_engine_that_comes_back_with_another_configuration_tells_its_units(bare):
    with unit(bare) as starts:
        wait_for(lambda: can_connect(bare.http_port), "it serves")
        assert health(bare) == 404
        bare.process.kill()
        bare.process.wait()
        entries = entries_of(bare)
        entries[1]["config"]["health_path_prefix"] = "/up"
        save(bare, entries)
        bare.up()
        wait_for(lambda: health(bare) == 200, "the new configuration is in force", timeout=30)
        assert len(starts) == 1 and starts[0].poll() is None


# A new address of the engine


def test_a_new_worker_port_reaches_user_processes(tmp_path):
    sleeper = {"name": "iii-exec", "config": {"exec": ["echo build >> builds", "exec sleep 1000"]}}
    program = secretive(tmp_path)
    with running(tmp_path, http={}, workers=[sleeper, program]) as fleet:
        before, entries, old = pids(fleet), entries_of(fleet), fleet.port
        fleet.port = free_port()
        entries[0]["config"]["port"] = fleet.port
        save(fleet, entries)
        assert run_core("reload", "--port", old, cwd=tmp_path).returncode == 0
        row = wait_for(lambda: (r := fleet.rows()["iii-exec"])["ready"] and r["pid"] != before["iii-exec"] and r, "started anew")
        environment = environment_of(row["pid"])
        assert environment["III_URL"] == environment["III_ENGINE_URL"] == fleet.url
        # Whoever is told of a listener of its own, which has not moved, stays.
        assert fleet.pid_of("iii-http") == before["iii-http"] and fleet.pid_of("mine") == before["mine"]
        # The host that people connect to is another one, the way of processes on this machine is not.
        entries[0]["config"]["host"] = "0.0.0.0"
        save(fleet, entries)
        assert fleet.cli("reload").returncode == 0
        assert fleet.pid_of("iii-exec") == row["pid"]
