"""What becomes of a job while its condition, its function, its worker and its scheduler come, fail and go: each with the processes as they are."""

import datetime

import pytest
from processes import entries_of, save, serving, settle
from wire import fleet, wait_for

EVERY_SECOND = {"expression": "* * * * * *"}


@pytest.fixture(scope="module")
def core():
    with fleet(workers=[{"name": "iii-cron", "config": {}}]) as it:
        yield it


@pytest.fixture
def wire(core):
    it = core.connect()
    yield it
    it.close()


def statuses(wire, trigger: str) -> list[tuple]:
    return [(run["status"], run.get("error")) for run in wire.call("cron::history", {"id": trigger})["runs"]]


def no_more(wire, trigger: str, *functions: str):
    """Takes the trigger back, and answers what of it is still under way."""
    wire.send({"type": "unregistertrigger", "id": trigger})
    for message in wire.sync():
        if message["type"] == "invokefunction" and message["function_id"] in functions:
            wire.answer(message)


@pytest.mark.parametrize("answer", [True, None, 0, "", "no", "false", {}, [], [False]], ids=repr)
def test_whatever_a_condition_answers_but_false_runs_the_function(wire, answer):
    wire.register("jobs::condition")
    wire.register("jobs::target")
    trigger = wire.register_trigger("cron", "jobs::target", config={**EVERY_SECOND, "condition_function_id": "jobs::condition"})
    asked = wire.expect("invokefunction", function_id="jobs::condition")
    wire.answer(asked, answer)
    called = wire.expect("invokefunction", function_id="jobs::target")
    wire.answer(called)
    assert called["data"] == asked["data"]
    no_more(wire, trigger, "jobs::condition", "jobs::target")


def test_a_condition_that_does_not_exist_keeps_the_function_from_running(wire):
    wire.register("jobs::target")
    trigger = wire.register_trigger("cron", "jobs::target", config={**EVERY_SECOND, "condition_function_id": "jobs::nobody"})
    wire.sync()
    wait_for(lambda: len(statuses(wire, trigger)) >= 2, "two ticks")
    assert {status for status, _ in statuses(wire, trigger)} == {"condition_failed"}
    wire.send({"type": "unregistertrigger", "id": trigger})
    wire.quiet()


def test_a_function_that_fails_is_called_at_the_next_tick(wire):
    wire.register("jobs::fails")
    trigger = wire.register_trigger("cron", "jobs::fails", config=EVERY_SECOND)
    for _ in range(2):
        wire.answer(wire.expect("invokefunction", function_id="jobs::fails"), error={"code": "broken", "message": "as it says"})
    wait_for(lambda: ("error", "broken") in statuses(wire, trigger), "its history")
    no_more(wire, trigger, "jobs::fails")


def test_a_function_that_went_and_came_back_needs_no_new_trigger(wire):
    wire.register("jobs::comes")
    trigger = wire.register_trigger("cron", "jobs::comes", config=EVERY_SECOND)
    wire.answer(wire.expect("invokefunction", function_id="jobs::comes"))
    wire.send({"type": "unregisterfunction", "id": "jobs::comes"})
    wait_for(lambda: "error" in [status for status, _ in statuses(wire, trigger)], "a tick without a function")
    wire.register("jobs::comes")
    wire.answer(wire.expect("invokefunction", function_id="jobs::comes"))
    no_more(wire, trigger, "jobs::comes")


def test_a_second_unregistration_does_no_harm(wire):
    wire.register("jobs::one")
    trigger = wire.register_trigger("cron", "jobs::one", config={"expression": "@yearly"})
    for _ in range(2):
        wire.send({"type": "unregistertrigger", "id": trigger})
        wire.sync()
    assert wire.error_of("cron::get", {"id": trigger})["code"] == "NOT_FOUND"
    wire.register_trigger("cron", "jobs::one", trigger_id=trigger, config={"expression": "@yearly"})
    wire.sync()
    assert wire.call("cron::get", {"id": trigger})["expression"] == "@yearly"
    wire.send({"type": "unregistertrigger", "id": trigger})


def test_a_workers_jobs_go_with_it_and_come_back_under_their_ids(core, wire):
    for _ in range(2):
        worker = core.connect()
        worker.register("jobs::back")
        worker.register_trigger("cron", "jobs::back", trigger_id="the-same", config=EVERY_SECOND)
        call = worker.expect("invokefunction", function_id="jobs::back")
        worker.answer(call)
        assert call["data"]["job_id"] == "the-same"
        worker.close()
        wait_for(lambda: "the-same" not in [job["id"] for job in wire.call("cron::list", {})["jobs"]], "the job has gone with its worker")


def test_a_handler_that_takes_longer_than_its_period_runs_neither_twice_at_once_nor_late(core):
    runs = []

    def handler(data):
        start = datetime.datetime.now(datetime.timezone.utc)
        settle(2.5)
        runs.append((data["scheduled_time"], start, datetime.datetime.now(datetime.timezone.utc)))

    with serving(core.port, {"jobs::slow": handler}) as service:
        trigger = service.wire.register_trigger("cron", "jobs::slow", config=EVERY_SECOND)
        wait_for(lambda: len(runs) >= 3, "three runs", timeout=40)
        service.wire.send({"type": "unregistertrigger", "id": trigger})
    assert all(before[2] <= after[1] for before, after in zip(runs, runs[1:])), "one after the other"
    ticks = [datetime.datetime.fromisoformat(tick) for tick, *_ in runs]
    assert all(after - before >= datetime.timedelta(seconds=3) for before, after in zip(ticks, ticks[1:])), "what came meanwhile is not caught up with"


def test_the_zone_of_the_process_is_not_that_of_a_schedule():
    with fleet(workers=[{"name": "iii-cron", "config": {"store_method": "in_memory"}}], env={"TZ": "America/New_York"}) as it:
        wire = it.connect()
        asked = {"expression": "0 0 9 * * *", "after": "2026-07-01T00:00:00Z", "count": 1}
        assert wire.call("cron::next", asked)["next"] == ["2026-07-01T09:00:00+00:00"]
        wire.register("jobs::one")
        wire.register_trigger("cron", "jobs::one", config=EVERY_SECOND)
        payload = wire.expect("invokefunction", function_id="jobs::one")["data"]
        tick = datetime.datetime.fromisoformat(payload["scheduled_time"])
        assert payload["scheduled_time"].endswith("+00:00") and abs(tick - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(hours=1)
        wire.close()


def test_triggers_wait_for_a_scheduler_that_is_not_there_yet_and_outlive_one_that_goes(tmp_path):
    with fleet(workers=[]) as it:
        wire = it.connect()
        wire.register("jobs::early")
        wire.register_trigger("cron", "jobs::early", config=EVERY_SECOND)
        wire.quiet()
        entries = entries_of(it)
        for _ in range(2):
            save(it, [*entries, {"name": "iii-cron", "config": {"file_path": str(tmp_path / "cron")}}])
            wire.answer(wire.expect("invokefunction", timeout=40, function_id="jobs::early"))
            save(it, entries)
            wait_for(lambda: "iii-cron" not in it.rows(), "it is gone", timeout=40)
            for message in wire.sync():
                wire.answer(message)
            settle(1.5)
            wire.quiet()
        wire.close()
