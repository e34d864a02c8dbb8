"""`benchmarks/run.py --against` compares two builds as it says: in pairs, with an interval, for routed calls and HTTP alike."""

import random
import re
import shutil
import subprocess
import sys

import pytest
from wire import BIN, ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import against  # noqa: E402


def run(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "benchmarks/run.py", *arguments], capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--against", "/nowhere"], "iii-core"),
        (["--against", str(BIN), "--pairs", "9"], "10 at least"),
        (["--against", str(BIN), "--rows", "routed-65"], "routed-64"),
    ],
    ids=["directory", "pairs", "rows"])
def test_what_cannot_be_compared_is_refused_with_the_reason(arguments, reason):
    done = run(*arguments, timeout=60)
    assert done.returncode != 0 and reason in done.stderr, done.stderr


def test_the_interval_holds_the_true_ratio_nearly_always():
    draw = random.Random(7)
    held = 0
    for _ in range(2000):
        low, high = against.interval([draw.lognormvariate(0, 0.2) for _ in range(12)])
        held += low <= 1 <= high
    assert held / 2000 > 0.94
    assert against.interval(list(range(10))) == (1, 8)


@pytest.mark.timeout(300)
def test_a_build_is_no_faster_than_its_copy(tmp_path):
    if not (BIN / "iii-load").is_file():
        pytest.skip("needs the load generator: `swift build --product iii-load`, as scripts/test does")
    for name in ("iii-core", "iii-http", "hello-worker"):
        shutil.copy(BIN / name, tmp_path / name)
    wanted = {"routed-64": "routed", "http-1": "HTTP hello"} if shutil.which("wrk") else {"routed-64": "routed"}
    done = run("--against", str(tmp_path), "--pairs", "10", "--seconds", "0.2", "--rows", ",".join(wanted), timeout=280)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"(?m)^\| (routed|HTTP hello), .* \| ([\d.]+) \(([\d.]+)–([\d.]+)\) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \(", done.stdout)
    assert [row[0] for row in rows] == [*wanted.values()], done.stdout
    for _, ratio, low, high, processor in rows:
        assert float(low) <= float(ratio) <= float(high) and float(processor) > 0
