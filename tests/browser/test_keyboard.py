"""All of it by keyboard."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import ADMIN, Enter

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_STOPS = 80
FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const style = getComputedStyle(element);
  const label = element.labels?.[0]?.textContent ?? element.getAttribute("aria-label") ?? element.textContent;
  return { label: label.trim(), shown: style.outlineStyle !== "none" && style.outlineWidth !== "0px" };
}"""
STOPS = """() => {
  const all = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary");
  const seen = [...all].filter((each) => each.checkVisibility() && !each.disabled);
  return new Set(seen.map((each) => each.type === "radio" ? each.name : each)).size;
}"""
"""How many there are: one for each thing to press or to fill in, one for all radio buttons of a name."""


async def tabs_to(page: Page, label: str) -> None:
    """Presses Tab until this has the focus; whatever has it on the way shows that it has."""
    for _ in range(MOST_STOPS):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(FOCUSED)
        assert focused is None or focused["shown"], f"nobody sees that the focus is at {focused['label']}"
        if focused is not None and focused["label"] == label:
            return
    raise AssertionError(f"Tab does not lead to {label}")


async def test_sign_in_skip_to_the_content_and_add_a_tenant(enter: Enter) -> None:
    somebody = await enter(role=None)
    page = somebody.page
    await somebody.goes("/tenants")
    await expect(page.get_by_label("Admin token")).to_be_focused()
    await page.keyboard.type(ADMIN)
    await page.keyboard.press("Enter")
    await somebody.is_at("/tenants")

    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()

    await tabs_to(page, "Add a tenant")
    await page.keyboard.press("Enter")
    await somebody.is_at("/tenants/+new")
    await expect(page.get_by_label("Id", exact=True)).to_be_focused()
    await page.keyboard.type("typed")
    await page.keyboard.press("Enter")
    await somebody.is_at("/tenants/typed")
    await expect(page.get_by_role("status")).to_have_text("Added the tenant typed.")

    await tabs_to(page, "Explore")
    await page.keyboard.press("Enter")
    await somebody.is_at("/explore")
    await tabs_to(page, "Sign out")
    await page.keyboard.press("Enter")
    await somebody.is_at("/sign-in")


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/tenants/reports/edit"),
        *(
            pytest.param(path, marks=pytest.mark.exhaustive)
            for path in ("/tenants/reports", "/explore", "/cache", "/reports")
        ),
    ],
)
async def test_tab_goes_through_the_page_once_and_leaves_it(enter: Enter, path: str) -> None:
    somebody = await enter()
    await somebody.goes(path)
    wanted = await somebody.page.evaluate(STOPS)
    stops = []
    for _ in range(MOST_STOPS):
        await somebody.page.keyboard.press("Tab")
        focused = await somebody.page.evaluate(FOCUSED)
        if focused is None:
            break
        assert focused["shown"], f"nobody sees that the focus is at {focused['label']}"
        stops.append(focused["label"])
    assert len(stops) < MOST_STOPS, "a trap"
    assert stops[0] == "Skip to the content"
    assert len(stops) >= wanted, stops
