"""A Python worker with schedules: `pip install iii-sdk`, start the fleet with `make up`, then run this file.

    iii-core trigger cron::list
"""

import os
import threading

from iii import InitOptions, register_worker

worker = register_worker(os.environ.get("III_URL", "ws://127.0.0.1:49134"), InitOptions(worker_name="python-schedule"))


def report(tick):
    print("report for", tick["scheduled_time"], flush=True)


def is_business_day(tick):
    """Only `False` keeps the report from running."""
    return True


worker.register_function("python::report", report)
worker.register_function("python::is_business_day", is_business_day)
worker.register_trigger(
    {
        "type": "cron",
        "function_id": "python::report",
        # At nine in Berlin, summer and winter; with a key the replicas of this worker run it once.
        "config": {
            "expression": "0 0 9 * * Mon-Fri",
            "timezone": "Europe/Berlin",
            "key": "daily-report",
            "catch_up": "last",
            "condition_function_id": "python::is_business_day",
        },
    }
)
threading.Event().wait()
