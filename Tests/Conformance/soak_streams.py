"""What streams and state promise about size and time, too long for every run: a store of 2 GiB that serves in little memory, and a client that takes
nothing for 30 s. Ends by itself and says what it saw; `--gib 0.1` is a short run.
"""

import argparse
import os
import pathlib
import socket
import tempfile
import time

from streams import Client, at, entry
from wire import Fleet, RawSocket, free_port

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("--gib", type=float, default=2)
options = options.parse_args()

VALUE = "x" * 60_000
GROUP = 400


def resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def fill(wire, gib: float) -> int:
    """Stores so many values, in batches; answers how many groups they are in."""
    groups = max(1, int(gib * (1 << 30) / len(VALUE) / GROUP))
    for group in range(groups):
        for start in range(0, GROUP, 50):
            items = [{"key": f"k{number}", "value": VALUE} for number in range(start, start + 50)]
            wire.call("state::set_many", {"scope": f"g{group}", "items": items})
    return groups


def serves_a_large_store(directory: pathlib.Path):
    workers = [{"name": "iii-state", "config": {"adapter": {"name": "kv", "config": {"file_path": str(directory / "state")}}}}]
    it = Fleet(directory, workers=workers).up()
    try:
        wire = it.connect()
        groups = fill(wire, options.gib)
        most = 0
        for round_ in range(200):
            scope = f"g{round_ * 7919 % groups}"
            assert wire.call("state::get", {"scope": scope, "key": f"k{round_ % GROUP}"}) == VALUE
            wire.call("state::set", {"scope": scope, "key": "last", "value": round_})
            assert len(wire.call("state::list", {"scope": scope, "limit": 50})["items"]) == 50
            most = max(most, resident(it.pid_of("iii-state")))
        size = sum(path.stat().st_size for path in (directory / "state").iterdir())
        print(f"a store of {size / (1 << 30):.2f} GiB serves with {most / (1 << 20):.0f} MiB")
        assert most < 150 << 20, "memory does not depend on the size of the store"
    finally:
        it.stop()


def ends_a_client_that_stalls(directory: pathlib.Path):
    port = free_port()
    it = Fleet(directory, workers=[entry(port)]).up()
    try:
        wire, gate = it.connect(), it.connect()
        gate.register("soak::left")
        gate.register_trigger("stream:leave", "soak::left", config={"stream_name": "st"})
        gate.sync()
        sleeper, awake = RawSocket(port, path="/stream/st/g", greets=False), Client(port)
        sleeper.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        awake.join("st", "g")
        awake.recv()
        number, left_at = 0, None
        started = time.monotonic()
        while left_at is None and time.monotonic() - started < 90:
            number += 1
            wire.call("stream::set", {**at("st", f"k{number % 50}"), "data": {"n": number, "pad": VALUE}})
            assert awake.recv()["event"]["data"]["n"] == number, "whoever reads is told everything"
            try:
                gate.answer(gate.expect("invokefunction", timeout=0.05))
                left_at = time.monotonic()
            except AssertionError:
                pass
        assert left_at and left_at - started > 25, "it is closed, and not before its time"
        print(f"a client that took nothing was closed after {left_at - started:.0f} s; {number} changes went past it to one that reads")
        sleeper.close()
        awake.close()
    finally:
        it.stop()


with tempfile.TemporaryDirectory(prefix="iii-soak-") as directory:
    serves_a_large_store(pathlib.Path(directory))
with tempfile.TemporaryDirectory(prefix="iii-soak-") as directory:
    ends_a_client_that_stalls(pathlib.Path(directory))
