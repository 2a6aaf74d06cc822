"""A visitor who reads: the elements of the pages that it gets, and the words between them."""

from __future__ import annotations

from typing import Self

import httpx2 as httpx

from tests.admin.web.visitor import Page, Visitor


class Sheet(Page):
    """A page, with all its elements in their order."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.elements: list[tuple[str, dict[str, str]]] = []
        super().__init__(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str, **having: str) -> list[dict[str, str]]:
        """The attributes of all elements of this name that have these."""
        return [each for name, each in self.elements if name == tag and having.items() <= each.items()]

    def hidden(self) -> dict[str, str]:
        """The hidden fields of its forms by name; those of the last form count."""
        return {each["name"]: each.get("value", "") for each in self.all("input", type="hidden")}

    def dangers(self) -> list[str]:
        """What the policy forbids, and what leads or loads from elsewhere."""
        own = [each for each in self.links if each.startswith(("/", "#")) and not each.startswith(("//", "/\\"))]
        return [
            *self.forbidden,
            *(set(self.tags) & {"iframe", "object", "embed"}),
            *(set(self.links) - {*own}),
        ]


class Reader(Visitor):
    """Signed in with an admin token."""

    def __init__(self, base: str, token: str) -> None:
        super().__init__(base)
        self.client.headers["Sec-Fetch-Site"] = "same-origin"  # as from link to link
        assert self.sign_in(token).status_code == 303

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def see(self, where: str, /, **query: str) -> Sheet:
        """A page, whatever its status."""
        return Sheet(self.client.get(where, params=query) if query else self.client.get(where))

    def send(self, where: str, /, **form: str) -> httpx.Response:
        """A form, with the token of this session unless told another."""
        return self.client.post(where, data={"csrf": self.csrf} | form)

    def follow(self, answer: httpx.Response) -> Sheet:
        """The page that an answer goes on to."""
        assert answer.status_code == 303, answer.text
        return self.see(answer.headers["location"])
