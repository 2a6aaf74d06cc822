"""Without JavaScript nothing is lost but movement."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import ADMIN, Enter
from tests.browser.traffic import answers
from tests.integration.stage import Process

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_sign_in_add_a_tenant_see_its_key_explore_a_table_sign_out(enter: Enter, gateway: Process) -> None:
    somebody = await enter(role=None, java_script_enabled=False)
    page = somebody.page
    await somebody.goes("/")
    await somebody.signs_in(ADMIN)
    await somebody.is_at("/")
    await expect(page.get_by_text("calls saved today")).to_be_visible()
    await page.get_by_text("The last hour as a table").click()
    await expect(page.locator("#minutes tbody tr").first).to_be_visible()

    await page.get_by_role("link", name="Tenants", exact=True).click()
    await page.get_by_role("link", name="Add a tenant").click()
    await page.get_by_label("Id", exact=True).fill("plain")
    await page.get_by_role("button", name="Add the tenant").click()
    await page.get_by_role("link", name="Set a credential").click()
    await page.get_by_label("Institution").fill("lboro")
    await page.get_by_label("Username").fill("lboro")
    await page.get_by_label("Password").fill("sandbox-lboro")
    await page.get_by_role("button", name="Set the credential").click()
    await page.get_by_role("link", name="Add a key").click()
    await page.get_by_role("button", name="Make the key").click()
    await expect(page.locator("#key")).to_contain_text("sgw_")
    await expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    await answers(f"{gateway.url}/lboro/top/views/article", await page.locator("#key").inner_text())

    await page.get_by_role("link", name="Explore", exact=True).click()
    form = page.locator("#ask")
    await form.get_by_label("As whose request").select_option("plain")
    await form.get_by_label("Institution").select_option("lboro")
    await form.get_by_label("Item", exact=True).select_option("group")
    await form.get_by_label("Item id", exact=True).fill("3")
    await form.get_by_label("Window").select_option("dates")
    await form.get_by_label("From", exact=True).fill("2014-01-01")
    await form.get_by_label("To", exact=True).fill("2014-12-31")
    await form.get_by_role("button", name="Explore").click()
    await expect(page.get_by_role("main")).to_contain_text("views in 12 months")
    rows = page.get_by_role("row")
    await expect(rows).to_have_count(1 + 12)
    await expect(rows.nth(1)).to_contain_text("2014-01")
    await expect(page.get_by_role("button", name="Copy")).to_have_count(0)

    await page.get_by_role("button", name="Sign out").click()
    await somebody.is_at("/sign-in")
