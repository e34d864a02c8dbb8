"""A Python worker for the engine: `pip install iii-sdk`, start the fleet with `make up`, then run this file.

    curl -X POST http://127.0.0.1:3111/echo -H 'content-type: application/json' -d '{"text":"hi"}'
"""

import os
import threading

from iii import InitOptions, register_worker

worker = register_worker(os.environ.get("III_URL", "ws://127.0.0.1:49134"), InitOptions(worker_name="python-echo"))


def echo(request):
    return {"status_code": 200, "body": {"echo": request.get("body")}}


worker.register_function("python::echo", echo)
worker.register_trigger({"type": "http", "function_id": "python::echo", "config": {"api_path": "/echo", "http_method": "POST"}})
threading.Event().wait()
