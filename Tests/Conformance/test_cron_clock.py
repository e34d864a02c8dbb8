"""What `iii-cron` does when its clock is set, told or not: the process as it is, with a clock of the test's (Tests/CronProbe)."""

import contextlib
import datetime
import os

import pytest
from processes import settle
from wire import BIN, fleet, wait_for

HOUR = datetime.timedelta(hours=1)


class Clock:
    """The clock of a fleet's `iii-cron`, and what it has said itself about the time."""

    def __init__(self, path):
        self.path = path
        self.offset = datetime.timedelta()
        os.mkfifo(path)

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.timezone.utc) + self.offset

    def set(self, way: str, by: datetime.timedelta):
        self.offset += by
        # For reading too, which waits for nobody.
        pipe = os.open(self.path, os.O_RDWR)
        os.write(pipe, f"{way} {round(by.total_seconds() * 1000)}\n".encode())
        os.close(pipe)

    def set_to(self, way: str, to: datetime.datetime):
        self.set(way, to - self.now())


def hour(time: datetime.datetime) -> datetime.datetime:
    return time.replace(minute=0, second=0, microsecond=0)


class Job:
    """A job and the ticks of it that were called, each answered."""

    def __init__(self, it, expression: str):
        self.wire = it.connect()
        self.wire.register("jobs::one")
        self.id = self.wire.register_trigger("cron", "jobs::one", config={"expression": expression})
        self.wire.sync()
        self.ticks = []

    def next(self, timeout: float = 20) -> datetime.datetime:
        call = self.wire.expect("invokefunction", timeout=timeout, function_id="jobs::one")
        self.wire.answer(call)
        # A tick that came before the answer would be one too many.
        wait_for(lambda: self.wire.call("cron::get", {"id": self.id})["running"] == 0, "the end of the run")
        self.ticks.append(datetime.datetime.fromisoformat(call["data"]["scheduled_time"]))
        return self.ticks[-1]

    def all(self) -> list:
        """Those that have come by now, too."""
        for message in self.wire.sync():
            if message["type"] == "invokefunction":
                self.wire.answer(message)
                self.ticks.append(datetime.datetime.fromisoformat(message["data"]["scheduled_time"]))
        return self.ticks


@contextlib.contextmanager
def steered(tmp_path):
    clock = Clock(tmp_path / "clock")
    entry = {"name": "iii-cron", "exec": str(BIN / "cron-probe"), "core_worker": True, "env": {"III_CRON_CLOCK": str(clock.path)}, "config": {"file_path": str(tmp_path / "cron")}}
    with fleet(workers=[entry]) as it:
        yield it, clock


@pytest.mark.parametrize("way", ["step", "drift"])
def test_set_forward_fires_what_is_not_too_late_and_counts_the_rest(tmp_path, way):
    with steered(tmp_path) as (it, clock):
        job = Job(it, "0 0 * * * *")
        start = hour(clock.now()) + HOUR
        clock.set_to("step", start - datetime.timedelta(seconds=1))
        assert job.next() == start
        clock.set_to(way, start + 3 * HOUR + datetime.timedelta(seconds=30))
        assert job.next() == start + 3 * HOUR, "the newest is 30 seconds late and runs"
        skipped = wait_for(lambda: job.wire.call("cron::history", {"id": job.id, "status": "skipped"})["runs"], "the missed ones")
        assert [(run["reason"], datetime.datetime.fromisoformat(run["scheduled_time"])) for run in skipped] == [("missed", start + 2 * HOUR)]
        assert datetime.datetime.fromisoformat(job.wire.call("cron::get", {"id": job.id})["next"]) == start + 4 * HOUR
        assert job.all() == [start, start + 3 * HOUR]


@pytest.mark.parametrize("way", ["step", "drift"])
def test_set_back_far_silences_nothing(tmp_path, way):
    with steered(tmp_path) as (it, clock):
        job = Job(it, "* * * * * *")
        job.next()
        clock.set(way, 5 * HOUR)
        ahead = wait_for(lambda: (tick := job.next()) > clock.now() - HOUR and tick, "a tick of the wrong time")
        clock.set(way, -5 * HOUR)
        back = wait_for(lambda: (tick := job.next()) < ahead - 4 * HOUR and tick, "a tick of the right time")
        assert job.next() > back
        assert len(set(job.ticks)) == len(job.ticks), "no tick is fired twice"


@pytest.mark.parametrize("way", ["step", "drift"])
def test_set_back_a_little_fires_nothing_twice(tmp_path, way):
    with steered(tmp_path) as (it, clock):
        job = Job(it, "* * * * * *")
        last = [job.next() for _ in range(4)][-1]
        clock.set(way, datetime.timedelta(seconds=-3))
        assert job.next() > last
        [job.next() for _ in range(3)]
        assert job.ticks == sorted(set(job.ticks))


def test_a_tick_that_was_waited_for_is_not_fired_ahead_of_its_time(tmp_path):
    with steered(tmp_path) as (it, clock):
        job = Job(it, "0 0 * * * *")
        start = hour(clock.now()) + HOUR
        clock.set_to("step", start - datetime.timedelta(seconds=2))
        # Half a second before it, it is half a minute away again, and then there.
        settle(1)
        clock.set("step", datetime.timedelta(seconds=-30))
        assert job.all() == []
        clock.set("step", datetime.timedelta(seconds=30))
        assert job.next() == start
        clock.set("step", datetime.timedelta(seconds=-30))
        clock.set("step", datetime.timedelta(seconds=30))
        assert job.all() == [start]
