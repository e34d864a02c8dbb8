"""Clients that come back, and presence, with the items in a Redis: the tests of `test_stream_returns.py`, on the adapter `redis`."""

import inspect

import test_stream_redis
import test_stream_returns

globals().update({
    name: it for name, it in vars(test_stream_returns).items() if name.startswith("test_") and {"core", "wire", "client"} & set(inspect.signature(it).parameters)
})
core = test_stream_redis.core
