"""The pages for people, without a listener."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from gateway.admin.operations import Operation, Parameter, openapi
from gateway.admin.web.pages import docs_page
from gateway.catalogue import endpoints as catalogue


class Inner(msgspec.Struct):
    """What is within."""

    most: int | None = None


class Outer(msgspec.Struct):
    """What is <sent>."""

    name: str
    inner: Inner
    seconds: float = 60.0
    words: list[str] = []


async def nothing(_: Any) -> None:
    """Does nothing."""


def shown(text: str) -> str:
    """The page's text, without marks."""
    return re.sub(r"<[^>]*>+", " ", text)


@pytest.fixture(scope="module")
def admin() -> str:
    operations = [
        Operation("GET", "/api/a", "Tell & show", nothing, {"day": Parameter("which <day>", "date")}),
        Operation("PUT", "/api/{thing}", "Put a thing", nothing, body=Outer, status=204),
    ]
    return docs_page(openapi("1.2", operations))


def test_every_operation_is_told_with_what_it_takes_and_answers(admin: str) -> None:
    for row in (
        r"GET\s+/api/a\s+Tell &amp; show",
        r"day\s+query\s+date\s+which &lt;day&gt;",
        r"PUT\s+/api/{thing}\s+Put a thing",
        r"thing\s+path\s+string",
        r"What is &lt;sent&gt;\.",
        r"name\s+string\s+needed",
        r"inner\.most\s+integer or null",
        r"seconds\s+number\s+60\.0 unless told",
        r"words\s+list of string",
        r"204\s+done",
        r"401\s+no admin token",
        r"Authorization: Bearer …",
    ):
        assert re.search(row, shown(admin)), row


def test_values_are_told_in_words() -> None:
    text = shown(docs_page(catalogue.openapi("1.2")))
    for row in (
        r"counter\s+path\s+one of downloads, shares, views",
        r"start_date\s+query\s+date",
        r"count\s+query\s+integer from 1",
        r"X-API-Key: …",
        r"Authorization: Basic …\s+any username; the key as password",
    ):
        assert re.search(row, text), row


def test_nothing_in_a_page_runs_or_is_fetched(admin: str) -> None:
    for text in (admin, docs_page(catalogue.openapi("1.2"))):
        assert not re.search(r"<(script|img|link|iframe|form)|\bon\w+=|src=|url\(", text)
        assert re.findall(r'href="([^"]*)"', text) == ["openapi.json"]
