"""Kills built-ins and workers at random under HTTP load for as long as asked; ends by itself and says what it saw.

Fails if a call is met by silence, a route is lost for good, or memory keeps growing.
"""

import argparse
import collections
import os
import pathlib
import random
import signal
import tempfile
import threading
import time

import requests

from wire import BIN, Fleet, wait_for

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--minutes", type=float, default=60)
options.add_argument("--seed", type=int, default=1)
options = options.parse_args()
generator = random.Random(options.seed)
outcomes = collections.Counter()
stop = threading.Event()


def load(url: str):
    session = requests.Session()
    while not stop.is_set():
        try:
            outcomes[session.get(f"{url}/hello?name=soak", timeout=40).status_code] += 1
        except requests.Timeout:
            outcomes["silence"] += 1
        except requests.RequestException:
            outcomes["connection lost"] += 1
            session = requests.Session()


def serves(url: str) -> bool:
    try:
        return requests.get(f"{url}/hello", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def rss(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


with tempfile.TemporaryDirectory(prefix="iii-soak-") as directory:
    workers = [{"name": "iii-exec", "config": {"exec": [str(BIN / "hello-worker")]}, "restart": {"policy": "always", "delay_ms": 50}}]
    it = Fleet(pathlib.Path(directory), http={}, workers=workers).up()
    threads = [threading.Thread(target=load, args=(it.http_url,), daemon=True) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        end = time.monotonic() + options.minutes * 60
        warm = None
        kills = 0
        while time.monotonic() < end:
            time.sleep(generator.uniform(1, 4))
            victim = generator.choice(["iii-http", "iii-exec"])
            os.kill(it.pid_of(victim), signal.SIGKILL)
            kills += 1
            wait_for(lambda: serves(it.http_url), f"service after the kill of {victim}", timeout=35)
            if kills == 20:
                warm = rss(it.process.pid)
        assert outcomes["silence"] == 0, outcomes
        assert outcomes[200] > 0, outcomes
        grown = rss(it.process.pid) - (warm or rss(it.process.pid))
        assert grown < 64 << 20, f"the core grew by {grown} bytes"
        print(f"{kills} kills, outcomes {dict(outcomes)}, core grew by {grown} bytes")
    finally:
        stop.set()
        it.stop()
