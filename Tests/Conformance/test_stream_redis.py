"""What holds of streams with the embedded store holds with a Redis: the tests of `test_stream.py`, on the adapter `redis`."""

import inspect

import pytest
import redis_server
import test_stream
from streams import entry
from wire import fleet, free_port

globals().update({
    name: it for name, it in vars(test_stream).items()
    if name.startswith("test_") and {"core", "wire"} & set(inspect.signature(it).parameters) and "guarded" not in inspect.signature(it).parameters
})


@pytest.fixture(scope="module")
def core():
    port = free_port()
    with redis_server.running() as server:
        with fleet(workers=[entry(port, adapter={"name": "redis", "config": {"redis_url": server.url}})]) as it:
            it.stream_port = port
            yield it
