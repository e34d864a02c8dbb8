"""What holds of the state with the embedded store holds with a Redis: the tests of `test_state.py`, on the adapter `redis`."""

import inspect

import pytest
import redis_server
import test_state
from wire import fleet

globals().update({
    name: it for name, it in vars(test_state).items() if name.startswith("test_") and {"core", "wire"} & set(inspect.signature(it).parameters)
})
scope = test_state.scope


@pytest.fixture(scope="module")
def core():
    with redis_server.running() as server:
        with fleet(workers=[{"name": "iii-state", "config": {"adapter": {"name": "redis", "config": {"redis_url": server.url}}}}]) as it:
            yield it
