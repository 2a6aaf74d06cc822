"""The reference of all settings is what the settings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_made_from_the_settings_of_today() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "configuration.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = (DOCS / "configuration.md").read_text()
    assert all(f"| `{name}` |" in page for name in Settings.model_fields)
