"""iii-observability: what it is sent, what it keeps, what it answers (docs/reference/observability.md)."""

import pytest
from wire import Fleet


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("observed"), http={}, workers=[{"name": "iii-observability"}])
    try:
        yield fleet.up()
    finally:
        fleet.stop()


@pytest.fixture
def caller(observed):
    wire = observed.connect()
    yield wire
    wire.close()


# Baggage


def with_baggage(caller, function: str, data: dict, baggage: str):
    message = caller.result_of(caller.invoke(function, data, baggage=baggage))
    assert "error" not in message, message
    return message["result"]


def test_baggage_is_that_of_the_caller(caller):
    baggage = "a=1+1,b=x%20y,c=%E2%82%AC,d=50%25"
    assert with_baggage(caller, "engine::baggage::get_all", {}, baggage) == {"baggage": {"a": "1+1", "b": "x y", "c": "€", "d": "50%"}}
    assert with_baggage(caller, "engine::baggage::get", {"key": "c"}, baggage) == {"value": "€"}
    assert caller.call("engine::baggage::get", {"key": "z"}) == {"value": None}


def test_setting_baggage_says_that_it_does_not_last(caller):
    answer = caller.call("engine::baggage::set", {"key": "a", "value": "b"})
    assert answer["success"] is True and "SDK-level" in answer["note"]


@pytest.mark.parametrize("data", [{}, {"key": None}, {"key": 1}, None, []], ids=["absent", "null", "number", "no input", "no object"])
def test_an_input_that_cannot_be_read_names_function_and_member(caller, data):
    error = caller.error_of("engine::baggage::get", data)
    assert error["code"] == "deserialization_error"
    assert error["message"].startswith("Failed to deserialize input for engine::baggage::get: ")
