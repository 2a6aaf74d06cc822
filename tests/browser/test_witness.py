"""The witness sees what goes wrong, so that no test passes because nobody looked."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Enter

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRONGS = """async () => {
  console.error("said aloud");
  setTimeout(() => { throw new Error("thrown"); });
  document.body.insertAdjacentHTML("beforeend", "<p id='styled' style='color: red'>inline</p>");
  await fetch("https://elsewhere.example/").catch(() => {});
  await fetch("/static/nothing.js");
}"""
SEEN = (
    "console error: said aloud",
    "script: thrown",
    "Content Security Policy directive 'style-src",
    'Content Security Policy directive: "connect-src',
    "status of 404",
)


async def test_it_sees_errors_and_what_the_policy_forbids(enter: Enter) -> None:
    somebody = await enter()
    await somebody.goes("/tenants")
    await somebody.page.evaluate(WRONGS)
    await expect(somebody.page.locator("#styled")).to_be_visible()
    missed = [each for each in SEEN if not any(each in fault for fault in somebody.witness.faults)]
    somebody.witness.expects(".")
    assert missed == []


async def test_it_sees_requests_that_leave_and_that_fail(enter: Enter) -> None:
    somebody = await enter()
    await somebody.goes("/tenants")
    await somebody.page.route("**/static/console.css", lambda route: route.abort())
    await somebody.page.goto("about:blank")
    await somebody.page.set_content('<img src="https://elsewhere.example/picture.png">')
    await expect(somebody.page.locator("img")).to_be_attached()
    await somebody.goes("/tenants")
    faults = "\n".join(somebody.witness.faults)
    somebody.witness.expects(".")
    assert "a request to elsewhere: https://elsewhere.example/picture.png" in faults
    assert "failed: GET https://elsewhere.example/picture.png: net::ERR_NAME_NOT_RESOLVED" in faults
    assert f"failed: GET {somebody.base}/static/console.css" in faults
