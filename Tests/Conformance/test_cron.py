"""The trigger type `cron` and the functions `cron::*`, with real processes (docs/reference/cron.md)."""

import datetime
import os
import pathlib
import random
import re
import signal
import subprocess

import pytest
import yaml
from processes import entries_of, run_core, save, serving, settle
from wire import BIN, BUILTIN_SECRET, ROOT, Fleet, builtin, fleet, wait_for


def cron(**config) -> dict:
    return {"name": "iii-cron", "config": config}


@pytest.fixture(scope="module")
def core():
    with fleet(workers=[cron()]) as it:
        yield it


@pytest.fixture
def wire(core):
    it = core.connect()
    yield it
    it.close()


def instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(re.sub(r"\.(\d{6})\d+", r".\1", text))


def fire(wire, function_id: str, timeout: float = 15, result=None, **fields) -> dict:
    """The payload of the next call of this function, which is answered."""
    call = wire.expect("invokefunction", timeout=timeout, function_id=function_id)
    wire.answer(call, result, **fields)
    return call["data"]


def history(wire, **query) -> list[dict]:
    return wire.call("cron::history", query)["runs"]


# The payload and the life of a trigger.


def test_fires_on_the_second_with_the_payload_of_the_reference(wire):
    wire.register("cron::t_payload")
    trigger = wire.register_trigger("cron", "cron::t_payload", config={"expression": "* * * * * *"})
    first, second = fire(wire, "cron::t_payload"), fire(wire, "cron::t_payload")
    wire.send({"type": "unregistertrigger", "id": trigger})
    for payload in (first, second):
        assert sorted(payload) == ["actual_time", "job_id", "scheduled_time", "trigger"]
        assert payload["trigger"] == "cron" and payload["job_id"] == trigger
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", payload["scheduled_time"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}(\d{3}(\d{3})?)?)?\+00:00", payload["actual_time"])
        assert instant(payload["actual_time"]) >= instant(payload["scheduled_time"])
    assert instant(second["scheduled_time"]) > instant(first["scheduled_time"])


def test_a_condition_gets_the_payload_and_only_false_skips(wire):
    wire.register("cron::t_condition")
    wire.register("cron::t_target")
    trigger = wire.register_trigger("cron", "cron::t_target", config={"expression": "* * * * * *", "condition_function_id": "cron::t_condition"})
    for _ in range(2):
        assert fire(wire, "cron::t_condition", result=False)["job_id"] == trigger
    asked = fire(wire, "cron::t_condition", result=None)
    assert fire(wire, "cron::t_target") == asked
    fire(wire, "cron::t_condition", error={"code": "x", "message": "x"})
    fire(wire, "cron::t_condition", result=0)
    fire(wire, "cron::t_target")
    wire.send({"type": "unregistertrigger", "id": trigger})
    wire.sync()
    statuses = [run["status"] for run in history(wire, id=trigger)]
    assert {"condition_false", "condition_failed", "ok"} <= set(statuses)


def test_an_unregistered_trigger_fires_no_more(wire):
    wire.register("cron::t_gone")
    trigger = wire.register_trigger("cron", "cron::t_gone", config={"expression": "* * * * * *"})
    fire(wire, "cron::t_gone")
    wire.send({"type": "unregistertrigger", "id": trigger})
    wire.sync()
    assert wire.error_of("cron::get", {"id": trigger})["code"] == "NOT_FOUND"
    settle(1.5)
    wire.quiet()


def test_a_changed_trigger_takes_the_place_of_the_old_one(wire):
    wire.register("cron::t_changed")
    trigger = wire.register_trigger("cron", "cron::t_changed", config={"expression": "0 0 0 1 1 *"})
    wire.sync()
    assert wire.call("cron::get", {"id": trigger})["expression"] == "0 0 0 1 1 *"
    wire.register_trigger("cron", "cron::t_changed", trigger_id=trigger, config={"expression": "* * * * * *"})
    fire(wire, "cron::t_changed")
    wire.send({"type": "unregistertrigger", "id": trigger})


@pytest.mark.parametrize(
    "config, words",
    [
        ({}, "Cron expression is required"),
        ({"expression": "*/5 * * * * * * *"}, "Invalid cron expression"),
        ({"expression": "0 0 0 * * thur"}, "Did you mean 'thu'?"),
        ({"expression": "* * * * * 0"}, "Sunday is 1 here"),
        ({"expression": "0 0 0 31 2 *"}, "never fires"),
        ({"expression": "@daily", "timezone": "Mars/Phobos"}, "Mars/Phobos"),
        ({"expression": "@daily", "concurrency_policy": "Forbid"}, "concurrency_policy"),
    ],
    ids=["missing", "fields", "name", "sunday", "never", "zone", "policy"],
)
def test_a_refused_registration_is_told_to_its_registrant(wire, config, words):
    wire.register("cron::t_refused")
    trigger = wire.register_trigger("cron", "cron::t_refused", config=config)
    error = wire.expect("triggerregistrationresult", id=trigger)["error"]
    assert error["code"] == "trigger_registration_failed" and words in error["message"]


def test_private_functions_are_no_targets(wire):
    trigger = wire.register_trigger("cron", "core::fleet::list", config={"expression": "* * * * * *"})
    assert wire.expect("triggerregistrationresult", id=trigger)["error"]["code"] == "trigger_registration_failed"


def test_numeric_weekdays_and_unknown_keys_are_warned_about_once(core, wire):
    wire.register("cron::t_warned")
    for _ in range(3):
        wire.register_trigger("cron", "cron::t_warned", config={"expression": "0 0 9 * * 1-5", "time_zone": "UTC"})
    wire.sync()
    wait_for(lambda: "cron_weekday_numeric" in core.output(), "the warning")
    lines = [line for line in core.output().splitlines() if "cron_weekday_numeric" in line]
    assert len(lines) == 1 and "1 is Sunday, 5 is Thursday" in lines[0]
    assert "did you mean 'timezone'?" in core.output()


def test_metadata_and_namespace_go_with_the_call(wire):
    wire.register("cron::t_metadata")
    trigger = wire.register_trigger("cron", "cron::t_metadata", config={"expression": "* * * * * *"}, metadata={"team": "ops"})
    call = wire.expect("invokefunction", function_id="cron::t_metadata")
    wire.answer(call)
    wire.send({"type": "unregistertrigger", "id": trigger})
    assert call["metadata"] == {"team": "ops"} and "_caller_worker_id" not in call["data"]


# Policies, as they show on the wire.


def test_forbid_skips_and_the_schedule_goes_on_after_a_timeout(wire):
    wire.register("cron::t_slow")
    trigger = wire.register_trigger("cron", "cron::t_slow", config={"expression": "* * * * * *", "timeout_ms": 2500})
    first = wire.expect("invokefunction", function_id="cron::t_slow")["data"]
    second = wire.expect("invokefunction", function_id="cron::t_slow")["data"]
    wire.send({"type": "unregistertrigger", "id": trigger})
    assert instant(second["scheduled_time"]) - instant(first["scheduled_time"]) >= datetime.timedelta(seconds=2)
    runs = wait_for(lambda: [run for run in history(wire, id=trigger, status="timed_out")], "the timeout is recorded")
    assert runs[0]["error"] == "TIMEOUT"
    assert history(wire, id=trigger, status="skipped")[0]["reason"] == "overlap"


def test_a_worker_that_dies_in_its_handler_blocks_nothing(core, wire):
    other = core.connect()
    other.register("cron::t_dies")
    other.register_trigger("cron", "cron::t_dies", config={"expression": "* * * * * *", "key": "t_dies"})
    other.expect("invokefunction", function_id="cron::t_dies")
    other.close()
    again = core.connect()
    again.register("cron::t_dies")
    again.register_trigger("cron", "cron::t_dies", config={"expression": "* * * * * *", "key": "t_dies"})
    fire(again, "cron::t_dies")
    assert history(wire, key="t_dies", status="error")[0]["error"] == "invocation_stopped"
    again.close()


def test_replicas_with_a_key_fire_once(core, wire):
    replicas = [core.connect() for _ in range(3)]
    ticks = []

    def answered() -> int:
        for replica in replicas:
            for message in replica.sync():
                if message["type"] == "invokefunction":
                    replica.answer(message)
                    ticks.append(message["data"]["scheduled_time"])
        return len(ticks)

    for replica in replicas:
        replica.register("cron::t_replica", metadata={"invocation_policy": "round_robin"})
        replica.register_trigger("cron", "cron::t_replica", config={"expression": "* * * * * *", "key": "t_replica"})
        replica.sync()
    wait_for(lambda: answered() >= 4, "four ticks", timeout=30)
    for replica in replicas:
        replica.close()
    assert len(set(ticks)) == len(ticks)


# Functions.


def test_next_answers_with_offsets_and_bounds(wire):
    answer = wire.call("cron::next", {"expression": "0 30 2 * * Sun", "timezone": "Europe/Amsterdam", "after": "2023-03-20T00:00:00Z", "count": 2})
    assert answer == {"timezone": "Europe/Amsterdam", "next": ["2023-03-26T03:00:00+02:00", "2023-04-02T02:30:00+02:00"]}
    answer = wire.call("cron::next", {"expression": "* * * * * *", "after": 1_767_225_600_000, "count": 1})
    assert answer["next"] == ["2026-01-01T00:00:01+00:00"]
    assert wire.call("cron::next", {"expression": "0 0 0 31 2 *"})["next"] == []
    assert len(wire.call("cron::next", {"expression": "@hourly", "count": 1000})["next"]) == 1000
    for bad in [{"expression": "x"}, {"expression": "@daily", "count": 1001}, {"expression": "@daily", "after": "x"}, {"expression": "@daily", "zone": "UTC"}, {}]:
        assert wire.error_of("cron::next", bad)["code"] == "INVALID_ARGUMENTS"
    assert wire.error_of("cron::next", {"id": "nobody"})["code"] == "NOT_FOUND"


def test_validate_explains(wire):
    answer = wire.call("cron::validate", {"expression": "0 0 8 1-7 * Mon"})
    assert answer["valid"] and answer["form"] == "six_fields" and len(answer["next"]) == 5
    assert any("both match" in warning for warning in answer["warnings"])
    answer = wire.call("cron::validate", {"expression": "0 0 0 * * thur"})
    assert not answer["valid"] and answer["position"] == 10 and answer["suggestion"] == "Did you mean 'thu'?"
    for config in [{"expression": "0 0 0 31 2 *"}, {"expression": "@daily", "timezone": "x"}, {"expression": "@daily", "catch_up": "some"}, {}]:
        assert not wire.call("cron::validate", config)["valid"], config


def test_list_pages_and_get_tells_everything(wire):
    wire.register("cron::t_listed")
    ids = sorted(wire.register_trigger("cron", "cron::t_listed", config={"expression": "@yearly"}) for _ in range(5))
    wire.sync()
    seen, cursor = [], None
    while True:
        page = wire.call("cron::list", {"function_id": "cron::t_listed", "limit": 2, **({"after": cursor} if cursor else {})})
        assert page["total"] == 5
        seen += [job["id"] for job in page["jobs"]]
        cursor = page.get("next_cursor")
        if not cursor:
            break
    assert seen == ids
    job = wire.call("cron::get", {"id": ids[2]})
    assert job["ordinal"] == 2 and job["concurrency_policy"] == "forbid" and len(job["next_fires"]) == 5 and job["paused"] is False


def test_pause_run_and_resume(wire):
    wire.register("cron::t_paused")
    trigger = wire.register_trigger("cron", "cron::t_paused", config={"expression": "* * * * * *", "key": "t_paused"})
    fire(wire, "cron::t_paused")
    assert wire.call("cron::pause", {"id": trigger}) == {"id": trigger, "paused": True}
    assert wire.call("cron::get", {"key": "t_paused"})["paused"] is True
    wire.sync()
    settle(1.5)
    wire.quiet()
    invocation = wire.invoke("cron::run", {"id": trigger, "wait": True})
    payload = fire(wire, "cron::t_paused")
    assert payload["manual"] is True and payload["job_id"] == trigger
    answer = wire.result_of(invocation)["result"]
    assert answer["status"] == "ok" and answer["duration_ms"] >= 0
    wire.call("cron::resume", {"key": "t_paused"})
    assert "manual" not in fire(wire, "cron::t_paused")
    wire.send({"type": "unregistertrigger", "id": trigger})
    assert "manual" in [run["kind"] for run in history(wire, id=trigger)]


def test_a_second_manual_run_is_refused_while_one_runs(wire):
    wire.register("cron::t_manual")
    trigger = wire.register_trigger("cron", "cron::t_manual", config={"expression": "@yearly"})
    assert wire.call("cron::run", {"id": trigger}) == {"id": trigger, "status": "running"}
    call = wire.expect("invokefunction", function_id="cron::t_manual")
    assert wire.error_of("cron::run", {"id": trigger})["code"] == "job_running"
    wire.answer(call)


ODD = {
    "list": [[], "x", 5, {"limit": 0}, {"limit": 1e9}, {"limit": 1.5}, {"limit": "5"}, {"after": 5}, {"function_id": []}, {"id": "x"}],
    "get": [[], {}, {"id": 5}, {"id": None}, {"key": {}}, {"id": "x", "more": 1}],
    "next": [[], {}, {"expression": 5}, {"expression": ""}, {"expression": "@daily", "id": "x"}, {"expression": "@daily", "timezone": 5}, {"expression": "@daily", "timezone": "x"}]
    + [{"expression": "@daily", "count": count} for count in (0, -1, 1001, "5", 2**70)]
    + [{"expression": "@daily", "after": after} for after in (True, -1, 2**63 - 1, 1e300, "tomorrow", "2026-13-01T00:00:00Z", {})],
    "validate": [[], "x", {"expression": 5}],
    "run": [[], {}, {"id": 5}, {"id": "x", "wait": 1}, {"key": []}],
    "pause": [[], {}, {"id": 5}, {"key": 5}, {"id": "x", "wait": True}],
    "resume": [[], {}, {"id": 5}, {"id": "x", "paused": True}],
    "history": [[], 5, {"limit": 0}, {"limit": 1001}, {"status": "done"}, {"status": 5}, {"id": 5}, {"key": []}, {"since": 5}],
}


@pytest.mark.parametrize("function", ODD)
def test_odd_input_is_refused_by_name(wire, function):
    for value in ODD[function]:
        error = wire.error_of(f"cron::{function}", value)
        assert error["code"] == "INVALID_ARGUMENTS" and len(error["message"]) > 10, (value, error)
    for member in ("id", "key") if function in ("get", "next", "run", "pause", "resume") else ():
        assert wire.error_of(f"cron::{function}", {member: "nobody"})["code"] == "NOT_FOUND"


def test_far_times_and_bounds_are_answered(wire):
    assert wire.call("cron::next", {"expression": "@daily", "after": "2100-12-31T12:00:00Z"})["next"] == []
    assert wire.call("cron::next", {"expression": "@every 365d", "after": "9999-12-31T00:00:00Z"})["next"] == []
    assert wire.call("cron::next", {"expression": "* * * * * *", "after": 0, "count": 1})["next"] == ["1970-01-01T00:00:01+00:00"]
    assert wire.call("cron::next", {"expression": "0 0 12 * * *", "after": "1970-01-01T00:00:00Z", "count": 1, "timezone": "Pacific/Kiritimati"})["next"]
    assert wire.call("cron::history", {"id": "nobody"}) == {"runs": []}
    assert wire.call("cron::list", {"after": "\U0010ffff"})["jobs"] == []


# Hostile registrations.


@pytest.mark.parametrize(
    "expression",
    ["*," * 500_000 + "* * * * * *", " " * 1_000_000 + "* * * * * *", "1-" * 1000 + "2 * * * * *", "(" * 2000, "\u202e* * * * * *", "* * * * * *\u0301", "\x00", "*\n*\n*", "٣ * * * * *", "9" * 2000 + " * * * * *"],
    ids=["list", "blanks", "range", "nesting", "direction", "mark", "nul", "lines", "digits", "number"],
)
def test_a_hostile_expression_is_refused_in_bounds_and_harms_nobody(wire, expression):
    wire.register("cron::t_hostile")
    trigger = wire.register_trigger("cron", "cron::t_hostile", config={"expression": expression})
    error = wire.expect("triggerregistrationresult", id=trigger)["error"]
    assert error["code"] == "trigger_registration_failed" and error["message"].startswith("Invalid cron expression '") and len(error["message"]) < 10_000
    assert not wire.call("cron::validate", {"expression": expression})["valid"]
    assert wire.error_of("cron::get", {"id": trigger})["code"] == "NOT_FOUND"


@pytest.mark.parametrize("value", [None, 5, True, [], {}, ["* * * * * *"], {"a": {"b": {}}}, ""], ids=repr)
def test_what_is_no_text_is_no_expression(wire, value):
    wire.register("cron::t_hostile")
    trigger = wire.register_trigger("cron", "cron::t_hostile", config={"expression": value})
    assert wire.expect("triggerregistrationresult", id=trigger)["error"]["message"] == "Cron expression is required"


def test_ten_thousand_triggers_of_one_worker_come_and_go_and_hold_up_nobody(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire, many = it.connect(), it.connect()
        wire.register("jobs::one")
        wire.register_trigger("cron", "jobs::one", config={"expression": "* * * * * *", "key": "one"})
        first = fire(wire, "jobs::one")
        many.register("jobs::many")
        # All of them equal but for their ids: one after the other in rank.
        for number in range(9_999):
            many.register_trigger("cron", "jobs::many", trigger_id=f"m{number * 7919 % 10_007}", config={"expression": "0 0 0 1 1 *"})
        wait_for(lambda: many.call("cron::list", {"limit": 1})["total"] == 10_000, "all are in force", timeout=60)
        assert many.call("cron::get", {"id": "m7919"})["ordinal"] > 0
        many.close()
        wait_for(lambda: wire.call("cron::list", {"limit": 1})["total"] == 1, "they are gone", timeout=60)
        second = fire(wire, "jobs::one")
        assert instant(second["scheduled_time"]) > instant(first["scheduled_time"])
        wire.close()


# Restarts.


def kill(it: Fleet, name: str = "iii-cron"):
    before = it.pid_of(name)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: it.rows()[name]["state"] == "ready" and it.pid_of(name) != before, f"another {name}")


def test_kill_in_the_handler_loses_one_run_and_no_registration(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        wire.register("jobs::stuck")
        trigger = wire.register_trigger("cron", "jobs::stuck", config={"expression": "* * * * * *"})
        stuck = wire.expect("invokefunction", function_id="jobs::stuck")["data"]
        kill(it)
        later = fire(wire, "jobs::stuck")
        assert instant(later["scheduled_time"]) > instant(stuck["scheduled_time"])
        lost = history(wire, id=trigger, status="lost")
        assert [run["scheduled_time"] for run in lost] == [stuck["scheduled_time"]]
        wire.close()


def test_a_lost_claim_is_retried_where_the_trigger_says_so(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        wire.register("jobs::retried")
        wire.register_trigger("cron", "jobs::retried", config={"expression": "0/20 * * * * *", "on_lost_claim": "retry", "concurrency_policy": "allow"})
        first = wire.expect("invokefunction", timeout=30, function_id="jobs::retried")["data"]
        kill(it)
        second = fire(wire, "jobs::retried")
        assert second["scheduled_time"] == first["scheduled_time"] and second["attempt"] == 2
        wire.close()


def test_catch_up_over_a_restart_of_iii_cron(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        for policy in ("none", "last", "all"):
            wire.register(f"jobs::{policy}")
            wire.register_trigger("cron", f"jobs::{policy}", config={"expression": "* * * * * *", "catch_up": policy, "key": policy})
        last = {policy: fire(wire, f"jobs::{policy}")["scheduled_time"] for policy in ("none", "last", "all")}
        it.cli("stop", "iii-cron")
        wire.sync()
        settle(3)
        it.cli("start", "iii-cron")
        caught = {"none": [], "last": [], "all": []}
        while any(not runs or runs[-1].get("missed") for runs in caught.values()):
            call = wire.expect("invokefunction")
            wire.answer(call)
            caught[call["function_id"].removeprefix("jobs::")].append(call["data"])
        assert [run for run in caught["none"] if run.get("missed")] == []
        assert len([run for run in caught["last"] if run.get("missed")]) == 1
        times = [run["scheduled_time"] for run in caught["all"] if run.get("missed")]
        assert len(times) >= 3 and times == sorted(times) and times[0] > last["all"]
        wire.close()


def test_kills_at_any_moment_fire_no_tick_twice_and_max_runs_holds(tmp_path):
    rng = random.Random(3)
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        ticks: dict[str, list] = {"jobs::always": [], "jobs::five": []}

        def handler(function):
            def handle(data):
                ticks[function].append(data["scheduled_time"])
                settle(rng.uniform(0, 0.4))

            return handle

        with serving(it.port, {function: handler(function) for function in ticks}) as service:
            service.wire.register_trigger("cron", "jobs::always", config={"expression": "* * * * * *", "catch_up": "last"})
            service.wire.register_trigger("cron", "jobs::five", config={"expression": "* * * * * *", "key": "five", "max_runs": 5})
            wait_for(lambda: ticks["jobs::always"], "the first tick")
            for _ in range(6):
                settle(rng.uniform(0, 1.2))
                kill(it)
            count = len(ticks["jobs::always"])
            wait_for(lambda: len(ticks["jobs::always"]) >= count + 6, "ticks go on", timeout=60)
            for function, times in ticks.items():
                assert len(set(times)) == len(times), function
            # What was claimed and lost counts as a run.
            assert len(ticks["jobs::five"]) <= 5


def test_what_was_paused_is_not_caught_up_with(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        for policy in ("last", "all"):
            wire.register(f"jobs::{policy}")
            wire.register_trigger("cron", f"jobs::{policy}", config={"expression": "* * * * * *", "catch_up": policy, "key": policy})
        for policy in ("last", "all"):
            fire(wire, f"jobs::{policy}")
            wire.call("cron::pause", {"key": policy})
        it.cli("stop", "iii-cron")
        settle(2.5)
        it.cli("start", "iii-cron")
        for policy in ("last", "all"):
            assert wait_for(lambda: wire.call("cron::get", {"key": policy}), "the trigger is back")["paused"] is True
        wire.sync()
        settle(1.5)
        wire.quiet()
        for policy in ("last", "all"):
            wire.call("cron::resume", {"key": policy})
            assert "missed" not in fire(wire, f"jobs::{policy}")
        wire.close()


def test_a_pause_outlives_restarts(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        wire.register("jobs::paused")
        trigger = wire.register_trigger("cron", "jobs::paused", config={"expression": "* * * * * *"})
        fire(wire, "jobs::paused")
        wire.call("cron::pause", {"id": trigger})
        kill(it)
        assert wait_for(lambda: wire.call("cron::get", {"id": trigger}), "the trigger is back")["paused"] is True
        wire.sync()
        settle(1.5)
        wire.quiet()
        wire.close()


def test_a_stop_waits_for_the_run_and_stores_its_end(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        wire.register("jobs::slow")
        trigger = wire.register_trigger("cron", "jobs::slow", config={"expression": "* * * * * *"})
        call = wire.expect("invokefunction", function_id="jobs::slow")
        stopping = subprocess.Popen([BIN / "iii-core", "restart", "iii-cron", "-c", str(it.config)], cwd=it.directory, env=it.env)
        settle(0.5)
        wire.answer(call)
        assert stopping.wait(30) == 0
        wire.send({"type": "unregistertrigger", "id": trigger})
        runs = wait_for(lambda: history(wire, id=trigger), "the history")
        assert runs[-1]["status"] == "ok" and not [run for run in runs if run["status"] == "lost"]
        wire.close()


def test_the_engine_restarts_and_schedules_go_on():
    with fleet(workers=[cron()]) as it:
        with serving(it.port, {"jobs::one": lambda data: None}) as service:
            service.wire.register_trigger("cron", "jobs::one", config={"expression": "* * * * * *"})
            wait_for(lambda: service.calls, "a fire")
        it.kill()
        it.spawn()
        it.wait_ready()
        with serving(it.port, {"jobs::one": lambda data: None}) as service:
            service.wire.register_trigger("cron", "jobs::one", config={"expression": "* * * * * *"})
            wait_for(lambda: service.calls, "a fire of the next engine")


# Configuration and operation.


def test_changed_settings_apply_without_a_restart_and_another_store_restarts(tmp_path):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        before = it.pid_of("iii-cron")
        entries = entries_of(it)
        entries[1]["config"]["timeout_ms"] = 1234
        save(it, entries)
        wait_for(lambda: "iii-cron: configuration applied without a restart" in it.output(), "the change")
        wire = it.connect()
        wire.register("jobs::one")
        trigger = wire.register_trigger("cron", "jobs::one", config={"expression": "@yearly"})
        wire.sync()
        assert wire.call("cron::get", {"id": trigger})["timeout_ms"] == 1234 and it.pid_of("iii-cron") == before
        entries[1]["config"]["file_path"] = str(tmp_path / "other")
        save(it, entries)
        wait_for(lambda: it.rows()["iii-cron"]["state"] == "ready" and it.pid_of("iii-cron") != before, "another process")
        assert wait_for(lambda: wire.call("cron::list", {})["total"], "the trigger is there again") == 1
        wire.close()


@pytest.mark.parametrize(
    "key, value, is_live",
    [
        ("timeout_ms", 0, True),
        ("history_max_runs", 1, True),
        ("history_max_age_s", 60, True),
        ("durability", "normal", False),
        ("store_method", "in_memory", False),
        ("adapter", {"name": "kv", "config": {"store_method": "in_memory"}}, False),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_key_changes_as_its_page_says_and_a_bad_value_changes_nothing(tmp_path, key, value, is_live):
    with fleet(workers=[cron(file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        wire.register("jobs::one")
        wire.register_trigger("cron", "jobs::one", config={"expression": "* * * * * *", "key": "one"})
        fire(wire, "jobs::one")
        before, entries = it.pid_of("iii-cron"), entries_of(it)
        entries[1]["config"][key] = -1
        save(it, entries)
        wait_for(lambda: "reload: refused" in it.output(), "the refusal")
        entries[1]["config"][key] = value
        save(it, entries)
        if is_live:
            wait_for(lambda: "iii-cron: configuration applied without a restart" in it.output(), "the change")
            assert it.pid_of("iii-cron") == before
        else:
            wait_for(lambda: it.rows()["iii-cron"]["state"] == "ready" and it.pid_of("iii-cron") != before, "another process")
        fire(wire, "jobs::one")
        wire.close()


@pytest.mark.parametrize(
    "config, words",
    [
        ("timeout_ms: -1", "timeout_ms"),
        ("adapter: {name: rediss}", "did you mean `redis`?"),
        ("adapter: {name: redis, config: {redis_url: 'http://x'}}", "redis_url"),
        ("durability: fully", "durability"),
        ("history: 5", "history"),
    ],
    ids=["timeout", "adapter", "url", "durability", "unknown"],
)
def test_bad_settings_are_refused_by_name(tmp_path, config, words):
    (tmp_path / "config.yaml").write_text(f"workers:\n  - name: iii-cron\n    config: {{{config}}}\n")
    done = run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1 and words in done.stderr, done.stderr


def test_status_tells_what_is_next(core, wire):
    wire.register("cron::t_status")
    wire.register_trigger("cron", "cron::t_status", config={"expression": "0 0 0 1 1 *"})
    wire.sync()
    wait_for(lambda: re.search(r"\d+ triggers?, \d+ running, next in ", core.cli("status", "iii-cron").stdout), "the status line")


def test_the_directory_of_the_store_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    it = Fleet(tmp_path, workers=[cron(file_path=str(tmp_path / "file" / "cron"))])
    it.spawn()
    try:
        wait_for(lambda: "cannot start" in it.output() and str(tmp_path / "file") in it.output(), "the reason")
    finally:
        it.stop()


# Extending (docs/extending.md).


def test_the_page_shows_the_examples_as_they_are():
    blocks = re.findall(r"```swift\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)
    for path in ("examples/locks/TableClaims.swift", "examples/scheduler/Scheduler.swift"):
        assert (ROOT / path).read_text() in blocks, path


def probe(**config) -> dict:
    """`iii-cron` as a third party builds it, with the lock store of the example."""
    return {"name": "schedules", "exec": str(BIN / "cron-probe"), "core_worker": True, "config": config}


def test_a_lock_store_of_somebody_elses_is_chosen_by_name(tmp_path):
    with fleet(workers=[probe(adapter={"name": "table"}, file_path=str(tmp_path / "cron"))]) as it:
        wire = it.connect()
        wire.register("jobs::one")
        wire.register_trigger("cron", "jobs::one", config={"expression": "* * * * * *", "key": "one"})
        tokens = [fire(wire, "jobs::one")["fencing_token"] for _ in range(2)]
        assert tokens[0] < tokens[1] <= 3
        wire.close()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"workers": [{"name": "iii-worker-manager"}, probe(adapter={"name": "tabel"})]}))
    done = run_core("config", "check", "-c", "config.yaml", cwd=tmp_path)
    assert done.returncode == 1 and "did you mean `table`?" in done.stderr, done.stderr


def test_another_scheduler_takes_the_type_over_and_gives_it_back(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(BUILTIN_SECRET)
    secret.chmod(0o600)
    with fleet(workers=[cron()], env={"III_BUILTIN_TOKEN_FILE": str(secret)}) as it:
        # A core worker, as a built-in is: nobody else may take a built-in's type.
        wire, scheduler = it.connect(), builtin(it, "scheduler")
        wire.register("jobs::one")
        trigger = wire.register_trigger("cron", "jobs::one", config={"expression": "* * * * * *"})
        fire(wire, "jobs::one")
        scheduler.register_type("cron")
        assert scheduler.expect("registertrigger", id=trigger)["config"] == {"expression": "* * * * * *"}
        wait_for(lambda: wire.call("cron::list", {})["total"] == 0, "the built-in has let go")
        scheduler.close()
        wait_for(lambda: wire.call("cron::list", {})["total"] == 1, "the built-in has it again")
        fire(wire, "jobs::one")
        wire.close()


def test_the_schedulers_example_owns_the_type_alone_and_beside_the_built_in(tmp_path):
    own = {"name": "scheduler", "exec": str(BIN / "interval-scheduler"), "core_worker": True}
    with fleet(workers=[own]) as it:
        wire = it.connect()
        wire.register("jobs::one")
        trigger = wire.register_trigger("cron", "jobs::one", config={"expression": "@every 1s"})
        assert fire(wire, "jobs::one") == {"trigger": "cron", "job_id": trigger}
        refused = wire.register_trigger("cron", "jobs::one", config={"expression": "0 0 0 * * *"})
        assert "'@every 1s'" in wire.expect("triggerregistrationresult", id=refused)["error"]["message"]
        # The built-in comes later, so it has the triggers; when it goes, they are the example's again.
        entries = entries_of(it)
        save(it, [*entries, cron(file_path=str(tmp_path / "cron"))])
        wait_for(lambda: "scheduled_time" in fire(wire, "jobs::one"), "the built-in fires it")
        save(it, entries)
        wait_for(lambda: "scheduled_time" not in fire(wire, "jobs::one"), "the example fires it again")
        wire.close()


# The page.


def examples() -> list[str]:
    page = (ROOT / "docs/reference/cron.md").read_text()
    return re.findall(r"^iii-core trigger (.+)$", page, re.MULTILINE)


def test_every_function_has_an_example():
    named = {line.split()[0] for line in examples()}
    assert named == {f"cron::{verb}" for verb in ("list", "get", "next", "validate", "run", "pause", "resume", "history")}


@pytest.mark.parametrize("line", examples(), ids=lambda line: line.split()[0])
def test_the_examples_of_the_page_work(core, wire, line):
    wire.register("jobs::report")
    wire.register_trigger("cron", "jobs::report", trigger_id="report", config={"expression": "@daily", "key": "report"})
    wire.sync()
    done = subprocess.run(
        ["sh", "-c", f"{BIN / 'iii-core'} trigger {line} --port {core.port}"], cwd=core.directory, env=core.env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


def test_the_example_fleet_has_cron():
    entries = yaml.safe_load((ROOT / "examples/hello/config.yaml").read_text())["workers"]
    assert "iii-cron" in [entry["name"] for entry in entries]
