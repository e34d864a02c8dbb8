"""Several fleets on one Redis: whatever is killed, stopped, continued or restarted, and though one clock is off, a tick fires at most once.

The fleets' clocks: `cron-probe` is `iii-cron` with a clock that is off by III_CRON_SKEW_MS (Tests/CronProbe).
"""

import collections
import contextlib
import os
import random
import signal
import threading
import time

import pytest
import redis_server
from processes import Service, prepared, settle
from wire import BIN, wait_for

FLEETS = 3


def entry(server, skew: int = 0, **config) -> dict:
    made = {"name": "iii-cron", "config": {"adapter": {"name": "redis", "config": {"redis_url": server.url, "lease_ms": 2000, **config}}}}
    if skew:
        made |= {"exec": str(BIN / "cron-probe"), "core_worker": True, "env": {"III_CRON_SKEW_MS": str(skew)}}
    return made


@contextlib.contextmanager
def fleets(tmp_path, server, skews=(0, 0, 2000)):
    with contextlib.ExitStack() as stack:
        running = []
        for index, skew in enumerate(skews):
            directory = tmp_path / f"fleet{index}"
            directory.mkdir()
            it = stack.enter_context(prepared(directory, workers=[entry(server, skew)]))
            it.up()
            stack.callback(it.stop)
            running.append(it)
        yield running


class Ticks:
    """What was fired where: by job, each scheduled time with the fleets that ran it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.runs = collections.defaultdict(list)

    def handler(self, fleet: int, function: str, duration: float = 0):
        def handle(data):
            with self.lock:
                self.runs[function].append((data["scheduled_time"], fleet, data.get("attempt", 1), data.get("fencing_token")))
            time.sleep(duration)

        return handle

    def of(self, function: str) -> list:
        with self.lock:
            return list(self.runs[function])

    def twice(self, function: str) -> list:
        counts = collections.Counter(time for time, *_ in self.of(function))
        return [tick for tick, count in counts.items() if count > 1]


def serve(stack, running, ticks: Ticks, jobs: dict[str, dict], duration: float = 0) -> list[Service]:
    """The same worker at every fleet, with ids of its own, as replicas are."""
    services = []
    for index, it in enumerate(running):
        service = Service(it.port, {job: ticks.handler(index, job, duration) for job in jobs})
        stack.callback(service.close)
        for job, config in jobs.items():
            service.wire.register_trigger("cron", job, config=config)
        services.append(service)
    return services


def test_every_second_is_fired_by_one_of_three(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, fleets(tmp_path, server) as running, contextlib.ExitStack() as stack:
        jobs = {"jobs::keyed": {"expression": "* * * * * *", "key": "keyed"}, "jobs::plain": {"expression": "* * * * * *"}}
        serve(stack, running, ticks, jobs)
        wait_for(lambda: all(len(ticks.of(job)) >= 15 for job in jobs), "15 ticks", timeout=40)
        for job in jobs:
            runs = ticks.of(job)
            assert not ticks.twice(job), runs
            seconds = sorted({time for time, *_ in runs})
            assert len(seconds) >= 15
        # In the order of claims, which is not that of ticks while one clock is ahead.
        tokens = [token for *_, token in ticks.of("jobs::keyed")]
        assert len(set(tokens)) == len(tokens) and all(isinstance(token, int) for token in tokens)


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_stops_and_a_restarted_redis_never_fire_a_tick_twice(tmp_path, seed):
    rng = random.Random(seed)
    ticks = Ticks()
    with redis_server.running("--appendonly", "yes", "--appendfsync", "always") as server, fleets(tmp_path, server) as running:
        with contextlib.ExitStack() as stack:
            jobs = {"jobs::fast": {"expression": "* * * * * *", "key": "fast"}, "jobs::slow": {"expression": "*/2 * * * * *", "key": "slow", "catch_up": "last"}}
            serve(stack, running, ticks, jobs, duration=0.2)
            wait_for(lambda: ticks.of("jobs::fast"), "the first tick")
            for step in range(8):
                it = rng.choice(running)
                match rng.choice(["kill", "stop", "stop", "redis"]) if step != 4 else "redis":
                    case "kill":
                        with contextlib.suppress(ProcessLookupError, KeyError, TypeError):
                            os.kill(it.pid_of("iii-cron"), signal.SIGKILL)
                    case "stop":
                        with contextlib.suppress(ProcessLookupError, KeyError, TypeError):
                            pid = it.pid_of("iii-cron")
                            os.kill(pid, signal.SIGSTOP)
                            settle(rng.uniform(0.5, 3))
                            os.kill(pid, signal.SIGCONT)
                    case "redis":
                        server.kill()
                        settle(rng.uniform(0.1, 1.5))
                        server.start()
                settle(rng.uniform(0.2, 1.5))
            for it in running:
                wait_for(lambda: it.rows()["iii-cron"]["state"] == "ready", "iii-cron is back", timeout=40)
            before = len(ticks.of("jobs::fast"))
            wait_for(lambda: len(ticks.of("jobs::fast")) >= before + 5, "ticks go on", timeout=40)
            for job in jobs:
                assert not ticks.twice(job), f"seed {seed}: {job} fired {ticks.twice(job)} twice"


def test_a_long_run_keeps_other_instances_away_and_a_dead_one_only_for_its_lease(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, fleets(tmp_path, server, (0, 0)) as running, contextlib.ExitStack() as stack:
        jobs = {"jobs::long": {"expression": "* * * * * *", "key": "long"}}
        serve(stack, running, ticks, jobs, duration=4)
        first = wait_for(lambda: ticks.of("jobs::long"), "the first run")[0]
        settle(3)
        assert len(ticks.of("jobs::long")) == 1, "runs of a job do not overlap, whoever would start them"
        # The one that runs it dies: its lease ends, and the other one goes on.
        it = running[first[1]]
        it.cli("stop", "iii-cron")
        wait_for(lambda: [run for run in ticks.of("jobs::long") if run[1] != first[1]], "the other one goes on", timeout=30)


def test_a_lost_run_is_retried_by_another_instance(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, fleets(tmp_path, server, (0, 0)) as running, contextlib.ExitStack() as stack:
        jobs = {"jobs::once": {"expression": "0/30 * * * * *", "key": "once", "on_lost_claim": "retry"}}
        serve(stack, running, ticks, jobs, duration=10)
        first = wait_for(lambda: ticks.of("jobs::once"), "the first run", timeout=40)[0]
        # It hangs: its lease ends, and what it says afterwards counts for nothing.
        pid = running[first[1]].pid_of("iii-cron")
        os.kill(pid, signal.SIGSTOP)
        again = wait_for(lambda: [run for run in ticks.of("jobs::once") if run[2] == 2], "the second attempt", timeout=30)[0]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        assert again[0] == first[0] and again[1] != first[1] and again[3] > first[3], "a second attempt with a larger token"


def test_a_pause_holds_at_every_instance(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, fleets(tmp_path, server, (0, 0)) as running, contextlib.ExitStack() as stack:
        jobs = {"jobs::paused": {"expression": "* * * * * *", "key": "paused"}}
        serve(stack, running, ticks, jobs)
        wait_for(lambda: len(ticks.of("jobs::paused")) > 1, "ticks")
        wire = running[0].connect()
        wire.call("cron::pause", {"key": "paused"})
        settle(1)
        count = len(ticks.of("jobs::paused"))
        settle(2.5)
        assert len(ticks.of("jobs::paused")) == count
        other = running[1].connect()
        other.call("cron::resume", {"key": "paused"})
        wait_for(lambda: len(ticks.of("jobs::paused")) > count, "ticks again")
        wire.close()
        other.close()


def test_an_emptied_redis_costs_a_tick_at_most(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, fleets(tmp_path, server, (0, 0)) as running, contextlib.ExitStack() as stack:
        jobs = {"jobs::flushed": {"expression": "* * * * * *", "key": "flushed"}}
        serve(stack, running, ticks, jobs)
        wait_for(lambda: len(ticks.of("jobs::flushed")) > 1, "ticks")
        for command in (["FLUSHALL"], ["SCRIPT", "FLUSH"]):
            server.command(*command)
            count = len(ticks.of("jobs::flushed"))
            wait_for(lambda: len(ticks.of("jobs::flushed")) > count + 2, f"ticks after {command}")
        assert len(ticks.twice("jobs::flushed")) <= 1


def test_a_redis_that_hangs_over_ticks_blocks_no_later_one(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, contextlib.ExitStack() as stack:
        # Longer than the test: what was claimed without being heard of must be given back, not wait for the end of a lease.
        it = stack.enter_context(prepared(tmp_path, workers=[entry(server, lease_ms=120_000)]))
        it.up()
        stack.callback(it.stop)
        serve(stack, [it], ticks, {"jobs::one": {"expression": "* * * * * *", "key": "one"}})
        wait_for(lambda: len(ticks.of("jobs::one")) > 1, "ticks")
        os.kill(server.process.pid, signal.SIGSTOP)
        wire = it.connect()
        stack.callback(wire.close)
        skipped = wait_for(lambda: wire.call("cron::history", {"key": "one", "status": "skipped", "limit": 1})["runs"], "a tick that is given up", timeout=30)
        assert skipped[0]["reason"] == "lock_error"
        os.kill(server.process.pid, signal.SIGCONT)
        count = len(ticks.of("jobs::one"))
        wait_for(lambda: len(ticks.of("jobs::one")) > count + 3, "ticks again", timeout=30)
        assert not ticks.twice("jobs::one")


def test_a_run_outlives_a_redis_that_was_away_for_longer_than_its_lease(tmp_path):
    ticks = Ticks()
    with redis_server.running("--appendonly", "yes", "--appendfsync", "always") as server, contextlib.ExitStack() as stack:
        it = stack.enter_context(prepared(tmp_path, workers=[entry(server, lease_ms=1_000)]))
        it.up()
        stack.callback(it.stop)
        serve(stack, [it], ticks, {"jobs::long": {"expression": "* * * * * *", "key": "long", "max_runs": 1}}, duration=8)
        wait_for(lambda: ticks.of("jobs::long"), "the run")
        server.kill()
        settle(3)
        server.start()
        wire = it.connect()
        stack.callback(wire.close)
        ended = wait_for(lambda: [run for run in wire.call("cron::history", {"key": "long"})["runs"] if run["status"] not in ("running", "skipped")], "its end", timeout=30)
        assert [run["status"] for run in ended] == ["ok"]


def test_max_runs_holds_for_all_instances(tmp_path):
    ticks = Ticks()
    with redis_server.running() as server, fleets(tmp_path, server, (0, 0)) as running, contextlib.ExitStack() as stack:
        jobs = {"jobs::three": {"expression": "* * * * * *", "key": "three", "max_runs": 3}, "jobs::on": {"expression": "* * * * * *", "key": "on"}}
        serve(stack, running, ticks, jobs)
        wait_for(lambda: len(ticks.of("jobs::on")) >= 8, "ticks", timeout=40)
        assert len(ticks.of("jobs::three")) == 3


def test_redis_that_cannot_be_reached_stops_the_start_with_its_name(tmp_path):
    with redis_server.running() as server:
        server.kill()
        with prepared(tmp_path, workers=[entry(server)]) as it:
            it.spawn()
            wait_for(lambda: f"Failed to connect to Redis at {server.url}" in it.output(), "the reason", timeout=20)
            it.stop()
