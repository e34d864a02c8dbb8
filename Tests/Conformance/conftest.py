import uuid

import pytest

from streams import Client
from wire import Wire, fleet


@pytest.fixture(scope="module")
def core():
    """A core with its listener and iii-http, shared by the tests of one file."""
    with fleet(http={}) as it:
        yield it


@pytest.fixture
def wires(core):
    """Opens connections that are closed when the test ends."""
    opened = []

    def open_wire(**options) -> Wire:
        wire = Wire(core.port, **options).hello()
        opened.append(wire)
        return wire

    yield open_wire
    for wire in opened:
        wire.close()


@pytest.fixture
def wire(core):
    """One connection, closed when the test ends."""
    it = core.connect()
    yield it
    it.close()


@pytest.fixture
def stream():
    """A stream's name that no other test has."""
    return f"st-{uuid.uuid4()}"


@pytest.fixture
def client(core):
    """Opens clients of the stream port of a `core` that has `stream_port`; they are closed when the test ends."""
    opened = []

    def open_client(**options) -> Client:
        opened.append(Client(core.stream_port, **options))
        return opened[-1]

    yield open_client
    for it in opened:
        it.close()
