"""A producer and consumers of queues: `pip install iii-sdk`, start the fleet with `make up`, then run this file and call

    .build/release/iii-core trigger python::take order=o1
"""

import os
import threading

from iii import InitOptions, TriggerAction, register_worker

worker = register_worker(os.environ.get("III_URL", "ws://127.0.0.1:49134"), InitOptions(worker_name="python-queue"))


def take(order):
    """Answers at once: the work is in the queue, which keeps it until it is done."""
    receipt = worker.trigger({"function_id": "python::charge", "payload": order, "action": TriggerAction.Enqueue(queue="default")})
    worker.trigger({"function_id": "iii::durable::publish", "payload": {"topic": "order.taken", "data": order}})
    return receipt


def charge(order):
    """Runs again, with growing pauses, when it raises; `no_retry: …` as the message would end that."""
    print("charged", order, flush=True)


def report(order):
    """A durable subscriber: hears of orders that were taken while it was away, too."""
    print("reported", order, flush=True)


worker.register_function("python::take", take)
worker.register_function("python::charge", charge)
worker.register_function("python::report", report)
worker.register_trigger({"type": "durable:subscriber", "function_id": "python::report", "config": {"topic": "order.taken"}})
threading.Event().wait()
