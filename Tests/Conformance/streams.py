"""A client of the stream port, and what tests of streams say again and again."""

import json

from websockets.sync.client import connect
from wire import DEADLINE


def entry(port: int, **config) -> dict:
    return {"name": "iii-stream", "config": {"host": "127.0.0.1", "port": port, **config}}


class Client:
    """A client of the stream port."""

    def __init__(self, port: int, path: str = "/", **options):
        options.setdefault("compression", None)
        options.setdefault("max_size", None)
        self.ws = connect(f"ws://127.0.0.1:{port}{path}", **options)

    def send(self, message):
        self.ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def join(self, stream: str, group: str, item: str | None = None, subscription: str = "s1", **options):
        self.send({"type": "join", "data": {"subscriptionId": subscription, "streamName": stream, "groupId": group, **({"id": item} if item is not None else {}), **options}})

    def leave(self, stream: str, group: str, subscription: str = "s1", **options):
        self.send({"type": "leave", "data": {"subscriptionId": subscription, "streamName": stream, "groupId": group, **options}})

    def recv(self, timeout: float = DEADLINE) -> dict:
        return json.loads(self.ws.recv(timeout=timeout))

    def events(self, count: int) -> list[tuple]:
        found = []
        for _ in range(count):
            frame = self.recv()
            found.append((frame["event"]["type"], frame["id"], frame["event"].get("data", frame["event"].get("event"))))
        return found

    def quiet(self):
        """Nothing was sent to us up to now."""
        self.send({"type": "ping"})
        assert self.recv() == {"type": "pong"}

    def close(self):
        self.ws.close()


def at(stream: str, item: str | None = None, group: str = "g") -> dict:
    return {"stream_name": stream, "group_id": group, **({"item_id": item} if item is not None else {})}


def set_(wire, stream, item, data, group="g"):
    return wire.call("stream::set", {**at(stream, item, group), "data": data})
