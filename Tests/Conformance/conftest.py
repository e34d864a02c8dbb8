import pytest

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
