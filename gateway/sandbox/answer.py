"""Answer: what goes over the wire, and the service's errors in its own shape (contract page, Errors)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON_TYPE = "application/json; charset=UTF-8"
HTML_TYPE = "text/html; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a body and what is said about it."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI wants them, length included."""
        named = {
            "content-type": self.content_type,
            "content-length": str(len(self.body)),
            **{name.lower(): value for name, value in self.headers.items()},
        }
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]


class Complaint(Exception):
    """The service's own refusal of a request: status, code, message and data."""

    def __init__(self, status: int, code: str, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.data = data

    def answer(self, headers: Mapping[str, str] | None = None) -> Answer:
        """The complaint as it goes over the wire; the order of its keys is the documented one."""
        body = {"data": self.data, "code": self.code, "message": self.message}
        return Answer(self.status, render(body), headers=headers or {})


def invalid(parameter: str, extra: str) -> Complaint:
    """400: a parameter's value is not one that the service supports."""
    data = {"extra": extra, "invalid_params": parameter}
    return Complaint(400, "InvalidParams", f"Invalid or unsupported params: {parameter}", data)


def missing(parameter: str, path: str, parameters: Mapping[str, str]) -> Complaint:
    """400: a required parameter is absent; the request is echoed, its parameters in the order of their names."""
    data = {"missing_params": parameter, "parameters": dict(sorted(parameters.items())), "path": path}
    return Complaint(400, "MissingParams", f"Missing required params: {parameter}", data)


def forbidden() -> Complaint:
    """403: a protected endpoint without its institution's pair."""
    return Complaint(403, "Forbidden", "Unauthorized request")


def not_found(path: str) -> Complaint:
    """404: no such endpoint."""
    return Complaint(404, "NotFound", "Endpoint not found", {"path": path})


def method_not_allowed(method: str) -> Complaint:
    """405: the service only knows GET (and so HEAD)."""
    return Complaint(405, "MethodNotAllowed", f"Method not allowed: {method}")


def too_many_requests() -> Complaint:
    """429: asked faster than the sandbox was told to bear."""
    return Complaint(429, "TooManyRequests", "Too many requests")


def render(value: Any) -> bytes:
    """JSON exactly as the service writes it: ``", "`` and ``": "`` between, ASCII only."""
    return json.dumps(value).encode("ascii")
