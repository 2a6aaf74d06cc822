"""Chromium, headless, as the tests and the pictures of the console drive it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HINT = "needs Chromium on the PATH: apt-get install chromium"
SWITCHES = (
    "--no-sandbox",  # it also runs as root, and only ever sees the gateway's own pages
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, for which no other host exists than this one."""
    assert BINARY is not None, HINT
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=BINARY, args=SWITCHES)
        try:
            yield browser
        finally:
            await browser.close()
