"""A session that ends, however it ends, shows nothing more."""

from __future__ import annotations

import hashlib

import pytest
from playwright.async_api import expect

from gateway.admin.sessions import COOKIE
from tests.browser.conftest import ADMIN, Enter
from tests.browser.visitor import Visitor
from tests.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def ends(somebody: Visitor, redis: RedisServer) -> None:
    """Their session, as if nobody had been there for long."""
    there = await somebody.page.context.cookies()
    (secret,) = [each["value"] for each in there if each["name"].startswith(COOKIE)]
    digest = hashlib.sha256(secret.encode()).hexdigest()
    (name,) = redis.call("KEYS", f"*:{digest}")
    assert redis.call("DEL", name) == 1


async def newcomer(enter: Enter, path: str) -> Visitor:
    somebody = await enter(role=None)
    await somebody.goes(path)
    await somebody.signs_in(ADMIN)
    await somebody.is_at(path)
    return somebody


async def test_after_its_end_one_signs_in_and_goes_on(enter: Enter, shared_redis: RedisServer) -> None:
    somebody = await newcomer(enter, "/tenants")
    await ends(somebody, shared_redis)
    await somebody.page.get_by_role("link", name="Explore").click()
    await somebody.is_at("/sign-in?ended=1&next=%2Fexplore")
    await expect(somebody.page.get_by_role("alert")).to_contain_text("Your session has ended.")
    await somebody.signs_in(ADMIN)
    await somebody.is_at("/explore")


async def test_a_live_page_says_so(enter: Enter, shared_redis: RedisServer) -> None:
    somebody = await newcomer(enter, "/")
    somebody.witness.expects(r"status of 401")
    await ends(somebody, shared_redis)
    await expect(somebody.page.get_by_role("alert")).to_contain_text("Your session has ended.")
    await somebody.page.get_by_role("link", name="Sign in again").click()
    await expect(somebody.page.get_by_label("Admin token")).to_be_focused()


async def test_after_signing_out_neither_the_way_back_nor_another_tab_shows_anything(enter: Enter) -> None:
    somebody = await newcomer(enter, "/tenants/reports")
    other = await somebody.page.context.new_page()
    await other.goto(f"{somebody.base}/tenants")
    await somebody.page.get_by_role("button", name="Sign out").click()
    await somebody.is_at("/sign-in")
    await somebody.page.go_back()
    await expect(somebody.page.get_by_label("Admin token")).to_be_visible()
    await expect(somebody.page.get_by_text("reports")).to_have_count(0)
    await other.reload()
    await expect(other.get_by_label("Admin token")).to_be_visible()
