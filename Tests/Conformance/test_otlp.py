"""The OTLP codec against the protocol's own definition: what opentelemetry-proto writes we read, and what we write it reads."""

import base64
import difflib
import json
import math
import random
import struct
import subprocess

import pytest
from collector import with_ids
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from wire import BIN

REQUESTS = {"traces": ExportTraceServiceRequest, "metrics": ExportMetricsServiceRequest, "logs": ExportLogsServiceRequest}
# What we do not keep.
UNKNOWN = {
    "exponential_histogram", "summary", "metadata", "entity_refs", "string_value_strindex", "key_strindex", "schema_url", "event_name", "filtered_attributes",
    "dropped_events_count", "dropped_links_count",
}
LISTS = {"traces": ("spans", "spans"), "metrics": ("metrics", "metrics"), "logs": ("logs", "log_records")}
IDS = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
TEXTS = ["", "a", "orders::take", "€😀", 'quote " back \\ line\n', "x" * 300]
DOUBLES = [0.0, -0.0, 1.5, -1e300, 5e-324, math.inf, -math.inf, math.nan, 0.1]


class Filler:
    """Fills messages of any type at random, from a seed."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def fill(self, message: Message, depth: int = 0) -> Message:
        fields = [field for field in message.DESCRIPTOR.fields if field.name not in UNKNOWN]
        chosen = {oneof.name: self.random.choice([it for it in oneof.fields if it in fields]) for oneof in message.DESCRIPTOR.oneofs}
        for field in fields:
            if field.containing_oneof and chosen[field.containing_oneof.name] is not field:
                continue
            if field.is_repeated:
                for _ in range(self.random.randrange(4)):
                    if field.message_type:
                        self.fill(getattr(message, field.name).add(), depth + 1)
                    else:
                        getattr(message, field.name).append(self.scalar(field))
            elif field.message_type:
                inner = getattr(message, field.name)
                inner.SetInParent()
                if field.message_type.name != "AnyValue" or depth < 9:
                    self.fill(inner, depth + 1)
            else:
                setattr(message, field.name, self.scalar(field))
        self.make_valid(message)
        return message

    def make_valid(self, message: Message) -> None:
        name = message.DESCRIPTOR.name
        if name in {"Resource", "InstrumentationScope"}:
            message.ClearField("dropped_attributes_count")
        if name == "InstrumentationScope":
            message.ClearField("attributes")
        if name in {"Event", "Link", "LogRecord"}:
            message.ClearField("dropped_attributes_count")
        if name == "Link":
            message.ClearField("flags")
        if name == "Span" and not message.status.ByteSize():
            message.ClearField("status")
        if name == "Exemplar" and message.WhichOneof("value") != "as_double":
            message.as_double = 1.5
        if name in {"NumberDataPoint", "HistogramDataPoint"}:
            # What says that a series has ended is kept as just that.
            message.flags = 0
        if name == "NumberDataPoint" and math.isnan(message.as_double):
            message.as_double = 1.5
        if name == "HistogramDataPoint" and math.isnan(message.sum):
            message.sum = 1.5
        if name in {"Sum", "Histogram"}:
            message.aggregation_temporality = message.aggregation_temporality or 2
        if name == "Metric":
            message.name = message.name or "metric"
            if not message.WhichOneof("data"):
                message.gauge.SetInParent()
        if name == "HistogramDataPoint":
            del message.explicit_bounds[:], message.bucket_counts[:]
            message.explicit_bounds.extend([0.5, 1, 2.5])
            message.bucket_counts.extend(self.random.randrange(1 << 64) for _ in range(4))
        if name == "NumberDataPoint" and not message.WhichOneof("value"):
            message.as_int = 0
        if name == "LogRecord":
            message.severity_number = message.severity_number or 9
            message.severity_text = message.severity_text or "INFO"
            if message.WhichOneof is None or not message.body.WhichOneof("value"):
                message.ClearField("body")

    def scalar(self, field):
        if field.name in IDS:
            return self.random.randbytes(IDS[field.name] - 1) + b"\1"
        match field.cpp_type:
            case field.CPPTYPE_STRING:
                return self.random.randbytes(5) if field.type == field.TYPE_BYTES else self.random.choice(TEXTS)
            case field.CPPTYPE_DOUBLE:
                return self.random.choice(DOUBLES)
            case field.CPPTYPE_BOOL:
                return self.random.random() < 0.5
            case field.CPPTYPE_ENUM:
                return self.random.choice(field.enum_type.values).number
            case field.CPPTYPE_INT64:
                return self.random.randrange(-(1 << 63), 1 << 63)
            case field.CPPTYPE_UINT64:
                return self.random.randrange(1 << 64)
            case _:
                return self.random.randrange(1 << 31)


def document(signal: str, seed: int) -> Message:
    """Senders and libraries that differ, each with records: a group without any says nothing."""
    message = Filler(seed).fill(REQUESTS[signal]())
    resources = getattr(message, f"resource_{LISTS[signal][0]}")
    for number, resource in enumerate(resources):
        resource.resource.attributes.add(key="number", value={"int_value": number})
        scopes = getattr(resource, f"scope_{LISTS[signal][0]}")
        for index, scope in enumerate(scopes):
            scope.scope.name += f" {index}"
        for index in reversed(range(len(scopes))):
            if not getattr(scopes[index], LISTS[signal][1]):
                del scopes[index]
    for index in reversed(range(len(resources))):
        if not getattr(resources[index], f"scope_{LISTS[signal][0]}"):
            del resources[index]
    return message


def convert(signal: str, source: str, target: str, documents: list[bytes]) -> list[bytes]:
    """Through the codec, in one process."""
    run = subprocess.run(
        [BIN / "otlp-probe", signal, source, target],
        input=b"".join(struct.pack(">I", len(it)) + it for it in documents), capture_output=True, timeout=60, check=True,
    )
    answers, rest = [], run.stdout
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        assert length != 0xFFFFFFFF, f"document {len(answers)} could not be read"
        answers.append(rest[4 : 4 + length])
        rest = rest[4 + length :]
    assert len(answers) == len(documents)
    return answers


def to_json(message: Message) -> bytes:
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return json.dumps(with_ids(document, lambda it: base64.b64decode(it).hex())).encode()


def from_json(signal: str, text: bytes) -> Message:
    document = with_ids(json.loads(text), lambda it: base64.b64encode(bytes.fromhex(it)).decode())
    return json_format.ParseDict(document, REQUESTS[signal]())


def canonical(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("signal", REQUESTS)
def test_documents_survive_every_way_through_the_codec(signal):
    originals = [document(signal, seed) for seed in range(60)]
    wire = [it.SerializeToString() for it in originals]
    text = [to_json(it) for it in originals]
    read = {
        ("protobuf", "protobuf"): [REQUESTS[signal].FromString(it) for it in convert(signal, "protobuf", "protobuf", wire)],
        ("protobuf", "json"): [from_json(signal, it) for it in convert(signal, "protobuf", "json", wire)],
        ("json", "protobuf"): [REQUESTS[signal].FromString(it) for it in convert(signal, "json", "protobuf", text)],
        ("json", "json"): [from_json(signal, it) for it in convert(signal, "json", "json", text)],
    }
    for way, messages in read.items():
        for seed, (original, message) in enumerate(zip(originals, messages)):
            if canonical(message) != canonical(original):
                difference = "\n".join(difflib.unified_diff(str(original).split("\n"), str(message).split("\n"), n=8))
                pytest.fail(f"seed {seed}, {way}:\n{difference}")
