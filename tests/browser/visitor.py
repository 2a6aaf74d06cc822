"""Visitor: somebody in front of the console, in a browser of their own."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.async_api import Page, expect

from tests.browser.witness import Witness


@dataclass(frozen=True, slots=True)
class Visitor:
    """A page, what it was opened on, and who watches it."""

    page: Page
    base: str
    witness: Witness

    async def goes(self, path: str) -> None:
        """To a page of the console, by its address."""
        await self.page.goto(self.base + path)

    async def signs_in(self, token: str) -> None:
        """By the form that is in front of them."""
        await self.page.get_by_label("Admin token").fill(token)
        await self.page.get_by_role("button", name="Sign in").click()

    async def is_at(self, path: str) -> None:
        """Waits until the address is this one, and all of the page is there."""
        await expect(self.page).to_have_url(self.base + path)
        await self.page.wait_for_load_state()
