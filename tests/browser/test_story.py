"""An operator's hour at the console, from sign-in to sign-out, in a real browser on a real gateway."""

from __future__ import annotations

import re
import shlex

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import ADMIN, Enter
from tests.browser.traffic import answers, traffic
from tests.browser.visitor import Visitor
from tests.integration.stage import Process, Stage, get

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMELINE = "/lboro/timeline/month/views/group/2?start_date=2014-01-01&end_date=2014-12-31"
MONTHS = 12


async def test_an_operators_hour(enter: Enter, console_stage: Stage, gateway: Process) -> None:
    somebody = await enter(role=None, permissions=["clipboard-read", "clipboard-write"])
    await somebody.goes("/")
    await somebody.is_at("/sign-in")
    await somebody.signs_in(ADMIN)
    await somebody.is_at("/")
    await watches_the_numbers_move(somebody, gateway, console_stage.keys["reports"])
    await adds_a_tenant(somebody)
    await uses_the_new_key(somebody, gateway)
    await explores_a_timeline(somebody, console_stage)
    await purges_it(somebody)
    await signs_out(somebody)


async def watches_the_numbers_move(somebody: Visitor, gateway: Process, key: str) -> None:
    requests = somebody.page.locator('[data-show="today.requests"]')
    saved = somebody.page.locator('[data-show="today.saved"]')
    columns = somebody.page.locator("figure[data-chart=requests] rect.hit")
    async with traffic(gateway, key):
        await expect(columns.last).to_be_visible()
        for number in (requests, saved):
            seen = await number.inner_text()
            await expect(number).not_to_have_text(seen)
            assert _count(await number.inner_text()) > _count(seen)
    await expect(somebody.page.get_by_text("All is well.")).to_be_visible()
    latency = somebody.page.get_by_role("row", name=re.compile("^hit "))
    await expect(latency).to_contain_text(" ms")


async def adds_a_tenant(somebody: Visitor) -> None:
    page = somebody.page
    await page.get_by_role("navigation", name="Main").get_by_role("link", name="Tenants").click()
    await page.get_by_role("link", name="Add a tenant").click()
    await page.get_by_label("Id", exact=True).fill("library")
    await page.get_by_label("Name").fill("The library’s dashboard")
    await page.get_by_role("button", name="Add the tenant").click()
    await somebody.is_at("/tenants/library")
    await expect(page.get_by_role("status")).to_have_text("Added the tenant library.")
    await page.get_by_role("link", name="Set a credential").click()
    await page.get_by_label("Institution").fill("lboro")
    await page.get_by_label("Username").fill("lboro")
    await page.get_by_label("Password").fill("sandbox-lboro")
    await page.get_by_role("button", name="Set the credential").click()
    await expect(page.get_by_role("status")).to_have_text("Set the credential for lboro.")


async def uses_the_new_key(somebody: Visitor, gateway: Process) -> None:
    """As it was copied, and by the line that is shown with it."""
    page = somebody.page
    await page.get_by_role("link", name="Add a key").click()
    await page.get_by_label("Label").fill("dashboard")
    await page.get_by_role("button", name="Make the key").click()
    key = await copies(page, "the key")
    assert key.startswith("sgw_")
    curl, option, header, url = shlex.split(await page.locator("#curl").inner_text())
    assert (curl, option, header) == ("curl", "-H", f"X-API-Key: {key}")
    assert url.startswith(f"{gateway.url}/lboro/")
    await answers(url, key)

    await page.get_by_role("link", name="I have it").click()
    await somebody.is_at("/tenants/library")
    await expect(page.get_by_role("row", name=re.compile("^dashboard "))).to_contain_text(key[:14])
    assert key not in await page.content()


async def explores_a_timeline(somebody: Visitor, stage: Stage) -> None:
    page = somebody.page
    await somebody.goes("/explore")
    form = page.locator("#ask")
    await form.get_by_label("As whose request").select_option("library")
    await form.get_by_label("Institution").select_option("lboro")
    await form.get_by_label("Question").select_option("Timeline")
    await form.get_by_label("Item", exact=True).select_option("Group")
    await form.get_by_label("Item id", exact=True).fill("2")
    await form.get_by_label("By", exact=True).select_option("Month")
    await form.get_by_label("Window").select_option("From … to …")
    await form.get_by_label("From", exact=True).fill("2014-01-01")
    await form.get_by_label("To", exact=True).fill("2014-12-31")
    await form.get_by_role("button", name="Explore").click()

    await expect(page.get_by_role("heading", name="Views of group 2 in lboro, by month")).to_be_visible()
    counts = get(stage.sandbox.url + TIMELINE, auth=("lboro", "sandbox-lboro")).json()["timeline"]
    await expect(page.locator(".big")).to_contain_text(f"{sum(counts.values()):,} views in {MONTHS} months")
    await expect(page.locator("#chart svg .column")).to_have_count(MONTHS)
    await page.get_by_text("As a table").click()
    rows = page.locator("#chart-data tbody tr")
    await expect(rows).to_have_count(MONTHS)
    for row, (month, count) in zip(await rows.all(), sorted(counts.items()), strict=True):
        assert await row.get_by_role("rowheader").inner_text() == month
        assert _count(await row.get_by_role("cell").last.inner_text()) == count
    await was_served(somebody, "The service was asked, and its answer is kept.")
    assert TIMELINE in await copies(page, "the curl line")
    await page.reload()
    await was_served(somebody, "From the cache, fresh.")


async def copies(page: Page, what: str) -> str:
    """By the button for it; answers what is then in the clipboard."""
    await page.get_by_role("button", name=f"Copy {what}").click()
    await expect(page.get_by_role("button", name=f"Copied {what}")).to_be_visible()
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


async def purges_it(somebody: Visitor) -> None:
    page, explored = somebody.page, somebody.page.url
    await page.get_by_role("link", name="Look it up in the cache").click()
    await expect(page.get_by_text("an entry", exact=True)).to_be_visible()
    await page.get_by_label("This query").check()
    await page.get_by_label("At once").check()
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_role("heading", name="Purge the query /lboro/")).to_be_visible()
    await expect(page.get_by_text("It would cover 1 of the")).to_be_visible()
    await page.get_by_role("button", name="Purge at once").click()
    await expect(page.get_by_role("status").first).to_contain_text("Purged at once: the query /lboro/")
    await page.goto(explored)
    await was_served(somebody, "The service was asked, and its answer is kept.")


async def signs_out(somebody: Visitor) -> None:
    await somebody.page.get_by_role("button", name="Sign out").click()
    await somebody.is_at("/sign-in")
    await somebody.goes("/tenants/library")
    await somebody.is_at("/sign-in?next=%2Ftenants%2Flibrary")


async def was_served(somebody: Visitor, words: str) -> None:
    await expect(somebody.page.get_by_text(words)).to_be_visible()


def _count(text: str) -> int:
    return int(text.replace(",", ""))
