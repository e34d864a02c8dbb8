"""Fire times beside two independent implementations, croniter and cronsim: 20,000 random expressions, zones and dates, from 1990 to 2099.

In the form that all three share (five fields), and where their rules are the same: everything in UTC; in zones what has a fixed minute and
hour or any hour, changes of the clock included (cronsim), and days without a change (croniter, which has other rules for them).
"""

import datetime
import json
import random
import subprocess
import zoneinfo

import pytest
from croniter import croniter
from cronsim import CronSim
from wire import BIN

UTC = datetime.timezone.utc
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()
# With changes by an hour, half an hour and two hours, with odd offsets, and without any.
ZONES = [
    "America/New_York", "Europe/Berlin", "Europe/London", "Australia/Lord_Howe", "Antarctica/Troll", "America/St_Johns", "Pacific/Chatham", "America/Sao_Paulo",
    "America/Santiago", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Sydney", "Africa/Cairo", "Asia/Tokyo",
]
CASES = 1_000
COUNT = 4
# Our world ends with the year 2100.
END = int(datetime.datetime(2100, 12, 31, tzinfo=UTC).timestamp())


def field(rng: random.Random, low: int, high: int, names: list[str] | None = None) -> str:
    def one() -> str:
        kind = rng.randrange(4)
        if kind == 0:
            a, b = sorted(rng.sample(range(low, high + 1), 2))
            if names and rng.random() < 0.3:
                return f"{names[a - low]}-{names[b - low]}"
            return f"{a}-{b}" if rng.random() < 0.5 else f"{a}-{b}/{rng.randint(1, 7)}"
        value = rng.randint(low, high)
        return names[value - low] if names and rng.random() < 0.5 else str(value)

    kind = rng.randrange(5)
    if kind < 2:
        return "*"
    if kind == 2:
        return f"*/{rng.randint(2, max(2, (high - low) // 2))}"
    return ",".join(one() for _ in range(rng.choice([1, 1, 2, 3])))


def expression(rng: random.Random, zoned: bool) -> str:
    days = [field(rng, 1, 28), field(rng, 1, 12, MONTHS), field(rng, 0, 6, DAYS)]
    if not zoned:
        return " ".join([field(rng, 0, 59), field(rng, 0, 23), *days])
    # Where the rules for changes of the clock agree.
    if rng.random() < 0.5:
        # Hours in which clocks change, as a rule.
        return " ".join([str(rng.randint(0, 59)), str(rng.choice([0, 1, 2, 2, 3, rng.randint(0, 23)])), *days])
    return " ".join([rng.choice(["*", "*/5", "0", "*/30"]), "*", *days])


def moment(rng: random.Random, zone: str) -> datetime.datetime:
    """Every third one shortly before a change of the clock, if the zone has one in that year."""
    # Until 2011 Newfoundland changed its clocks at 00:01, in which cronsim never comes to an end.
    first = 2012 if zone == "America/St_Johns" else 1990
    start = datetime.datetime(rng.randint(first, 2099), 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=rng.randrange(360 * 86_400))
    if zone == "UTC" or rng.random() > 0.4:
        return start
    rules = zoneinfo.ZoneInfo(zone)
    for day in range(0, 366):
        here = start + datetime.timedelta(days=day)
        if here.year > 2099:
            break
        if here.astimezone(rules).utcoffset() != (here + datetime.timedelta(days=1)).astimezone(rules).utcoffset():
            return here + datetime.timedelta(seconds=rng.randrange(86_400))
    return start


def ours(cases: list[dict]) -> list[list[int]]:
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([BIN / "cron-probe", "next"], input=lines, capture_output=True, text=True, timeout=110, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(cases)
    return [before_the_end(answer["next"]) for answer in answers]


def before_the_end(ticks: list[int]) -> list[int]:
    return [tick for tick in ticks if tick < END]


def cronsim(text: str, start: datetime.datetime, zone: str) -> list[int]:
    """Ticks that fall on one instant are one tick here; the shell's daylight rules are those of Debian's cron."""
    found = []
    for fire in CronSim(text, start.astimezone(zoneinfo.ZoneInfo(zone))):
        tick = int(fire.timestamp())
        if tick > int(start.timestamp()) and tick not in found:
            found.append(tick)
        if len(found) == COUNT:
            break
    return before_the_end(found)


def of_croniter(text: str, start: datetime.datetime, zone: str) -> list[int]:
    schedule = croniter(text, start.astimezone(zoneinfo.ZoneInfo(zone)), implement_cron_bug=True)
    return before_the_end([int(schedule.get_next(datetime.datetime).timestamp()) for _ in range(COUNT)])


def is_calm(ticks: list[int], start: datetime.datetime, zone: str) -> bool:
    """No change of the clock from a day before the start to a day after the last tick."""
    rules = zoneinfo.ZoneInfo(zone)
    first, last = start - datetime.timedelta(days=1), datetime.datetime.fromtimestamp(ticks[-1], UTC) + datetime.timedelta(days=1)
    if last - first > datetime.timedelta(days=150):
        return False
    offsets = {(first + datetime.timedelta(days=step)).astimezone(rules).utcoffset() for step in range((last - first).days + 2)}
    return len(offsets) == 1


def of_our_rule(minutes: range | list, hours: range | list, is_every_hour: bool, zone: zoneinfo.ZoneInfo, start: int, end: int) -> list[int]:
    """The fires in (start, end] by the page's words (docs/reference/cron.md), counted the slow way: minute by minute, day by day."""
    if is_every_hour:
        return [at for at in range(start - start % 60 + 60, end + 1, 60) if datetime.datetime.fromtimestamp(at, zone).minute in minutes and datetime.datetime.fromtimestamp(at, zone).second == 0]
    found = set()
    day = datetime.datetime.fromtimestamp(start - 2 * 86_400, zone).date()
    while day <= datetime.datetime.fromtimestamp(end + 2 * 86_400, zone).date():
        for hour in hours:
            for minute in minutes:
                local = datetime.datetime(day.year, day.month, day.day, hour, minute)
                at = local.replace(tzinfo=zone, fold=0)
                back = at.astimezone(UTC).astimezone(zone)
                instant = int(at.timestamp())
                if back.replace(tzinfo=None) == local:
                    found.add(instant)
                    continue
                # In a gap: it ends where the offset changes. `fold` 0 reads the time with the offset from before it.
                before, after = local.replace(tzinfo=zone, fold=0).utcoffset(), local.replace(tzinfo=zone, fold=1).utcoffset()
                low, high = instant - int((after - before).total_seconds()) - 1, instant
                while high - low > 1:
                    middle = (low + high) // 2
                    low, high = (middle, high) if datetime.datetime.fromtimestamp(middle, zone).utcoffset() == before else (low, middle)
                if (after - before).total_seconds() <= 3 * 3_600:
                    found.add(high)
        day += datetime.timedelta(days=1)
    return sorted(at for at in found if start < at <= end)


@pytest.mark.parametrize("part", range(4))
def test_every_zone_of_the_system_keeps_the_written_rules(part):
    """Around changes of the clock in all zones there are, expressions of both kinds; each fire, and no other."""
    rng = random.Random(part)
    names = sorted(name for name in zoneinfo.available_timezones() if name[0].isupper() and name != "Factory")[part::4]
    cases, expected = [], []
    for name in names:
        zone = zoneinfo.ZoneInfo(name)
        changes = []
        for year in (1999, 2011, 2026, 2037, 2098):
            new_year = int(datetime.datetime(year, 1, 1, tzinfo=UTC).timestamp())
            days = [new_year + 86_400 * day for day in range(0, 366, 3)]
            offsets = [datetime.datetime.fromtimestamp(at, zone).utcoffset() for at in days]
            changes += [before for before, a, b in zip(days, offsets, offsets[1:]) if a != b]
        for at in rng.sample(changes, min(3, len(changes))) + [int(datetime.datetime(rng.randint(1975, 2095), rng.randint(1, 12), 1, tzinfo=UTC).timestamp())]:
            start, end = at - 3_600, at + 4 * 86_400
            minutes = rng.choice([[0], [30], [rng.randint(0, 59)], [0, 15, 30, 45]])
            hours = sorted(rng.sample(range(24), 2) + [rng.choice([0, 1, 2, 3])])
            for is_every_hour in (True, False):
                text = f"0 {','.join(map(str, minutes))} {'*' if is_every_hour else ','.join(map(str, hours))} * * *"
                fires = of_our_rule(minutes, hours, is_every_hour, zone, start, end)
                expected.append(fires)
                cases.append({"expression": text, "timezone": name, "after": start * 1_000, "count": len(fires) + 1})
    wrong = []
    for case, fires, ticks in zip(cases, expected, ours(cases)):
        end = case["after"] // 1_000 + 3_600 + 4 * 86_400
        if [tick for tick in ticks if tick <= end] != fires:
            wrong.append((case, sorted(set(ticks) ^ set(fires))[:6]))
    assert not wrong, f"{len(wrong)} of {len(cases)} differ; the first: {wrong[:5]}"
    assert len(names) > 100


@pytest.mark.parametrize("seed", range(20))
def test_others_come_to_the_same_times(seed):
    rng = random.Random(seed)
    zones = ["UTC" if seed < 10 else rng.choice(ZONES) for _ in range(CASES)]
    texts = [expression(rng, zone != "UTC") for zone in zones]
    starts = [moment(rng, zone) for zone in zones]
    cases = [
        {"expression": text, "timezone": zone, "after": int(start.timestamp()) * 1_000, "count": COUNT} for text, zone, start in zip(texts, zones, starts)
    ]
    wrong = []
    compared = {"cronsim": 0, "croniter": 0}
    for case, start, ticks in zip(cases, starts, ours(cases)):
        text, zone = case["expression"], case["timezone"]
        expected = cronsim(text, start, zone)
        compared["cronsim"] += 1
        if ticks != expected:
            wrong.append((case, "cronsim", ticks, expected))
        if zone == "UTC" or (ticks and is_calm(ticks, start, zone)):
            compared["croniter"] += 1
            if ticks != (expected := of_croniter(text, start, zone)):
                wrong.append((case, "croniter", ticks, expected))
    assert not wrong, f"{len(wrong)} differ; the first: {wrong[:5]}"
    assert compared["cronsim"] == CASES and compared["croniter"] > (CASES if seed < 10 else 50) * 0.9
