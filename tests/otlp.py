"""A collector of spans: OTLP over HTTP on a real socket, decoded by the protocol's own messages."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Told:
    """One span as the collector was told of it. Ids are lower-case hex; times nanoseconds."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    links: tuple[str, ...]
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """What came so far."""

    url: str
    spans: list[Told] = field(default_factory=list)

    def named(self, name: str) -> list[Told]:
        return [span for span in self.spans if span.name == name]

    def of_request(self, request_id: str) -> list[Told]:
        return [span for span in self.spans if span.attributes.get("stats_gateway.request_id") == request_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.spans.extend(told(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def told(body: bytes) -> list[Told]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Told(
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            kind=span.kind,
            began=span.start_time_unix_nano,
            ended=span.end_time_unix_nano,
            links=tuple(link.span_id.hex() for link in span.links),
            failed=span.status.code == 2,
            attributes={
                each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
                for each in span.attributes
            },
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
