"""The worker behind benchmarks/streams.py: an ordinary Python program on the official SDK, one process, one event loop."""

import asyncio
import hashlib
import os
import threading

from iii import InitOptions, http, register_worker

worker = register_worker(os.environ["III_URL"], InitOptions(worker_name="streams"))
PIECE = bytes(range(256)) * 256


async def upload(request, response):
    digest, count = hashlib.sha256(), 0
    async for piece in request.request_body:
        digest.update(piece)
        count += len(piece)
    return {"status_code": 200, "body": {"count": count, "sha256": digest.hexdigest()}}


async def download(request, response):
    for _ in range(int(request.query_params["mib"]) * 16):
        await response.writer.write(PIECE)
    await response.writer.close_async()


async def events(request, response):
    await response.headers({"content-type": "text/event-stream"})
    for n in range(int(request.query_params["count"])):
        await response.writer.write(b"data: %d\n\n" % n)
        await asyncio.sleep(1)
    await response.writer.close_async()


for path, handler, method in [("upload", upload, "POST"), ("download", download, "GET"), ("events", events, "GET")]:
    worker.register_function(f"streams::{path}", http(handler))
    worker.register_trigger({"type": "http", "function_id": f"streams::{path}", "config": {"api_path": path, "http_method": method}})
threading.Event().wait()
