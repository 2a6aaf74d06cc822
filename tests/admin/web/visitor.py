"""A visitor of the console: what a browser would keep and send, without one."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from html.parser import HTMLParser
from typing import Any

import httpx2 as httpx

from gateway.admin.sessions import COOKIE
from tests.loopback import LOOPBACK

TOKEN, WATCHING = "hunter2-admin", "hunter2-watching"
DIGEST = "sha256:" + hashlib.sha256(WATCHING.encode()).hexdigest()
SETTINGS: dict[str, str] = {
    "admin_token": TOKEN,
    "admin_tokens": json.dumps({"watcher": {"digest": DIGEST, "role": "read-only"}}),
    "trusted_proxies": "127.0.0.1",  # so that each visitor has an address of its own
}


class Page(HTMLParser):
    """What is on a page: its forms, links, texts, and whatever the policy would forbid."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[dict[str, Any]] = []
        self.links: list[str] = []
        self.forbidden: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.by_id: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self._open.append((tag, found.get("id")))
        if (tag == "script" and not found.get("src")) or tag == "style" or "style" in found:
            self.forbidden.append(tag)
        self.forbidden += [f"{tag} {name}" for name in found if name.startswith("on")]
        for name in ("href", "src", "action"):
            target = found.get(name)
            if target is not None:
                self.links.append(target)
        if tag == "form":
            self.forms.append({"action": found.get("action"), "method": found.get("method", "get"), "fields": {}})
        if tag in ("input", "textarea", "select") and self.forms and "name" in found:
            self.forms[-1]["fields"][found["name"]] = found.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        for _, name in self._open:
            if name is not None:
                self.by_id[name] = self.by_id.get(name, "") + data

    @property
    def text(self) -> str:
        """What is read, with single blanks."""
        return re.sub(r"\s+", " ", " ".join(self.texts)).strip()


class Visitor:
    """Somebody with a browser, at an address of their own."""

    def __init__(self, base: str) -> None:
        address = ".".join(str(byte) for byte in (10, *secrets.token_bytes(3)))
        self.client = httpx.Client(
            base_url=base, **LOOPBACK, timeout=20, headers={"X-Forwarded-For": address, "Accept": "text/html"}
        )

    def close(self) -> None:
        self.client.close()

    @property
    def cookies(self) -> dict[str, str]:
        """Those of sessions."""
        return {name: value for name, value in self.client.cookies.items() if name.startswith(COOKIE)}

    def copy(self, other: Visitor) -> None:
        """Comes with the cookies that another one has now."""
        for name, value in other.cookies.items():
            self.client.cookies.set(name, value)

    def sign_in(self, token: str = TOKEN, **more: Any) -> httpx.Response:
        return self.client.post("/sign-in", data={"token": token} | more)

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def page(self, path: str) -> Page:
        """A page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return Page(answer.text)

    @property
    def csrf(self) -> str:
        return str(self.page("/tenants").forms[0]["fields"]["csrf"])

    def post(self, path: str, csrf: str | None = None, **fields: str) -> httpx.Response:
        """A form as the page would send it."""
        token = self.csrf if csrf is None else csrf
        return self.client.post(path, data={"csrf": token} | fields)
