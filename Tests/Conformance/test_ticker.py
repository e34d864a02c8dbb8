"""The example of a custom core worker, run by `exec:` as a user would (docs/extending.md)."""

import subprocess

import pytest
import yaml
from processes import entries_of, reloads, run_core, save
from wire import ROOT, Fleet, fleet, wait_for

# Built as a user would, as a package of its own; `scripts/test` puts it there.
TICKER = ROOT / ".build/examples/debug/ticker"


def ticker(**config) -> dict:
    return {"name": "ticker", "exec": str(TICKER), "core_worker": True, "config": config}


@pytest.fixture
def running():
    with fleet(workers=[ticker(interval_ms=20)]) as it:
        yield it


def ticks(wire, count: int = 3) -> list[int]:
    """The numbers of the next ticks, answered."""
    numbers = []
    while len(numbers) < count:
        call = wire.expect("invokefunction")
        wire.answer(call)
        numbers.append(call["data"]["tick"])
    return numbers


def test_is_ready_when_it_says_so_and_ticks(running):
    assert running.rows()["ticker"]["state"] == "ready"
    wire = running.connect()
    wire.register("own::on_tick")
    wire.register_trigger("tick", "own::on_tick")
    numbers = ticks(wire)
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    caller = running.connect()
    assert caller.call("ticker::last")["tick"] >= numbers[-1]
    caller.close()
    wire.close()


def test_a_condition_decides_and_a_private_target_is_refused(running):
    wire = running.connect()
    wire.register("own::never")
    wire.register("own::no")
    refused = wire.register_trigger("tick", "core::fleet::list")
    assert wire.expect("triggerregistrationresult", id=refused)["error"]["code"] == "trigger_registration_failed"
    wire.register_trigger("tick", "own::never", config={"condition_function_id": "own::no"})
    for _ in range(5):
        call = wire.expect("invokefunction")
        assert call["function_id"] == "own::no"
        wire.answer(call, result=False)
    wire.close()


def test_bindings_survive_a_restart_of_the_worker(running):
    wire = running.connect()
    wire.register("own::on_tick")
    wire.register_trigger("tick", "own::on_tick")
    ticks(wire)
    before = running.pid_of("ticker")
    running.cli("restart", "ticker")
    wait_for(lambda: running.rows()["ticker"]["state"] == "ready" and running.pid_of("ticker") != before, "another process")
    # A fresh process counts from 1; what the old one had sent may still be on its way.
    wait_for(lambda: ticks(wire, 1)[0] <= 2 or None, "the first ticks of the new process")
    wire.close()


def test_the_file_counter_goes_on_after_a_kill(tmp_path):
    path = tmp_path / "ticks"
    with fleet(workers=[ticker(interval_ms=10, adapter={"name": "file", "config": {"path": str(path)}})]) as it:
        wait_for(lambda: path.exists() and int(path.read_text()) > 3, "ticks in the file")
        reached = int(path.read_text())
        subprocess.run(["kill", "-9", str(it.pid_of("ticker"))], check=True)
        wait_for(lambda: int(path.read_text()) > reached + 3, "more ticks by the next process")


def test_a_changed_interval_is_applied_without_a_restart(running):
    before, count = running.pid_of("ticker"), reloads(running)
    entries = entries_of(running)
    next(entry for entry in entries if entry["name"] == "ticker")["config"]["interval_ms"] = 30
    save(running, entries)
    wait_for(lambda: "ticker: configuration applied without a restart" in running.output(), "the change")
    assert reloads(running) > count and running.pid_of("ticker") == before


def test_a_mistake_in_a_changed_config_harms_nothing(running):
    before = running.pid_of("ticker")
    entries = entries_of(running)
    next(entry for entry in entries if entry["name"] == "ticker")["config"] = {"interval_ms": 20, "adapter": {"name": "memroy"}}
    save(running, entries)
    wait_for(lambda: "memroy" in running.output(), "the refusal")
    assert running.pid_of("ticker") == before and running.rows()["ticker"]["state"] == "ready"
    assert "memory" in running.output()


def check(directory, worker: dict) -> subprocess.CompletedProcess:
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump({"workers": [{"name": "iii-worker-manager"}, worker]}))
    return run_core("config", "check", "-c", str(path), cwd=directory)


def test_config_check_asks_the_program(tmp_path):
    assert check(tmp_path, ticker(interval_ms=500)).returncode == 0
    done = check(tmp_path, ticker(interval_ms=5, adapter={"name": "memroy"}))
    assert done.returncode == 1
    for words in ["config.yaml:", "ticker.config", "interval_ms", "memroy", "memory"]:
        assert words in done.stderr, done.stderr


def test_config_check_names_a_program_that_does_not_know_the_question(tmp_path):
    done = check(tmp_path, {"name": "mine", "exec": "/bin/false", "core_worker": True})
    assert done.returncode == 1 and "mine.config" in done.stderr and "/bin/false" in done.stderr


def test_the_example_configuration_passes_the_check(tmp_path):
    entries = yaml.safe_load((ROOT / "examples/ticker/config.yaml").read_text())["workers"]
    entry = entries[1] | {"exec": str(TICKER)}
    assert check(tmp_path, entry).returncode == 0
