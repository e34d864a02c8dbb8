"""An OTLP/HTTP collector for tests: decodes what it is sent with opentelemetry-proto, and answers what it is told to."""

import base64
import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest, "/v1/logs": ExportLogsServiceRequest}


def with_ids(value, change):
    """OTLP/JSON writes ids in hex where JSON of protobuf has base64."""
    if isinstance(value, dict):
        return {key: change(it) if key in {"traceId", "spanId", "parentSpanId"} else with_ids(it, change) for key, it in value.items()}
    return [with_ids(it, change) for it in value] if isinstance(value, list) else value


def decode(path: str, content_type: str, body: bytes):
    kind = REQUESTS[path]
    if content_type == "application/x-protobuf":
        return kind.FromString(body)
    assert content_type == "application/json", content_type
    return json_format.ParseDict(with_ids(json.loads(body), lambda it: base64.b64encode(bytes.fromhex(it)).decode()), kind())


class Collector:
    """`answers`: statuses (or (status, headers, body)) for the first requests; then 200. `limit`: larger bodies get 413."""

    def __init__(self, answers=(), limit: int | None = None, silent: bool = False):
        self.answers, self.limit = list(answers), limit
        self.taken: list[tuple[str, object]] = []
        self.requests: list[tuple[str, dict, int, int]] = []
        self.hang = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if silent:
                    collector.hang.wait(60)
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                status, headers, answer = 200, {}, b""
                if collector.limit is not None and len(body) > collector.limit:
                    status = 413
                elif collector.answers:
                    next_ = collector.answers.pop(0)
                    status, headers, answer = next_ if isinstance(next_, tuple) else (next_, {}, b"")
                collector.requests.append((self.path, dict(self.headers), status, len(body)))
                if status == 200:
                    collector.taken.append((self.path, decode(self.path, self.headers["content-type"], body)))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()

    def of(self, path: str) -> list:
        return [message for taken, message in self.taken if taken == path]

    def spans(self) -> list:
        return [span for it in self.of("/v1/traces") for resource in it.resource_spans for scope in resource.scope_spans for span in scope.spans]

    def logs(self) -> list:
        return [record for it in self.of("/v1/logs") for resource in it.resource_logs for scope in resource.scope_logs for record in scope.log_records]

    def metrics(self) -> list:
        return [metric for it in self.of("/v1/metrics") for resource in it.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]
