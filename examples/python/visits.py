"""Counts visits in the state, and says when a page has had ten of them: `pip install iii-sdk`, start a fleet, run this file.

    curl http://127.0.0.1:3111/visits/home
"""

import os
import threading

from iii import InitOptions, register_worker

worker = register_worker(os.environ.get("III_URL", "ws://127.0.0.1:49134"), InitOptions(worker_name="visits"))


def count(request):
    page = request["path_params"]["page"]
    # One step: however many visits come at once, none is lost.
    result = worker.trigger({"function_id": "state::update", "payload": {"scope": "visits", "key": page, "ops": [{"type": "increment", "path": "count", "by": 1}]}})
    return {"status_code": 200, "body": result["new_value"]}


def changed(event):
    if event["new_value"]["count"] == 10:
        print(f"{event['key']} has been seen ten times", flush=True)


worker.register_function("visits::count", count)
worker.register_trigger({"type": "http", "function_id": "visits::count", "config": {"api_path": "/visits/:page", "http_method": "GET"}})
worker.register_function("visits::changed", changed)
worker.register_trigger({"type": "state", "function_id": "visits::changed", "config": {"scope": "visits"}})
threading.Event().wait()
