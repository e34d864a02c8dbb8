"""A message that cannot be taken is answered to whoever waits for it, and named in the log
(docs/reference/worker-protocol.md#malformed-messages)."""

import json
import uuid

import pytest
import websockets
from wire import RawSocket, builtin, fleet, wait_for

DEEP = "[" * 200 + "]" * 200
# What stands in a message → what is said of it.
FAULTS = {
    "NaN": ("NaN", "NaN and Infinity"),
    "Infinity": ("Infinity", "NaN and Infinity"),
    "minus infinity": ('{"x":[1,-Infinity]}', "NaN and Infinity"),
    "deep": (DEEP, "nested deeper than 128"),
    "control character": ('"a\tb"', "raw control character"),
    "escape": (r'"\x41"', "malformed escape"),
    "half an escape": (r'"\u12"', "malformed escape"),
    "single quotes": ("'a'", "not well-formed"),
    "trailing comma": ('{"a":1,}', "not well-formed"),
    "leading zero": ("01", "not well-formed"),
}


@pytest.fixture(params=FAULTS, ids=FAULTS)
def fault(request):
    return FAULTS[request.param]


def logged(core, *words):
    wait_for(lambda: any(all(word in line for word in words) for line in core.output().splitlines() if "WARN" in line), f"a warning with {words}")


def pair(wires):
    worker, caller = wires(), wires()
    name = f"bad::{uuid.uuid4().hex}"
    worker.register(name)
    worker.sync()
    return worker, caller, name


# First of all: the log lets 50 lines of one kind through at once, and the tests below use them up.
def test_a_flood_of_bad_messages_is_a_handful_of_lines(core, wires):
    wire = wires()
    for _ in range(5_000):
        wire.send('{"type":"registerfunction","id":NaN}')
    wire.quiet()
    lines = [line for line in core.output().splitlines() if wire.worker_id in line and "ignored" in line]
    assert 1 <= len(lines) <= 20


@pytest.mark.parametrize("order", ["type first", "type last"])
def test_the_caller_of_an_undecodable_result_is_told(core, wires, fault, order):
    text, reason = fault
    worker, caller, name = pair(wires)
    invocation = caller.invoke(name, {})
    call = worker.expect("invokefunction")
    ids = f'"invocation_id":"{call["invocation_id"]}","function_id":"{name}"'
    kind = '"type":"invocationresult"'
    worker.send("{%s,%s,\"result\":%s}" % (kind, ids, text) if order == "type first" else "{%s,\"result\":%s,%s}" % (ids, text, kind))
    error = caller.result_of(invocation)["error"]
    assert error["code"] == "invalid_message" and name in error["message"] and reason in error["message"]
    if order == "type first":  # the log lets 50 lines of one kind through at once
        logged(core, worker.worker_id, name, reason)
    # Nobody is harmed: the next call of the same worker goes through.
    again = caller.invoke(name, {})
    worker.answer(worker.expect("invokefunction"), "fine")
    assert caller.result_of(again)["result"] == "fine"


def test_an_undecodable_call_is_answered_to_its_sender(core, wires, fault):
    text, reason = fault
    wire = wires()
    invocation = str(uuid.uuid4())
    wire.send('{"data":%s,"function_id":"f","invocation_id":"%s","type":"invokefunction"}' % (text, invocation))
    error = wire.result_of(invocation)["error"]
    assert error["code"] == "invalid_message" and reason in error["message"]


def test_a_byte_order_mark_is_named(core, wires):
    wire = wires()
    invocation = str(uuid.uuid4())
    wire.send("\ufeff" + json.dumps({"type": "invokefunction", "invocation_id": invocation, "function_id": "f", "data": 1}))
    assert "byte order mark" in wire.result_of(invocation)["error"]["message"]


def test_an_undecodable_registration_is_answered_or_logged(core, wires, fault):
    text, reason = fault
    wire = wires()
    trigger = str(uuid.uuid4())
    wire.send('{"type":"registertrigger","id":"%s","trigger_type":"t","function_id":"f","config":%s}' % (trigger, text))
    error = wire.expect("triggerregistrationresult", id=trigger)["error"]
    assert error["code"] == "invalid_message" and reason in error["message"]
    name = f"bad::{uuid.uuid4().hex}"
    wire.send('{"type":"registerfunction","id":"%s","metadata":%s}' % (name, text))
    wire.quiet()
    if reason.startswith("NaN"):
        logged(core, wire.worker_id, name, reason)


def test_an_undecodable_refusal_of_a_provider_is_a_refusal(wires):
    provider, wire = wires(), wires()
    kind = f"t::{uuid.uuid4().hex}"
    provider.register_type(kind)
    provider.sync()
    for answer in ('"error":NaN', '"error":"no such path"', '"error":{"code":"x"}'):
        trigger = wire.register_trigger(kind, "f")
        provider.expect("registertrigger", id=trigger)
        provider.send('{"type":"triggerregistrationresult","id":"%s","trigger_type":"%s","function_id":"f",%s}' % (trigger, kind, answer))
        assert wire.expect("triggerregistrationresult", id=trigger)["error"]["code"] == "trigger_registration_failed"


@pytest.mark.parametrize(
    "error, said", [("boom", "boom"), ({"message": "boom"}, "boom"), ({"code": "X"}, "X"), ({"code": 1, "message": "boom"}, "boom"), ([], ""), (7, ""), (True, "")]
)
def test_a_malformed_error_reaches_the_caller_as_one(wires, error, said):
    worker, caller, name = pair(wires)
    invocation = caller.invoke(name, {})
    worker.answer(worker.expect("invokefunction"), error=error)
    answer = caller.result_of(invocation)["error"]
    assert answer["code"] == "invalid_message" and name in answer["message"] and said in answer["message"]


@pytest.mark.parametrize("text", [r'"\ud83d"', r'"x\udc00y"', r'{"\ud800":["\ud83d\ud83d\ude00"]}', r'"\uD800\u0041"'])
def test_lone_surrogates_pass_unchanged_everywhere(wires, text):
    worker, caller, name = pair(wires)
    invocation = str(uuid.uuid4())
    caller.send('{"type":"invokefunction","invocation_id":"%s","function_id":"%s","data":[%s],"metadata":%s}' % (invocation, name, text, text))
    frame = worker.ws.recv(timeout=10)
    assert f'"data":[{text}]' in frame and f'"metadata":{text}' in frame
    worker.send('{"type":"invocationresult","invocation_id":"%s","function_id":"%s","result":%s}' % (invocation, name, text))
    assert f'"result":{text}' in caller.ws.recv(timeout=10)
    provider, kind = wires(), f"t::{uuid.uuid4().hex}"
    provider.register_type(kind)
    provider.sync()
    caller.send('{"type":"registertrigger","id":"%s","trigger_type":"%s","function_id":"f","config":%s}' % (uuid.uuid4(), kind, text))
    assert f'"config":{text}' in provider.ws.recv(timeout=10)
    caller.send('{"type":"invokefunction","invocation_id":"%s","function_id":"engine::register_trigger","data":{"trigger_type":"%s","function_id":"f","config":%s}}' % (uuid.uuid4(), kind, text))
    assert f'"config":{text}' in provider.ws.recv(timeout=10)
    caller.send('{"type":"registerfunction","id":"%s::more","request_format":%s}' % (name, text))
    caller.send('{"type":"invokefunction","invocation_id":"%s","function_id":"engine::functions::info","data":{"function_id":"%s::more"}}' % (uuid.uuid4(), name))
    # The durable registration is answered later: its provider has not spoken yet.
    assert f'"request_schema":{text}' in caller.ws.recv(timeout=10)


# Too large


def giant(invocation: str, function: str, order: str, size: int) -> str:
    ids = f'"invocation_id":"{invocation}","function_id":"{function}"'
    kind = '"type":"invocationresult"'
    body = '"result":"%s"' % ("x" * size)
    return "{%s,%s,%s}" % ((kind, ids, body) if order == "type first" else (ids, body, kind))


@pytest.fixture(scope="module")
def small():
    """Limits that a test reaches quickly."""
    with fleet(manager={"max_message_bytes": 1 << 20, "max_frame_bytes": 1 << 20}) as it:
        yield it


@pytest.mark.parametrize("order", ["type first", "type last"])
@pytest.mark.parametrize("shape", ["one frame", "fragments"])
def test_the_caller_of_a_result_over_the_limit_hears_size_and_limit(small, shape, order):
    worker, caller = small.connect(), small.connect()
    name = f"large::{uuid.uuid4().hex}"
    worker.register(name)
    worker.sync()
    invocation, other = caller.invoke(name, {}), caller.invoke(name, {})
    call = worker.expect("invokefunction")
    frame = giant(call["invocation_id"], name, order, 2 << 20)
    try:
        worker.ws.send(frame if shape == "one frame" else iter([frame[i : i + 400_000] for i in range(0, len(frame), 400_000)]))
    except websockets.exceptions.ConnectionClosed:
        pass
    error = caller.result_of(invocation)["error"]
    assert error["code"] == "payload_too_large" and str(1 << 20) in error["message"] and name in error["message"]
    if shape == "one frame":
        assert str(len(frame)) in error["message"]
    assert caller.result_of(other)["error"]["code"] == "invocation_stopped"
    wait_for(lambda: any("1009" in line and name in line and worker.worker_id in line for line in small.output().splitlines() if "WARN" in line), "a warning")
    with pytest.raises(websockets.exceptions.ConnectionClosed):
        while True:
            worker.recv()
    assert worker.ws.close_code == 1009
    worker.close()
    caller.close()


def test_the_sender_of_a_call_over_the_limit_is_told_before_its_connection_ends(small):
    wire = small.connect()
    invocation = str(uuid.uuid4())
    text = json.dumps({"type": "invokefunction", "invocation_id": invocation, "function_id": "f", "data": "x" * (2 << 20)})
    try:
        wire.ws.send(text)
    except websockets.exceptions.ConnectionClosed:
        pass
    error = wire.result_of(invocation)["error"]
    assert error["code"] == "payload_too_large" and str(len(text)) in error["message"]
    wire.close()


def test_the_header_alone_of_an_overlong_frame_is_enough_to_end_it(small):
    raw = RawSocket(small.port)
    raw.frame(0x1, b"", length=b"\x7f" + (1 << 40).to_bytes(8, "big"))
    assert raw.close_code() == 1009
    raw.close()


def test_a_worker_that_ends_with_1009_is_explained(core, wires):
    worker = wires()
    worker.call("engine::workers::register", {"runtime": "python", "version": "0.11.6", "name": "old-python", "pid": 1})
    worker.ws.close(1009)
    logged(core, "1009", "old-python")
