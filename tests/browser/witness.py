"""Witness: what goes wrong in a browser unseen: errors in its console or a script, requests that fail or leave."""

from __future__ import annotations

import re

from playwright.async_api import BrowserContext, ConsoleMessage, Request, WebError

LOUD = ("error", "warning", "assert")
ABORTED = "net::ERR_ABORTED"
"""A request of a page that was left before its answer came."""


class Witness:
    """Watches all pages of a context, which may ask nothing but ``origin``.

    A violation of the content security policy is an error in the console, too.
    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self._origin = origin
        self._seen: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        context.on("console", self._console)
        context.on("weberror", self._weberror)
        context.on("request", self._request)
        context.on("requestfailed", self._failed)

    def __repr__(self) -> str:
        return f"<Witness {self.faults}>"

    @property
    def faults(self) -> list[str]:
        """What went wrong and was not expected to."""
        return [fault for fault in self._seen if not any(each.search(fault) for each in self._expected)]

    def expects(self, *patterns: str) -> None:
        """What a test brings about itself is no fault."""
        self._expected += map(re.compile, patterns)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in LOUD:
            self._seen.append(f"console {message.type}: {message.text} ({message.location['url']})")

    def _weberror(self, error: WebError) -> None:
        self._seen.append(f"script: {error.error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self._origin}/", "data:", "blob:")):
            self._seen.append(f"a request to elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        if request.failure != ABORTED:
            self._seen.append(f"failed: {request.method} {request.url}: {request.failure}")
